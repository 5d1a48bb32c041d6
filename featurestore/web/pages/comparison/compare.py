"""The page of a comparison: two to eight features, or two dictionaries."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import g, render_template
from flask.typing import ResponseReturnValue

from featurestore.display.tokens import Run, choose_shade, split_characters
from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.values.comparisons import (
    MOST_FEATURES,
    ComparedExample,
    FeatureComparison,
    is_dictionary_id,
)
from featurestore.values.feature import id_text
from featurestore.web.api import searches
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.questions import choose_compare_lane
from featurestore.wire.requests import CompareRequest, Request

BEFORE, AFTER = 14, 8  # tokens shown around what fires
MOST_SHOWN = 320  # matches on one page


class CompareFields(Request, frozen=True):
    """The fields of the page; an `id` that is empty counts as not given."""

    id: tuple[str, ...] = ()
    k: int = 20
    examples: int = 4


class ExampleRow(NamedTuple):
    """An example as one feature sees it: the feature's number, from 1, and the tokens with its activations."""

    number: int
    runs: list[Run]


def show_comparison(store: FeatureStore) -> ResponseReturnValue:
    """Return the form and, with ids, what they have in common."""
    fields = read(CompareFields)
    ids = list(dict.fromkeys(id_text(id) for id in fields.id if id.strip()))
    dictionaries = store.dictionaries()
    context: dict[str, Any] = {
        "ids": ids,
        "features": [id for id in ids if not is_dictionary_id(id)],
        "chosen": [id for id in ids if is_dictionary_id(id)],
        "most": MOST_FEATURES,
        "dictionaries": dictionaries,
        "pair": _find_pair(store),
        "error": None,
        "answer": None,
    }
    if not ids or g.get("only_shown"):
        return render_template("compare.html", **context)
    try:
        asked = CompareRequest(id=tuple(ids), k=fields.k, examples=fields.examples)
        answer = searches.compare(store, asked)
    except FeatureStoreError as exc:
        return render_template("compare.html", **context | {"error": str(exc)}), exc.status
    context |= {"answer": answer, "json": f"/v1/compare?{_query(ids, k=fields.k, examples=fields.examples)}"}
    if isinstance(answer, FeatureComparison):
        return render_template("compare.html", **context, **_describe_features(answer))
    more = fields.k * 4
    grows = more <= MOST_SHOWN and len(answer.matches) == fields.k
    link = f"/compare?{_query([answer.dictionary, answer.other], k=more)}" if grows else None
    swapped = f"/compare?{_query([answer.other, answer.dictionary])}"
    return render_template("compare.html", **context, more=link, swapped=swapped, beside=_link_beside)


def _describe_features(answer: FeatureComparison) -> dict[str, Any]:
    """Return what the template shows of compared features beside the answer itself."""
    ids = [feature.id for feature in answer.features]
    numbers = {id: n for n, id in enumerate(ids, 1)}
    largest = {feature.id: feature.max_activation for feature in answer.features}
    return {
        "numbers": numbers,
        "shade": lambda cosine: choose_shade(cosine, 1.0),
        "shown": [(example, _cut(example, numbers, largest)) for example in answer.examples],
        "without": [f"/compare?{_query([other for other in ids if other != id])}" for id in ids],
    }


def _cut(example: ComparedExample, numbers: dict[str, int], largest: dict[str, float | None]) -> list[ExampleRow]:
    """Return the tokens around the strongest of each feature in a window, once for each feature that fires there."""
    peaks = [max(range(len(values)), key=lambda at: abs(values[at])) for values in example.activations]
    first, last = max(0, min(peaks) - BEFORE), max(peaks) + AFTER + 1
    tokens = example.tokens[first:last]
    return [
        ExampleRow(numbers[id], split_characters(tokens, values[first:last], largest[id]))
        for id, values in zip(example.features, example.activations, strict=True)
    ]


def _find_pair(store: FeatureStore) -> tuple[str, str] | None:
    """Return two dictionaries that can be compared, as something to begin with."""
    first_of: dict[tuple[str, int | None], str] = {}
    for dictionary in store.dictionaries():
        if dictionary.space is not None:
            first = first_of.setdefault((dictionary.space, dictionary.d_out), dictionary.dictionary)
            if first != dictionary.dictionary:
                return first, dictionary.dictionary
    return None


def _link_beside(id: str, other: str) -> str:
    return f"/compare?{_query([id, other])}"


def _query(ids: list[str], **others: int) -> str:
    return urlencode([*(("id", id) for id in ids), *others.items()])


PAGES = (Page("/compare", show_comparison, lane="search", lane_by=choose_compare_lane, has_blank_form=True),)
