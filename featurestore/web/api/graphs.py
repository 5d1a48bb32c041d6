"""/v1/graphs: adding and removing attribution graphs, where the service takes writes."""

from __future__ import annotations

import msgspec

from featurestore.interface import FeatureStore
from featurestore.values.graphs import GraphAdded
from featurestore.web.api.labels import name_writer
from featurestore.web.api.routes import answers
from featurestore.wire import questions
from featurestore.wire.answers import GraphView, Removed, Saved
from featurestore.wire.requests import GraphEditRequest, GraphRequest, GraphViewRequest, Nothing


@answers(questions.PUT_GRAPH)
def put_graph(store: FeatureStore, request: GraphRequest, slug: str) -> GraphAdded:
    """Keep a graph under the name `slug`."""
    return store.add_graph(request.graph, slug, request.map, request.replace, name_writer(store))


@answers(questions.SAVE_GRAPH)
def save_graph(store: FeatureStore, request: GraphViewRequest, slug: str) -> Saved:
    """Keep what a person pinned, grouped and named in the graph named `slug`."""
    store.save_graph(slug, request.view, name_writer(store))
    return Saved(slug)


@answers(questions.EDIT_GRAPH)
def edit_graph(store: FeatureStore, request: GraphEditRequest, slug: str) -> GraphView:
    """Change what is pinned, grouped and named in the graph named `slug`."""
    return GraphView(store.edit_graph(slug, **msgspec.structs.asdict(request), tool=name_writer(store)))


@answers(questions.REMOVE_GRAPH)
def remove_graph(store: FeatureStore, request: Nothing, slug: str) -> Removed:
    """Remove the graph named `slug`."""
    store.remove_graph(slug, name_writer(store))
    return Removed(slug)
