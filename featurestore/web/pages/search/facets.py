"""Facets of a search: how many of its first matches are of each model, layer, kind and the like, and their filters."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from featurestore.errors import BadRequest
from featurestore.values.dictionary import Dictionary
from featurestore.values.hits import Hit

KINDS = ("sae", "transcoder", "clt", "vectors")  # as schema.sql says
DENSITIES = {
    "rare": ("on under 0.01 % of tokens", "density < 0.0001"),
    "some": ("on 0.01 to 1 %", "density >= 0.0001 AND density < 0.01"),
    "often": ("on 1 % or more", "density >= 0.01"),
}
LABELLED = {"yes": ("with a label", "has_label"), "no": ("without a label", "NOT has_label")}
BY_SCORE = "(dictionary, feature) IN (SELECT (dictionary, feature) FROM label_scores WHERE score >= 0.8)"
BELOW = "(dictionary, feature) IN (SELECT (dictionary, feature) FROM label_scores WHERE score < 0.8)"
SCORES = {"high": ("0.8 or more", BY_SCORE), "low": ("less than 0.8", BELOW)}
MOST_SHOWN = 8  # values of a facet


class Value(NamedTuple):
    """A value of a facet: as it stands in the URL, in words, how many matches have it, whether it is filtered by."""

    value: str
    title: str
    matches: int
    chosen: bool


class Facet(NamedTuple):
    """A facet with its values, most matches first; `field` is its name in the URL.

    `shared` says that all hits have its one value: there is nothing to filter by.
    """

    field: str
    title: str
    values: list[Value]
    shared: bool


FIELDS = ("layer", "kind", "density", "explainer", "labelled", "scored")


def write_condition(
    chosen: Mapping[str, str], where: str | None, explainers: Callable[[], Iterable[str]]
) -> str | None:
    """Return the SQL condition of the values chosen by field, and of what the user wrote; None without any.

    `explainers` lists those of the store. Raises BadRequest for a value that a facet does not have.
    """
    conditions = [f"({where})"] if where else []
    for field, value in chosen.items():
        if field == "layer":
            if not value.isdecimal() or len(value) > 4:
                raise BadRequest(f"layer: '{value:.40}' is not a number of a layer")
            conditions.append(f"layer = {int(value)}")
        elif field == "explainer":
            _check(field, value, sorted(explainers()))
            quoted = value.replace("'", "''")
            conditions.append(f"explainer = '{quoted}'")
        elif field == "kind":
            _check(field, value, KINDS)
            conditions.append(f"kind = '{value}'")
        else:
            choices = {"density": DENSITIES, "labelled": LABELLED, "scored": SCORES}[field]
            _check(field, value, list(choices))
            conditions.append(choices[value][1])
    return " AND ".join(conditions) or None


def _check(field: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise BadRequest(f"{field}: '{value:.80}' is not one of {', '.join(choices)}")


def count_facets(
    hits: Sequence[Hit],
    dictionaries: Mapping[str, Dictionary],
    scores: Mapping[str, float],
    chosen: Mapping[str, str],
) -> list[Facet]:
    """Return the facets of these hits; one of which no hit has a value is left out, unless it is chosen.

    `scores` are those of labels by the feature's id, `chosen` the values that are filtered by field.
    """
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for hit in hits:
        dictionary = dictionaries[hit.dictionary]
        counts["model"][dictionary.model] += 1
        counts["layer"][_text(dictionary.layer)] += 1
        counts["dictionary"][dictionary.dictionary] += 1
        counts["kind"][dictionary.kind] += 1
        counts["density"][_find_density(hit.density)] += 1
        counts["explainer"][hit.explainer or ""] += 1
        counts["labelled"]["yes" if hit.label is not None else "no"] += 1
        if hit.id in scores:
            counts["scored"]["high" if scores[hit.id] >= 0.8 else "low"] += 1
    titles = {"labelled": LABELLED, "density": DENSITIES, "scored": SCORES}
    facets = []
    for field, title in TITLES.items():
        picked = chosen.get(field)
        ordered = sorted(counts[field].items(), key=lambda pair: _order(field, pair))
        values = [
            Value(value, titles[field][value][0] if field in titles else value, count, value == picked)
            for value, count in ordered[:MOST_SHOWN]
            if value
        ]
        if picked and not any(value.chosen for value in values):
            values.append(Value(picked, titles[field][picked][0] if field in titles else picked, 0, True))
        if values:
            shared = [value.matches for value in values] == [len(hits)] and not picked
            facets.append(Facet(field, title, values, shared))
    return facets


TITLES = {
    "model": "Model",
    "dictionary": "Dictionary",
    "layer": "Layer",
    "kind": "Kind",
    "density": "Fires",
    "explainer": "Label by",
    "scored": "Score of its label",
    "labelled": "Label",
}


def _order(field: str, pair: tuple[str, int]) -> tuple[int, str]:
    value, count = pair
    if field == "layer":
        return (int(value) if value else -1, "")
    return (list(DENSITIES).index(value) if value else -1, "") if field == "density" else (-count, value)


def _text(layer: int | None) -> str:
    return "" if layer is None else str(layer)


def _find_density(density: float | None) -> str:
    if density is None:
        return ""
    return "rare" if density < 0.0001 else "some" if density < 0.01 else "often"
