"""Facts of a feature's page beyond its own row: features that fire with it, what its files say, lines to copy."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from featurestore.errors import NotFound
from featurestore.interface import FeatureStore
from featurestore.values.feature import Feature

MOST_IMPORTED = 40  # facts of an import's files that are shown
MOST_ITEMS = 12  # of a list
MOST_LETTERS = 200
OF_FEATURES = ("correlated_features_indices", "topkCosSimIndices")  # lists of features of the same dictionary


class Companion(NamedTuple):
    """A feature of the same dictionary that fires on the same tokens; `jaccard` as in Coactive."""

    id: str
    label: str | None
    jaccard: float


class ImportedFact(NamedTuple):
    """What an import's files say of a feature beyond the columns: a name and a value, or the features that it names."""

    name: str
    text: str
    features: list[int]


class CopyLine(NamedTuple):
    """A line to copy: what it is, and its text."""

    name: str
    text: str


def list_companions(store: FeatureStore, page: Feature) -> list[Companion]:
    """Return the features that fire with this one, with their labels, those that most often do first."""
    ids = [f"{page.dictionary}/{each.feature}" for each in page.coactive]
    return [Companion(id, _read_label(store, id), each.jaccard) for id, each in zip(ids, page.coactive, strict=True)]


def _read_label(store: FeatureStore, id: str) -> str | None:
    """Return a feature's best label, read as pages read it: a page must not wait for the processes that run SQL."""
    try:
        return store.feature(id, examples=0).label
    except NotFound:  # a store of someone else may name what it does not have
        return None


def list_imported(page: Feature) -> list[ImportedFact]:
    """Return what the files of an import say of a feature beyond the columns, as schema.sql says of `extra`."""
    try:
        values = msgspec.json.decode(page.extra or "{}")
    except (msgspec.DecodeError, RecursionError):
        return []
    if not isinstance(values, dict):
        return []
    facts = []
    for name, value in list(values.items())[:MOST_IMPORTED]:
        features = value[:MOST_ITEMS] if name in OF_FEATURES and isinstance(value, list) else []
        features = features if all(type(each) is int and each >= 0 for each in features) else []
        facts.append(ImportedFact(name.replace("_", " ")[:MOST_LETTERS], _write_value(value), features))
    return facts


def _write_value(value: Any) -> str:
    """Return a value of JSON as a short text: the first items of a list of numbers or texts, else its JSON."""
    if isinstance(value, list) and not any(isinstance(item, list | dict) for item in value):
        listed = ", ".join(_write_value(item) for item in value[:MOST_ITEMS])
        text = f"{listed}, … ({len(value):,})" if len(value) > MOST_ITEMS else listed
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


def list_copy_lines(page: Feature) -> list[CopyLine]:
    """Return the feature's id and the lines of Python and SQL that read it."""
    dictionary = page.dictionary.replace("'", "''")
    return [
        CopyLine("id", page.id),
        CopyLine("Python", f"store.feature({page.id!r})"),
        CopyLine("SQL", f"SELECT * FROM features WHERE dictionary = '{dictionary}' AND feature = {page.feature}"),
    ]
