"""Neuronpedia's searches of explanations: in sources, in a model, in a release, in all."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.query import MAX_K, Query
from featurestore.web.compat.foreign import convert
from featurestore.web.compat.neuronpedia_catalog import MISSING, find_source, list_sets
from featurestore.web.compat.neuronpedia_values import Object, describe_feature

PAGE = 20
MOST_PAGE = 100
SHORTEST = 3  # characters of a query
ACTIVATIONS = 3  # of each feature in an answer

_Size = Annotated[int, msgspec.Meta(ge=1, le=MOST_PAGE)] | None


class SearchFields(msgspec.Struct, rename="camel"):
    """What is searched, and which page. Their API takes `offset`; sizes and numbers of pages are ours."""

    query: str
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0
    page: Annotated[int, msgspec.Meta(ge=0)] | None = None
    page_size: _Size = None
    limit: _Size = None
    num_results: _Size = None
    model_id: str | None = None
    layers: list[str] | None = None
    release_name: str | None = None


def search_sources(store: FeatureStore, body: Any) -> Object:
    """Search the explanations of some sources of a model."""
    fields = convert(body, SearchFields)
    if fields.model_id is None or not fields.layers:
        raise BadRequest("modelId, layers: say which sources of which model to search")
    return _search(
        store, fields, [find_source(store, fields.model_id, source).dictionary for source in fields.layers], body
    )


def search_model(store: FeatureStore, body: Any) -> Object:
    """Search the explanations of a model."""
    fields = convert(body, SearchFields)
    if fields.model_id is None:
        raise BadRequest("modelId: say which model to search")
    within = [each.dictionary for each in store.dictionaries() if each.model == fields.model_id]
    if not within:
        raise NotFound(f"{MISSING}: there is no model {fields.model_id}"[:400])
    return _search(store, fields, within, body)


def search_release(store: FeatureStore, body: Any) -> Object:
    """Search the explanations of a release: the source sets of this name."""
    fields = convert(body, SearchFields)
    if fields.release_name is None:
        raise BadRequest("releaseName: say which release to search")
    sets = [group for _, name, group in list_sets(store.dictionaries()) if name == fields.release_name]
    if not sets:
        raise NotFound(f"{MISSING}: there is no release {fields.release_name}"[:400])
    return _search(store, fields, [each.dictionary for group in sets for each in group], body)


def search_all(store: FeatureStore, body: Any) -> Object:
    """Search all explanations."""
    return _search(store, convert(body, SearchFields), None, body)


def _search(store: FeatureStore, fields: SearchFields, within: list[str] | None, body: Any) -> Object:
    """Return a page of explanations by meaning, the best first, each with its feature."""
    if len(fields.query.strip()) < SHORTEST:
        raise BadRequest(f"query: it needs at least {SHORTEST} characters")
    size = fields.page_size or fields.limit or fields.num_results or PAGE
    start = fields.offset or max((fields.page or 1) - 1, 0) * size
    if start + size >= MAX_K:
        raise BadRequest(f"offset: {start:,} is beyond the {MAX_K:,} best results that are ranked; narrow the search")
    # One more than is shown says whether there are more.
    wanted = {"text": fields.query, "mode": "semantic", "k": start + size + 1, "all": True, "group": False}
    hits = store.run(Query.of(wanted | ({} if within is None else {"within": tuple(within)})))
    shown = hits[start : start + size]
    pages = {page.id: page for page in store.features([hit.id for hit in shown], ACTIVATIONS)}
    known = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    results = []
    for hit in shown:
        page, dictionary = pages[hit.id], known[hit.dictionary]
        label = next((label for label in page.labels if label.label == hit.label), None)
        results.append(
            {
                "modelId": dictionary.model,
                "layer": dictionary.source,
                "index": str(hit.feature),
                "description": hit.label,
                "explanationModelName": hit.explainer,
                "typeName": label.prompt if label is not None else None,
                "cosine_similarity": hit.score,
                "neuron": describe_feature(page, dictionary, ACTIVATIONS),
            }
        )
    more = len(hits) > start + size
    answer = {"request": body, "results": results, "resultsCount": len(results), "hasMore": more}
    return answer | ({"nextOffset": start + size} if more else {})
