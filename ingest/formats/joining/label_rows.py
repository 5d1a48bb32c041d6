"""Labels and scores that a store lacks: what was imported, beside what is there."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow

if TYPE_CHECKING:
    from featurestore import Store

Label = dict[str, Any]
SCORE_KEY = ("feature", "label", "explainer", "method", "judge")


class LabelChange(NamedTuple):
    """Rows to write, and how many of them are new, say something else than before, or are there already."""

    rows: list[Label]
    new: int = 0
    changed: int = 0
    same: int = 0
    repeated: int = 0  # labels that the files hold twice


def separate(labels: Iterable[Label]) -> tuple[list[Label], int]:
    """Return labels of which no two are by one explainer on one feature, and how many were exact repetitions.

    A second label by an explainer is its second one, "NAME (2)", so that both stay.
    """
    said: dict[tuple[int, str], list[str]] = {}
    rows: list[Label] = []
    repeated = 0
    for label in labels:
        texts = said.setdefault((label["feature"], label["explainer"]), [])
        if label["label"] in texts:
            repeated += 1
            continue
        texts.append(label["label"])
        rows.append(label if len(texts) == 1 else label | {"explainer": f"{label['explainer']} ({len(texts)})"})
    return rows, repeated


def compare_labels(store: Store, dictionary: str, labels: Iterable[Label]) -> LabelChange:
    """Return the labels that the store does not have, or has otherwise."""
    rows, repeated = separate(labels)
    there: dict[tuple[int, str], str] = {}
    if rows:
        statement = "select feature, explainer, label from labels where dictionary = $dictionary"
        table = store.sql(statement, {"dictionary": dictionary})
        keys = zip(table["feature"].to_pylist(), table["explainer"].to_pylist(), strict=True)
        there = dict(zip(keys, table["label"].to_pylist(), strict=True))
    known = [there.get((row["feature"], row["explainer"])) for row in rows]
    wanted = [row for row, text in zip(rows, known, strict=True) if text != row["label"]]
    new = sum(text is None for text in known)
    return LabelChange(wanted, new, len(wanted) - new, len(rows) - len(wanted), repeated)


def make_label_table(dictionary: str, rows: list[Label], tool: str, at: datetime.datetime) -> pyarrow.Table:
    """Return rows of stored.labels."""
    count = len(rows)
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([dictionary] * count, pyarrow.string()),
            "feature": pyarrow.array([row["feature"] for row in rows], pyarrow.int32()),
            "label": [row["label"] for row in rows],
            "explainer": [row["explainer"] for row in rows],
            "prompt": pyarrow.array([row.get("prompt") for row in rows], pyarrow.string()),
            "examples": pyarrow.array([row.get("examples") for row in rows], pyarrow.int32()),
            "imported": pyarrow.array([True] * count),
            "tool": [tool] * count,
            "created_at": pyarrow.array([at] * count, pyarrow.timestamp("us", "UTC")),
        }
    )


def compare_scores(store: Store, dictionary: str, scores: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the scores that the store does not have."""
    rows = {tuple(score.get(name) for name in (*SCORE_KEY, "value", "n")): dict(score) for score in scores}
    if not rows:
        return []
    names = ", ".join((*SCORE_KEY, "value", "n"))
    table = store.sql(f"select {names} from scores where dictionary = $dictionary", {"dictionary": dictionary})
    for row in table.to_pylist():
        rows.pop(tuple(row.values()), None)
    return list(rows.values())


def make_score_table(dictionary: str, rows: list[dict[str, Any]], tool: str, at: datetime.datetime) -> pyarrow.Table:
    """Return rows of stored.scores. What the scorer's tool does not say is null."""
    common = {"dictionary": dictionary, "failures": 0, "sampled": False, "stopped": False, "tool": tool}
    return pyarrow.Table.from_pylist([common | {"created_at": at} | row for row in rows])
