"""Neuronpedia's API under /api: which routes there are, and the reasons why some are 501. docs/howto has the table."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from featurestore.errors import NotFound
from featurestore.interface import FeatureStore
from featurestore.web.compat import neuronpedia_catalog as catalog
from featurestore.web.compat import neuronpedia_features as features
from featurestore.web.compat import neuronpedia_lists as lists
from featurestore.web.compat import neuronpedia_search as search
from featurestore.web.compat import neuronpedia_texts as texts
from featurestore.web.compat.foreign import ForeignRoute, create_blueprint, refuse
from featurestore.web.compat.neuronpedia_values import Object

PREFIX = "/api"
NO_STEERING = "a store holds features and runs no steered model"
NO_UPLOADS = "features are not uploaded over this interface: `featurestore harvest` or an import writes them"
NO_CHANGES = "lists are begun and added to here; /v1/lists and `featurestore list` change and remove them"
NO_BOOKMARKS = "a store keeps no bookmarks: lists of features are kept under /api/list and /v1/lists"
NO_GRAPHS = "graphs are not made or uploaded over this interface: `featurestore graph add` and PUT /v1/graphs keep them"
NO_UMAP = "maps are no UMAP of labels here: `featurestore index --map` makes them, /v1/sql reads them from map_points"
NO_LABELLING = "explanations are made by `featurestore label` and written through /v1/labels"
NO_VECTORS = "a store keeps no vectors of users: /v1/nearest takes a vector"


def list_graphs(store: FeatureStore, body: Any) -> list[Object]:
    """Return every graph."""
    return [_describe_graph(summary.graph, summary.scan, summary.prompt, []) for summary in store.graphs()]


def get_graph(store: FeatureStore, body: Any, model: str, slug: str) -> Object:
    """Return one graph: where its file is. Raises NotFound, also for a graph of another model."""
    graph = store.graph(slug)
    if graph.scan != model:
        raise NotFound(f"the graph {slug} was made with {graph.scan}, not with {model}"[:400])
    return _describe_graph(slug, model, graph.prompt, list(graph.prompt_tokens))


def _describe_graph(slug: str, scan: str, prompt: str, tokens: list[str]) -> Object:
    return {
        "id": slug,
        "modelId": scan,
        "slug": slug,
        "prompt": prompt,
        "promptTokens": tokens,
        "titlePrefix": "",
        "isFeatured": False,
        "url": f"{request.host_url}v1/graphs/{slug}/file",
        "userId": None,
    }


def list_vectors(store: FeatureStore, body: Any) -> Object:
    """Return the caller's vectors: none, as a store keeps none."""
    return {"vectors": []}


FEATURE = "<model>/<source>/<index>"
ROUTES = (
    ForeignRoute(f"/feature/{FEATURE}", features.get_feature, "GET", lane="search"),
    ForeignRoute("/feature/<path:id>", features.get_named, "GET", lane="search"),
    ForeignRoute("/features", features.get_features, lane="search"),
    ForeignRoute("/features-offset", features.list_features, lane="search"),
    ForeignRoute("/activation/get", features.get_activations),
    ForeignRoute("/cossim", features.find_cosine, lane="search"),
    ForeignRoute("/vector/get", features.get_vector),
    ForeignRoute("/explanation/search", search.search_sources, lane="search"),
    ForeignRoute("/explanation/search-model", search.search_model, lane="search"),
    ForeignRoute("/explanation/search-release", search.search_release, lane="search"),
    ForeignRoute("/explanation/search-all", search.search_all, lane="search"),
    ForeignRoute("/explanation/export", features.export_explanations, "GET", lane="search"),
    ForeignRoute("/explanation/<id>", features.get_explanation, "GET"),
    ForeignRoute("/search-all", texts.search_text, lane="activating"),
    ForeignRoute("/search-topk-by-token", texts.find_top, lane="activating"),
    ForeignRoute("/activation/new", texts.run_feature, lane="activating"),
    ForeignRoute("/activation/source", texts.run_source, lane="activating"),
    ForeignRoute("/global", catalog.list_all),
    ForeignRoute("/model/list", catalog.list_models),
    ForeignRoute("/model/get", catalog.get_model),
    ForeignRoute("/source-set/<model>/<name>", catalog.get_set, "GET"),
    ForeignRoute("/graph/list-owned", list_graphs),
    ForeignRoute("/graph/<model>/<slug>", get_graph, "GET", lane="search"),
    ForeignRoute("/list/list", lists.list_lists),
    ForeignRoute("/list/get", lists.get_list, lane="search"),
    ForeignRoute("/list/new", lists.begin_list, lane="write", scope="write"),
    ForeignRoute("/list/new-with-features", lists.begin_list, lane="write", scope="write"),
    ForeignRoute("/list/add-features", lists.add_features, lane="write", scope="write"),
    ForeignRoute("/vector/list-owned", list_vectors),
)
# By the beginning of the path, why what lies there and is not above is 501.
REFUSED = {
    "steer": NO_STEERING,
    "list": NO_CHANGES,
    "bookmark": NO_BOOKMARKS,
    "graph": NO_GRAPHS,
    "umap": NO_UMAP,
    "explanation": NO_LABELLING,
    "vector": NO_VECTORS,
    "model": NO_UPLOADS,
    "source-set": NO_UPLOADS,
    "feature": NO_UPLOADS,
    "activation": NO_UPLOADS,
}


def describe_error(message: str, status: int) -> Object:
    """Return an error as Neuronpedia writes it: some of its clients read `error`, others `message`."""
    return {"error": message, "message": message}


def refuse_rest(store: FeatureStore, body: Any, rest: str) -> Any:
    """Raises NotOffered with the reason why a store does not answer what Neuronpedia does."""
    first = rest.partition("/")[0]
    reasons = [reason for name, reason in REFUSED.items() if first == name or first.startswith(f"{name}-")]
    reason = reasons[0] if reasons else "this interface has no such route: docs/howto/neuronpedia.md lists them"
    return refuse(f"/api/{rest[:80]} is not answered: {reason}")(store, body)


def create_routes(store: FeatureStore) -> Blueprint:
    """Return the routes, answered from a store."""
    rest = tuple(ForeignRoute("/<path:rest>", refuse_rest, method) for method in ("GET", "POST", "PUT", "DELETE"))
    return create_blueprint("neuronpedia", PREFIX, store, ROUTES + rest, describe_error)
