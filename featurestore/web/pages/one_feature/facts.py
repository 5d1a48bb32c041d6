"""Facts of a feature's page beyond its own row: features that fire with it, where it fires first, lines to copy."""

from __future__ import annotations

from typing import NamedTuple

from featurestore.errors import NotFound
from featurestore.interface import FeatureStore
from featurestore.values.feature import Feature


class Companion(NamedTuple):
    """A feature of the same dictionary that fires on the same tokens; `jaccard` as in Coactive."""

    id: str
    label: str | None
    jaccard: float


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


def list_copy_lines(page: Feature) -> list[CopyLine]:
    """Return the feature's id and the lines of Python and SQL that read it."""
    dictionary = page.dictionary.replace("'", "''")
    return [
        CopyLine("id", page.id),
        CopyLine("Python", f"store.feature({page.id!r})"),
        CopyLine("SQL", f"SELECT * FROM features WHERE dictionary = '{dictionary}' AND feature = {page.feature}"),
    ]
