"""Facts of a feature's page beyond its own row: features that fire with it, where it fires first, lines to copy."""

from __future__ import annotations

from typing import NamedTuple

from featurestore.interface import FeatureStore
from featurestore.values.feature import Feature
from featurestore.wire.limits import SQL_SECONDS

LABELS = """
SELECT feature, label FROM features WHERE dictionary = $dictionary AND feature IN (SELECT unnest($features))
"""


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
    if not page.coactive:
        return []
    parameters = {"dictionary": page.dictionary, "features": [each.feature for each in page.coactive]}
    rows = store.sql(LABELS, parameters, timeout=SQL_SECONDS).to_pylist()
    labels = {row["feature"]: row["label"] for row in rows}
    return [
        Companion(f"{page.dictionary}/{each.feature}", labels.get(each.feature), each.jaccard) for each in page.coactive
    ]


def list_copy_lines(page: Feature) -> list[CopyLine]:
    """Return the feature's id and the lines of Python and SQL that read it."""
    dictionary = page.dictionary.replace("'", "''")
    return [
        CopyLine("id", page.id),
        CopyLine("Python", f"store.feature({page.id!r})"),
        CopyLine("SQL", f"SELECT * FROM features WHERE dictionary = '{dictionary}' AND feature = {page.feature}"),
    ]
