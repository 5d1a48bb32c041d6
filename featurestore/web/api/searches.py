"""/v1/search, /v1/nearest, /v1/compare and the like: answers with the query in them, and limits of a service."""

from __future__ import annotations

import msgspec

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.comparisons import Comparison, are_dictionaries
from featurestore.values.hits import Activating, Duplicates, Hits
from featurestore.web.api.routes import answers
from featurestore.wire import limits, questions
from featurestore.wire.answers import SearchAnswer
from featurestore.wire.requests import ActivatingRequest, CompareRequest, DuplicatesRequest, RerankRequest


@answers(questions.SEARCH)
def search(store: FeatureStore, query: Query) -> SearchAnswer:
    """Answer a query by text. Raises BadRequest for a query by vectors."""
    if query.text is None:
        raise BadRequest("text: say what to search for; /v1/nearest takes near or vector")
    return _answer(store.run(query))


@answers(questions.NEAREST)
def nearest(store: FeatureStore, query: Query) -> SearchAnswer:
    """Answer a query by vectors. Raises BadRequest for a query by text."""
    if query.text is not None:
        raise BadRequest("text: /v1/nearest takes near (a feature's id) or vector; /v1/search takes text")
    return _answer(store.run(query))


@answers(questions.RERANK)
def rerank(store: FeatureStore, request: RerankRequest) -> SearchAnswer:
    """Rank the given features by how well their labels match the text."""
    return _answer(store.rerank(request.text, request.features, mode=request.mode))


@answers(questions.ACTIVATING)
def activating(store: FeatureStore, request: ActivatingRequest) -> Activating:
    """Run the model on a text, for the features that fire hardest or for those that are named."""
    return store.activating(request.text, request.dictionary, request.k, request.order, request.feature, request.token)


@answers(questions.DUPLICATES)
def duplicates(store: FeatureStore, request: DuplicatesRequest) -> Duplicates:
    """Compare a dictionary's features with others. Raises BadRequest for one too large for a service."""
    d_sae = store.dictionary(request.dictionary).d_sae
    if d_sae > limits.MOST_COMPARED:
        raise BadRequest(
            f"dictionary: {request.dictionary} has {d_sae:,} features; a service compares {limits.MOST_COMPARED:,} "
            "at most. Run `featurestore duplicates` beside the store"
        )
    return store.duplicates(request.dictionary, request.against, request.cosine, request.k)


@answers(questions.COMPARE)
def answer_compare(store: FeatureStore, request: CompareRequest) -> Comparison:
    """Lay features or dictionaries side by side."""
    return compare(store, request)


def compare(store: FeatureStore, request: CompareRequest) -> Comparison:
    """Lay features or dictionaries side by side. Raises BadRequest for dictionaries too large for a service."""
    if are_dictionaries(request.id):
        first, second = (store.dictionary(id) for id in request.id)
        if first.d_out == second.d_out and first.d_sae * second.d_sae * (first.d_out or 0) > limits.MOST_PRODUCTS:
            raise BadRequest(
                f"id: {first.dictionary} has {first.d_sae:,} features and {second.dictionary} {second.d_sae:,}, too "
                f"many for a service to compare. Run `featurestore compare {first.dictionary} {second.dictionary}` "
                "beside the store"
            )
    return store.compare(request.id, k=request.k, cosine=request.cosine, examples=request.examples)


def _answer(hits: Hits) -> SearchAnswer:
    return SearchAnswer(**msgspec.structs.asdict(hits))
