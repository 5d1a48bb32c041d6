"""The labels of one feature: from the copy that gathers them, and from the parts written since."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore.snapshot.page_copies import newer_labels
from featurestore.snapshot.shard import Shards
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.values.feature import FeatureId, Label, LabelChange

Row = dict[str, Any]
# The columns that `best` compares.
RANKED_BY = ("label", "explainer", "imported", "removed", "created_at")


class FeatureLabels:
    """Reads labels in one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot, shards: Shards):
        self._rows = rows
        self._snapshot = snapshot
        self._shards = shards
        self._sources = functools.cache(self._sources_of)

    def rows(self, id: FeatureId) -> list[Row]:
        """Every label the feature was ever given."""
        return self.of([id])[id]

    def of(self, ids: Sequence[FeatureId], columns: Sequence[str] | None = None) -> dict[FeatureId, list[Row]]:
        """Every label of some features by feature; each part is read once. Rows of large parts have only `columns`."""
        labels: dict[FeatureId, list[Row]] = {id: [] for id in ids}
        by_shard: dict[tuple[str, int], list[int]] = {}
        for id in labels:
            by_shard.setdefault((id.dictionary, id.feature // SHARD_FEATURES), []).append(id.feature)
        for (dictionary, shard), features in by_shard.items():
            copy, parts = self._sources(dictionary, shard)
            if copy is not None:
                gathered = self._rows.grouped_rows(copy)
                for feature in features:
                    cut = gathered.of_feature(feature)
                    labels[FeatureId(dictionary, feature)] += cut.rows() if cut else ()
            for part in parts:
                for feature, rows in self._rows.read_appended(part, features, columns).items():
                    labels[FeatureId(dictionary, feature)] += rows
        return labels

    def _sources_of(self, dictionary: str, shard: int) -> tuple[Part | None, list[Part]]:
        """The copy of a shard's labels, None where it is missing or stale, and the parts to read beside it."""
        copy = self._shards.at(dictionary, shard * SHARD_FEATURES).label_rows
        newer = newer_labels(self._snapshot, copy) if copy is not None else None
        return (None, self._snapshot.parts("labels", dictionary)) if newer is None else (copy, newer)


def best(rows: Sequence[Row]) -> tuple[str | None, str | None]:
    """The label that is shown, of all labels of a feature, and its explainer; (None, None) without labels.

    The same choice as the view best_labels in schema.sql makes by its own rule, for features without votes and scores.
    """
    latest = _latest(rows)
    if not latest:
        return None, None
    row = max(latest, key=lambda row: (_rank(row), row["created_at"], row["explainer"], row["label"]))
    return row["label"], row["explainer"]


def _rank(row: Row) -> int:
    """The rank of a label's origin, as the macro label_rank in schema.sql computes it."""
    explainer: str = row["explainer"]
    if row["imported"]:
        return 2
    if explainer == "human" or explainer.startswith("human:"):
        return 3
    return 0 if explainer == "tokens" else 1


def newest(rows: Sequence[Row], first: str | None, votes: Mapping[str, int]) -> tuple[Label, ...]:
    """The newest label of each explainer, as the view labels in schema.sql has them.

    That of explainer `first` comes first, then the newest. `votes` are the sums of the votes by label.
    """
    ordered = sorted(_latest(rows), key=lambda row: row["explainer"] != first)
    return tuple(
        Label(**{name: row[name] for name in Label.__struct_fields__ if name in row}, votes=votes.get(row["label"], 0))
        for row in ordered
    )


def history(rows: Sequence[Row]) -> tuple[LabelChange, ...]:
    """What was said and taken back of a feature, the newest first."""
    ordered = sorted(rows, key=lambda row: (-row["created_at"].timestamp(), row["explainer"], row["label"]))
    return tuple(
        LabelChange(
            label=row["label"],
            explainer=row["explainer"],
            prompt=row["prompt"],
            removed=bool(row["removed"]),
            tool=row["tool"],
            created_at=row["created_at"],
        )
        for row in ordered
    )


def _latest(rows: Sequence[Row]) -> list[Row]:
    """The newest row of each explainer, the newest first, without those that take a label back."""
    latest: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: (-row["created_at"].timestamp(), row["label"])):
        latest.setdefault(row["explainer"], row)
    return [row for row in latest.values() if not row["removed"]]
