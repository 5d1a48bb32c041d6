"""Files that front ends of attribution graphs fetch: graphs, features as JSON and in virtual bins; and what they save.

The paths are those of circuit-tracer's page, of the page it comes from, and of repositories on the hub.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from flask import Blueprint, Response, request

from featurestore.errors import BadRequest, NotFound
from featurestore.graphs import feature_files
from featurestore.graphs.feature_files import SLOT
from featurestore.graphs.view_edit import keep_names, number_features, read_names
from featurestore.interface import FeatureStore
from featurestore.values.dictionary import Dictionary
from featurestore.web import responses
from featurestore.web.api.labels import name_writer
from featurestore.web.compat.foreign import ForeignRoute, create_blueprint
from featurestore.web.ranges import parse_range, refuse_range

OF_GRAPH = "graph_features"  # the folder whose name a served graph's `scan` has
MOST_SLOTS = 4  # features of one answer from a bin
MOST_SAVED = 1_000_000  # bytes


def list_graphs(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return the metadata of every graph."""
    return {
        "graphs": [
            _describe_metadata(store.graph_file(summary.graph)["metadata"], summary.graph) for summary in store.graphs()
        ]
    }


def get_graph(store: FeatureStore, body: Any, slug: str) -> dict[str, Any]:
    """Return a graph's file, with our labels in `clerp` and a link to our page in `vis_link` of its features.

    What a person named has that name in `clerp`.
    """
    document, graph = store.graph_file(slug), store.graph(slug)
    view = dict(document.get("qParams") or {})
    numbers = number_features(document["nodes"])
    names = read_names(view, numbers)
    for raw, node in zip(document["nodes"], graph.nodes, strict=True):
        if node.in_store and node.id is not None:
            raw["vis_link"] = f"{request.host_url}features/{quote(node.id)}"
        if raw.get("feature_type") == "logit":
            # circuit-tracer's page reads the probability from the text, and stops where it is not there.
            if raw.get("clerp") and "(p=" not in raw["clerp"]:
                raw["clerp"] = f"{raw['clerp']} (p={raw.get('token_prob') or 0:.3f})"
        elif node.kind != "error" and node.node_id in names:
            raw["clerp"] = names[node.node_id]
    known = any(node.in_store for node in graph.nodes)
    metadata = _describe_metadata(document["metadata"], slug, known)
    logits = {str(raw.get("feature")) for raw in document["nodes"] if raw.get("feature_type") == "logit"}
    by_number = {numbers[id]: text for id, text in names.items() if id in numbers and numbers[id] not in logits}
    # Pages read names as text, some by node and some by number of feature; the second rename logits of that number too.
    clerps = msgspec.json.encode(list((by_number | names).items())).decode()
    return document | {"metadata": metadata, "qParams": view | {"clerps": clerps}}


def _describe_metadata(metadata: Mapping[str, Any], slug: str, known: bool = True) -> dict[str, Any]:
    """Return a graph's metadata; a `scan` that begins with ./ has every front end ask beside the graph for features."""
    if not known:
        return dict(metadata) | {"slug": slug}
    return dict(metadata) | {"slug": slug, "scan": f"./{OF_GRAPH}/{slug}", "original_scan": metadata.get("scan")}


def get_graph_feature(store: FeatureStore, body: Any, slug: str, number: int) -> dict[str, Any]:
    """Return the feature that a graph's node calls by this number. Raises NotFound."""
    ids = _ids_of_graph(store, slug, getattr(store, "version", None) or object())
    if number not in ids:
        raise NotFound(f"no node of {slug} is a feature of this store with the number {number}")
    return _describe_feature(store, ids[number])


def _describe_feature(store: FeatureStore, id: str) -> dict[str, Any]:
    return feature_files.describe_feature(store.feature(id))


@functools.lru_cache(64)
def _ids_of_graph(store: FeatureStore, slug: str, version: object) -> dict[int, str]:
    """Return the ids of a graph's features that the store has, by the number that the graph's file gives them."""
    pairs = zip(store.graph_file(slug)["nodes"], store.graph(slug).nodes, strict=True)
    return {raw["feature"]: node.id for raw, node in pairs if node.in_store and node.id is not None}


def get_feature(store: FeatureStore, body: Any, number: int, scan: str, name: str | None = None) -> dict[str, Any]:
    """Return a feature by a set of dictionaries and Cantor's number of layer and feature. Raises NotFound."""
    if scan == OF_GRAPH and name is not None:
        return get_graph_feature(store, body, name, number)
    scan = scan if name is None else f"{scan}/{name}"
    layer, feature = feature_files.unpair(number)
    dictionary = _find_layer(_choose_layers(store, scan), layer)
    return _describe_feature(store, f"{dictionary.dictionary}/{feature}")


def get_index(store: FeatureStore, body: Any, scan: str | None = None) -> Response:
    """Return the index of the bins."""
    layers = _choose_layers(store, scan)
    sizes = {layer: dictionary.d_sae for layer, dictionary in layers.items()}
    return Response(feature_files.describe_index(sizes), mimetype="application/gzip")


def get_bin(store: FeatureStore, body: Any, layer: int, scan: str | None = None) -> Response:
    """Return a part of a layer's bin. Raises BadRequest without a range, as a whole bin has gigabytes."""
    dictionary = _find_layer(_choose_layers(store, scan), layer)
    size = dictionary.d_sae * SLOT
    head = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
    asked = parse_range(size)
    if asked is None:
        if request.method == "HEAD":
            answer = Response(headers=head)
            answer.content_length = size
            return answer
        raise BadRequest(
            f"Range: a bin of {size:,} bytes is read in parts: bytes=FIRST-LAST, by the offsets of index.json.gz"
        )
    if not asked:
        return refuse_range(size)
    # Readers name one byte too many at the end of a bin. A server may send less than is asked for.
    first, last = asked[0], min(asked[-1], (asked[0] // SLOT + MOST_SLOTS) * SLOT - 1)
    headers = head | {"Content-Range": f"bytes {first}-{last}/{size}"}
    if request.method == "HEAD":
        answer = Response(status=206, headers=headers)
        answer.content_length = last - first + 1
        return answer
    numbers = range(first // SLOT, last // SLOT + 1)
    pages = store.features([f"{dictionary.dictionary}/{number}" for number in numbers])
    slots = b"".join(feature_files.pack(page) for page in pages)
    start = first - numbers[0] * SLOT
    return Response(slots[start : start + last - first + 1], status=206, headers=headers)


def _choose_layers(store: FeatureStore, scan: str | None) -> dict[int, Dictionary]:
    """Return the dictionary of each layer: those whose weights are of the repository `scan`, those of the model `scan`.

    Without `scan`, or where neither is there, all are taken. Of several in a layer a transcoder comes first.
    """
    dictionaries = [dictionary for dictionary in store.dictionaries() if dictionary.layer is not None]
    if scan is not None:
        of_weights = [each for each in dictionaries if _is_read_from(each.weights_location, scan)]
        dictionaries = of_weights or [each for each in dictionaries if each.model == scan]
        if not dictionaries:
            raise NotFound(f"no dictionary here was read from {scan!r:.100}, and none is of a model of that name")
    ordered = sorted(dictionaries, key=lambda each: (each.kind not in ("transcoder", "clt"), each.dictionary))
    layers: dict[int, Dictionary] = {}
    for dictionary in ordered:
        layers.setdefault(dictionary.layer or 0, dictionary)
    return layers


def _is_read_from(location: str | None, repository: str) -> bool:
    place = (location or "").removeprefix("hf://").partition("@")[0]
    return (location or "").startswith("hf://") and (place == repository or place.startswith(f"{repository}/"))


def _find_layer(layers: Mapping[int, Dictionary], layer: int) -> Dictionary:
    if layer not in layers:
        raise NotFound(
            f"no dictionary of layer {layer}; there are those of {', '.join(map(str, sorted(layers))) or 'none'}"
        )
    return layers[layer]


def get_hub_index(store: FeatureStore, body: Any, owner: str, name: str, rest: str) -> Response:
    """Return the index of the bins of a repository on the hub."""
    return get_index(store, body, f"{owner}/{name}")


def get_hub_bin(store: FeatureStore, body: Any, owner: str, name: str, rest: str, layer: int) -> Response:
    """Return a part of a layer's bin of a repository on the hub."""
    return get_bin(store, body, layer, f"{owner}/{name}")


def save_graph(store: FeatureStore, body: Any, slug: str) -> Response:
    """Keep what a person pinned, grouped and named in a graph. Raises BadRequest for what is no such thing.

    Names that nodes have already stay unless the request gives them others.
    """
    view = body.get("qParams") if isinstance(body, dict) else None
    if not isinstance(view, dict):
        raise BadRequest("qParams: an object is wanted, with pinnedIds, supernodes, clerps and the like")
    before = store.graph_file(slug)
    kept = keep_names(before.get("qParams") or {}, view, before["nodes"])
    store.save_graph(slug, kept, name_writer(store))
    return responses.json({"saved": slug})


ROUTES = (
    ForeignRoute("/data/graph-metadata.json", list_graphs, "GET", lane="search"),
    ForeignRoute("/graph_data/<slug>.json", get_graph, "GET", lane="search"),
    ForeignRoute(f"/{OF_GRAPH}/<slug>/<int:number>.json", get_graph_feature, "GET", lane="search"),
    ForeignRoute("/features/<scan>/<int:number>.json", get_feature, "GET"),
    ForeignRoute("/features/<scan>/<name>/<int:number>.json", get_feature, "GET", lane="search"),
    ForeignRoute("/features/index.json.gz", get_index, "GET", lane="search"),
    ForeignRoute("/features/layer_<int:layer>.bin", get_bin, "GET", lane="search"),
    ForeignRoute("/<owner>/<name>/resolve/<path:rest>/index.json.gz", get_hub_index, "GET", lane="search"),
    ForeignRoute("/<owner>/<name>/resolve/<path:rest>/layer_<int:layer>.bin", get_hub_bin, "GET", lane="search"),
    ForeignRoute("/save_graph/<slug>", save_graph, "POST", lane="write", scope="write", most_bytes=MOST_SAVED),
)


def create_routes(store: FeatureStore) -> Blueprint:
    """Return the routes, answered from a store."""
    return create_blueprint("graphs", "", store, ROUTES, lambda message, status: {"error": message, "status": status})
