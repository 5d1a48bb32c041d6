"""Neuronpedia's questions about texts, for which the model runs: features of a text, top features of each token.

A text's tokens are given without the one at its beginning (BOS), on which features are not counted here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.values.dictionary import Dictionary
from featurestore.values.hits import Activating, ActiveFeature
from featurestore.web.compat.foreign import NotOffered, convert
from featurestore.web.compat.neuronpedia_catalog import find_set, find_source
from featurestore.web.compat.neuronpedia_features import Index, read_page
from featurestore.web.compat.neuronpedia_values import Object, describe_feature
from featurestore.wire.limits import MOST_TEXT

MOST_ACTIVE = 1000  # features that a store tells of one text
MOST_TEXTS = 20

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MOST_TEXT)]
Texts = Text | Annotated[list[Text], msgspec.Meta(min_length=1, max_length=MOST_TEXTS)]


class SearchRequestByText(msgspec.Struct, rename="camel"):
    """Which features of some sources fire on a text."""

    model_id: str
    source_set: str
    text: Any
    selected_layers: list[str] = []
    sort_indexes: list[Annotated[int, msgspec.Meta(ge=0)]] = []
    ignore_bos: bool = True
    density_threshold: float = -1
    num_results: Annotated[int, msgspec.Meta(ge=1, le=100)] = 50


class TokenRequest(msgspec.Struct, rename="camel"):
    """Which features of a source fire hardest on each token of a text."""

    model_id: str
    source: str
    text: Any
    num_results: Annotated[int, msgspec.Meta(ge=1, le=20)] = 10
    ignore_bos: bool = True
    density_threshold: float = 0.01


class FeatureOfText(msgspec.Struct, rename="camel"):
    """A feature; `source` and `layer` are the same there."""

    model_id: str
    index: Index
    source: str | None = None
    layer: str | None = None


class TextRequest(msgspec.Struct, rename="camel"):
    """The activations of one feature on texts."""

    custom_text: Any
    feature: FeatureOfText | None = None
    neuron: FeatureOfText | None = None


class SourceRequest(msgspec.Struct, rename="camel"):
    """All activations of a source on texts."""

    model_id: str
    source: str
    custom_text: Any


def search_text(store: FeatureStore, body: Any) -> Object:
    """Return the features of sources that fire hardest on a text; for a list of texts, an answer for each."""
    fields = convert(body, SearchRequestByText)
    of_set = find_set(store, fields.model_id, fields.source_set)
    chosen = fields.selected_layers or [dictionary.source for dictionary in of_set]
    within = [find_source(store, fields.model_id, source).dictionary for source in chosen]
    single, texts = _read_texts(fields.text)
    results = [_search_one(store, fields, within, text, single) for text in texts]
    return results[0] if single else {"results": results}


def _search_one(store: FeatureStore, fields: SearchRequestByText, within: list[str], text: str, whole: bool) -> Object:
    active = store.activating(text, within, MOST_ACTIVE, "activation")
    features = [each for each in active.features if _is_rare(each, fields.density_threshold)]
    sort = [index for index in fields.sort_indexes if index < len(active.tokens)]
    if len(sort) < len(fields.sort_indexes):
        raise BadRequest(
            f"sortIndexes: the text has {len(active.tokens)} tokens, so they run from 0 to {len(active.tokens) - 1}"
        )
    if sort:
        _check_complete(active)
        features.sort(key=lambda each: -sum(each.activations[index] for index in sort))
    features = features[: fields.num_results]
    pages = store.features([each.id for each in features], examples=0) if whole else []
    known = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    result = []
    for number, each in enumerate(features):
        dictionary = known[each.dictionary]
        row: Object = {
            "modelId": dictionary.model,
            "layer": dictionary.source,
            "index": str(each.feature),
            "values": list(each.activations),
            "maxValue": each.activation,
            "maxValueIndex": each.token,
        }
        result.append(row | ({"neuron": describe_feature(pages[number], dictionary)} if whole else {}))
    return {"tokens": list(active.tokens), "result": result, "sortIndexes": fields.sort_indexes}


def find_top(store: FeatureStore, body: Any) -> Object:
    """Return the top features of each token of a text; for a list of texts, an answer for each."""
    fields = convert(body, TokenRequest)
    dictionary = find_source(store, fields.model_id, fields.source)
    single, texts = _read_texts(fields.text)
    results = []
    for active in _run_texts(store, dictionary, texts):
        rows = [_find_top_of(active, fields, position) for position in range(len(active.tokens))]
        if single:
            _add_features(store, fields, rows)
        results.append({"source": fields.source, "results": rows})
    return results[0] if single else {"results": results}


def _find_top_of(active: Activating, fields: TokenRequest, position: int) -> Object:
    firing = [each for each in active.features if each.activations[position] > 0]
    kept = [each for each in firing if _is_rare(each, fields.density_threshold)]
    kept.sort(key=lambda each: -each.activations[position])
    kept = kept[: fields.num_results]
    # What the store does not tell of fires less, at its strongest, than all that it tells of.
    bound = active.features[-1].activation if len(active.features) == MOST_ACTIVE else 0.0
    if bound and (len(kept) < fields.num_results or kept[-1].activations[position] < bound):
        _check_complete(active)
    return {
        "position": position,
        "token": active.tokens[position],
        "isSpecial": False,
        "topFeatures": [{"activationValue": each.activations[position], "featureIndex": each.feature} for each in kept],
    }


def _add_features(store: FeatureStore, fields: TokenRequest, rows: list[Object]) -> None:
    dictionary = find_source(store, fields.model_id, fields.source)
    numbers = sorted({each["featureIndex"] for row in rows for each in row["topFeatures"]})
    pages = store.features([f"{dictionary.dictionary}/{number}" for number in numbers], examples=0)
    described = {page.feature: describe_feature(page, dictionary) for page in pages}
    for row in rows:
        for each in row["topFeatures"]:
            each["feature"] = described[each["featureIndex"]]


def run_feature(store: FeatureStore, body: Any) -> Object | list[Object]:
    """Return a feature's activation on each token of a text; a list of these for a list of texts."""
    fields = convert(body, TextRequest)
    wanted = fields.feature or fields.neuron
    source = (wanted.source or wanted.layer) if wanted else None
    if wanted is None or source is None:
        raise BadRequest("feature: say modelId, source and index")
    page, dictionary = read_page(store, wanted.model_id, source, wanted.index)
    single, texts = _read_texts(fields.custom_text)
    results = []
    for active in _run_texts(store, dictionary, texts):
        of_page = next((each for each in active.features if each.feature == page.feature), None)
        if of_page is None:
            _check_complete(active)
        values = list(of_page.activations) if of_page else [0.0] * len(active.tokens)
        place = max(range(len(values)), key=values.__getitem__, default=0)
        results.append(
            {
                "tokens": list(active.tokens),
                "values": values,
                "maxValue": max(values, default=0.0),
                "minValue": min(values, default=0.0),
                "maxValueTokenIndex": place,
                "modelId": dictionary.model,
                "layer": dictionary.source,
                "index": str(page.feature),
                "creatorId": None,
                "dataIndex": None,
                "dataSource": None,
                "createdAt": None,
                "dfaValues": [],
                "dfaMaxValue": None,
                "dfaTargetIndex": None,
            }
        )
    return results[0] if single else results


def run_source(store: FeatureStore, body: Any) -> Object:
    """Return every activation of a source on texts: by feature, the tokens on which it fires and how strongly."""
    fields = convert(body, SourceRequest)
    dictionary = find_source(store, fields.model_id, fields.source)
    _, texts = _read_texts(fields.custom_text)
    results = []
    for active in _run_texts(store, dictionary, texts):
        _check_complete(active)
        by_feature = {
            str(each.feature): [[n, value] for n, value in enumerate(each.activations) if value]
            for each in active.features
        }
        results.append({"tokens": list(active.tokens), "activeFeatures": by_feature})
    return {"results": results}


def _run_texts(store: FeatureStore, dictionary: Dictionary, texts: Sequence[str]) -> Iterator[Activating]:
    """Yield what fires of a dictionary on each text, the strongest first."""
    for text in texts:
        yield store.activating(text, dictionary.dictionary, MOST_ACTIVE, "activation")


def _read_texts(value: Any) -> tuple[bool, Sequence[str]]:
    """Return whether one text was given, and the texts. Raises BadRequest."""
    try:
        texts: Any = msgspec.convert(value, Texts)
    except msgspec.ValidationError:
        raise BadRequest(
            f"text: give a text, or a list of 1 to {MOST_TEXTS} texts, of 1 to {MOST_TEXT:,} characters each"
        ) from None
    return isinstance(texts, str), [texts] if isinstance(texts, str) else texts


def _is_rare(feature: ActiveFeature, threshold: float) -> bool:
    """Return whether a feature fires on at most this share of tokens; any does where the threshold is not positive."""
    return threshold <= 0 or feature.density is None or feature.density <= threshold


def _check_complete(active: Activating) -> None:
    """Raises NotOffered where the store may know of more features that fire than it tells."""
    if len(active.features) >= MOST_ACTIVE:
        raise NotOffered(
            f"more than {MOST_ACTIVE:,} features fire on this text, of which a store tells the strongest: shorten it"
        )
