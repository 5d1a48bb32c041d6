"""/v1/graphs: attribution graphs with the labels of their features; keeping and removing them where the service takes writes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from featurestore.interface import FeatureStore
from featurestore.values.graphs import Graph, GraphAdded, GraphSummary
from featurestore.web.api.labels import who
from featurestore.web.api.models import Asked, Nothing
from featurestore.web.api.routes import Routes

MOST = 100_000_000  # bytes of a graph's JSON


class GraphAsked(Asked, frozen=True):
    """An attribution graph to keep."""

    graph: Annotated[
        dict[str, Any], Meta(description="What its file holds, as circuit-tracer writes it: metadata, nodes, links.")
    ]
    map: Annotated[
        tuple[str, ...],
        Meta(description="The dictionaries of its features: 12=model/source, or model/{layer}-source for every layer."),
    ] = ()
    replace: Annotated[bool, Meta(description="In the place of the graph of this name; else that is a conflict.")] = (
        False
    )


class GraphList(msgspec.Struct, frozen=True):
    """Every graph, without its nodes and links."""

    graphs: list[GraphSummary]


class Removed(msgspec.Struct, frozen=True):
    """What is no longer there."""

    removed: str


def routes(store: FeatureStore) -> Routes:
    """The routes over `store`."""
    api = Routes("graphs")

    @api.add("/graphs", gives=GraphList, tagged=True)
    def graphs(asked: Nothing) -> GraphList:
        """Every attribution graph, ordered by name."""
        return GraphList(store.graphs())

    @api.add("/graphs/<slug>", gives=Graph, lane="search", tagged=True)
    def graph(asked: Nothing, slug: str) -> Graph:
        """A graph: its nodes, with the best labels of those that are features of the store, and its links."""
        return store.graph(slug)

    @api.add("/graphs/<slug>/file", gives=dict[str, Any], lane="search", tagged=True)
    def graph_file(asked: Nothing, slug: str) -> dict[str, Any]:
        """A graph as circuit-tracer's JSON, its features' `clerp` being their best labels."""
        return store.graph_file(slug)

    @api.add(
        "/graphs/<slug>",
        gives=GraphAdded,
        takes=GraphAsked,
        methods=("PUT",),
        scope="write",
        lane="write",
        most=MOST,
    )
    def put_graph(asked: GraphAsked, slug: str) -> GraphAdded:
        """Keep an attribution graph under this name: what became of its nodes."""
        return store.add_graph(asked.graph, slug, asked.map, asked.replace, who(store))

    @api.add("/graphs/<slug>", gives=Removed, methods=("DELETE",), scope="write", lane="write")
    def remove_graph(asked: Nothing, slug: str) -> Removed:
        """Remove a graph."""
        store.remove_graph(slug, who(store))
        return Removed(slug)

    return api
