"""Goodfire's feature routes: search, neighbors, rerank, lookup and list, of one dictionary of a store at a time.

Its `model` names a dictionary here: by its id (model/source), or by the model where the store has one dictionary of it.
The UUID of a feature has the hash of its dictionary and its index in it, so it is the same wherever the store lies.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from flask import Blueprint, request

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.dictionary import Dictionary
from featurestore.values.feature import Feature
from featurestore.values.hits import Hit
from featurestore.web.compat.foreign import ForeignRoute, convert, create_blueprint, refuse
from featurestore.wire.limits import MOST_IDS

PREFIX = "/api/inference/v1"
MOST = 1000  # features of one answer
HASH_BYTES = 10
UNLABELLED = ""  # which their client needs in the place of a label

Count = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
Ids = Annotated[list[str], msgspec.Meta(max_length=MOST_IDS)]


class SearchQuery(msgspec.Struct, rename="camel"):
    """A search by words, and which page of it."""

    query: str
    model: str
    page: Annotated[int, msgspec.Meta(ge=1)] = 1
    per_page: Count = 10


class NeighborsRequest(msgspec.Struct):
    """Features whose mean direction is searched."""

    feature_indices: Annotated[list[int], msgspec.Meta(min_length=1, max_length=MOST_IDS)]
    model: str
    top_k: Count = 10


class RerankBody(msgspec.Struct):
    """Features to rank by a text."""

    query: str
    model: str
    feature_ids: Ids
    top_k: Count = 10


class LookupRequest(msgspec.Struct):
    """Features by their indices."""

    indices: Annotated[list[int], msgspec.Meta(max_length=MOST_IDS)]
    model: str


def make_uuid(dictionary: str, index: int) -> uuid.UUID:
    """Return the UUID of a feature (version 8: made as this service likes): the dictionary's hash, then the index."""
    head = bytearray(_hash(dictionary))
    head[6] = head[6] & 0x0F | 0x80
    head[8] = head[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(head) + index.to_bytes(16 - HASH_BYTES, "big"))


def _hash(dictionary: str) -> bytes:
    return hashlib.sha256(dictionary.encode()).digest()[:HASH_BYTES]


def _find_ids(store: FeatureStore, texts: Sequence[str]) -> list[str]:
    """Return the features' ids of UUIDs. Raises BadRequest for what is no UUID, NotFound for one of no feature here."""
    heads = {make_uuid(each.dictionary, 0).bytes[:HASH_BYTES]: each for each in store.dictionaries()}
    ids = []
    for text in texts:
        try:
            raw = uuid.UUID(text).bytes
        except ValueError:
            raise BadRequest(f"feature_id: {text!r:.60} is no UUID") from None
        dictionary, index = heads.get(raw[:HASH_BYTES]), int.from_bytes(raw[HASH_BYTES:], "big")
        if dictionary is None or index >= dictionary.d_sae:
            raise NotFound(f"no feature here has the UUID {text}")
        ids.append(f"{dictionary.dictionary}/{index}")
    return ids


def _find_dictionary(store: FeatureStore, model: str) -> Dictionary:
    """Return the dictionary that a model's name stands for. Raises NotFound, or BadRequest where there are several."""
    dictionaries = store.dictionaries()
    for dictionary in dictionaries:
        if dictionary.dictionary == model:
            return dictionary
    named = [each for each in dictionaries if each.model in (model, model.rpartition("/")[2])]
    if not named:
        raise NotFound(f"model: no dictionary of {model!r:.100} here; name one as model/source")
    if len(named) > 1:
        several = ", ".join(each.dictionary for each in named[:8])
        raise BadRequest(f"model: {model!r:.100} has several dictionaries here, name one of them: {several}")
    return named[0]


def _describe(hit: Hit | Feature, relevance: float = 1.0) -> dict[str, Any]:
    return {
        "id": str(make_uuid(hit.dictionary, hit.feature)),
        "label": hit.label or UNLABELLED,
        "index_in_sae": hit.feature,
        "relevance": relevance,
        "max_activation_strength": hit.max_activation,
    }


def search(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return a page of the features whose labels fit a text by meaning."""
    fields = convert(body, SearchQuery)
    dictionary = _find_dictionary(store, fields.model)
    start = (fields.page - 1) * fields.per_page
    query = {"text": fields.query, "mode": "semantic", "within": dictionary.dictionary, "k": start + fields.per_page}
    hits = store.run(Query.of(query | {"group": False}))[start:]
    return {"features": [_describe(hit, hit.score) for hit in hits]}


def find_neighbors(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return the features nearest to the mean direction of some features, by decoder vectors."""
    fields = convert(body, NeighborsRequest)
    dictionary = _find_dictionary(store, fields.model)
    near = tuple(f"{dictionary.dictionary}/{index}" for index in fields.feature_indices)
    hits = store.run(Query.of({"near": near, "within": dictionary.dictionary, "k": fields.top_k}))
    return {"neighbors": [_describe(hit, hit.score) for hit in hits]}


def rerank(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return given features by how well their labels fit a text; those without a label come last, with relevance 0."""
    fields = convert(body, RerankBody)
    ids = _find_ids(store, fields.feature_ids)
    hits = store.rerank(fields.query, ids, mode="semantic") if ids else ()
    ranked = [_describe(hit, hit.score) for hit in hits]
    among = {hit.id for hit in hits}
    rest = store.features([id for id in dict.fromkeys(ids) if id not in among], examples=0)
    return {"features": [*ranked, *(_describe(page, 0.0) for page in rest)][: fields.top_k]}


def lookup(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return features by their indices. The UUID's name is `uuid` here, as in Goodfire's answer."""
    fields = convert(body, LookupRequest)
    dictionary = _find_dictionary(store, fields.model)
    pages = store.features([f"{dictionary.dictionary}/{index}" for index in fields.indices], examples=0)
    return {"features": [_describe(page) | {"uuid": str(make_uuid(page.dictionary, page.feature))} for page in pages]}


def list_features(store: FeatureStore, body: Any) -> dict[str, Any]:
    """Return features by their UUIDs."""
    texts = request.args.getlist("feature_id")
    if len(texts) > MOST_IDS:
        raise BadRequest(f"feature_id: {len(texts):,} are more than the {MOST_IDS:,} of one request")
    pages = store.features(_find_ids(store, texts), examples=0)
    return {"features": [_describe(page) for page in pages]}


NO_MODEL = "a store answers about features: it runs no chat, and steers no model"
# Of the routes that a store does not answer, those for which it has something else.
INSTEAD = {
    "/chat-attribution/compute-features": "POST /v1/activating says which features fire on a text, and on which tokens",
    "/chat-attribution/contrast": "POST /v1/contrast finds features that fire more on some texts than on others",
    "/attributions/compute-logit-attribution": "attribution graphs that other tools made are at /v1/graphs",
    "/features/auto-edits": "/features/search finds features by what their labels say",
    "/features/auto-conditional": "/features/search finds features by what their labels say",
}
ROUTES = (
    ForeignRoute("/features/search", search, "GET", lane="search"),
    ForeignRoute("/attributions/neighbors", find_neighbors, lane="search"),
    ForeignRoute("/features/rerank", rerank, lane="search"),
    ForeignRoute("/features/lookup", lookup, lane="search"),
    ForeignRoute("/features/", list_features, "GET", lane="search"),
    *(ForeignRoute(path, refuse(f"{NO_MODEL}; {instead}")) for path, instead in INSTEAD.items()),
    *(ForeignRoute("/<path:rest>", refuse(NO_MODEL), method) for method in ("GET", "POST")),
)


def create_routes(store: FeatureStore) -> Blueprint:
    """Return the routes, answered from a store."""
    return create_blueprint("goodfire", PREFIX, store, ROUTES, lambda message, status: {"detail": message})
