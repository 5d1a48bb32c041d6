"""One feature's whole page, from the few row groups that hold it."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from featurestore.conventions import list_edges
from featurestore.display.float32 import list_rows, round_float32
from featurestore.errors import BadStore
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.example_windows import ExampleWindows
from featurestore.snapshot.feature_labels import RANKED_BY, FeatureLabels, best, history, newest
from featurestore.snapshot.shard import Shards
from featurestore.sql.engine import Engine
from featurestore.storage.log import Snapshot
from featurestore.tables import structural
from featurestore.tables.best_label import own_rule, stale_features
from featurestore.tables.grouped_rows import Cut
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.values.examples import Example, FeatureExample
from featurestore.values.feature import Coactive, Feature, FeatureId, Label, LabelChange, LogitEffect, Score

# Features of a higher density are always on; the view `features` in schema.sql has the same number.
ALWAYS_ON = 0.2

# One scan finds more rows than this sooner than one row group for each does.
FEW = 64
# Features whose examples are read together. Each may need a row group of its own, all of which are in memory.
TOGETHER = 32
Row = dict[str, Any]
# A label has one score for each of these.
SCORED = ("label", "explainer", "method", "negatives", "judge", "prompt")


class Card(NamedTuple):
    """What a list of features shows of each."""

    label: str | None
    explainer: str | None
    density: float | None
    max_activation: float | None
    state: str
    structural: bool | None


class FeaturePages:
    """Reads features of one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot, shards: Shards, catalog: Catalog, engine: Callable[[], Engine]):
        self._rows = rows
        self._snapshot = snapshot
        self._shards = shards
        self._catalog = catalog
        self._windows = ExampleWindows(rows, snapshot)
        self._engine = engine  # opened where it is needed: most pages do without SQL
        self._labels = FeatureLabels(rows, snapshot, shards)
        self._has_own_rule = structural.own_structural_rule(snapshot) is not None
        self._stale = {part.file for part in stale_features(snapshot)}

    def page(self, id: str, examples: int | None) -> Feature:
        """The page of a feature, with at most `examples` examples of each band.

        Raises BadRequest, NotFound, or BadStore when the store lacks the feature's row.
        """
        feature_id = self._catalog.feature_id(id)
        row, label_rows = self._read_row(feature_id), self._labels.rows(feature_id)
        row["label"], row["explainer"] = self._best(feature_id, row, label_rows)
        labels = newest(label_rows, row["explainer"], self._votes(feature_id))
        return self._feature(feature_id, row, labels, self._examples(feature_id, examples), self._scores(feature_id))

    def scores(self, id: str) -> tuple[Score, ...]:
        """The newest score of each of a feature's labels by each method and judge. Raises BadRequest or NotFound."""
        return self._scores(self._catalog.feature_id(id))

    def label_history(self, id: str) -> tuple[LabelChange, ...]:
        """Every label the feature was ever given, and what was taken back, the newest first.

        Raises BadRequest or NotFound.
        """
        return history(self._labels.rows(self._catalog.feature_id(id)))

    def _feature(
        self,
        id: FeatureId,
        row: Row,
        labels: tuple[Label, ...],
        shown: tuple[Example, ...],
        scores: tuple[Score, ...] = (),
    ) -> Feature:
        fields = {name: row[name] for name in Feature.__struct_fields__ if name in row}
        dictionary = self._catalog.dictionary(id.dictionary)
        return Feature(
            **fields
            | {
                "id": str(id),
                "layer": dictionary.layer,
                "state": state_of(row["active_tokens"], row["density"]),
                "structural": self._structural(id, row),
                "histogram": None if row["histogram"] is None else tuple(row["histogram"]),
                "histogram_edges": _edges(row["histogram"], row["histogram_edges"], dictionary.histogram_scale),
                "coactive": tuple(Coactive(**pair) for pair in row["coactive"] or ()),
                "logit_histogram": None if row["logit_histogram"] is None else tuple(row["logit_histogram"]),
                "logit_histogram_edges": _logit_edges(row),
                "top_logits": _logit_effects(row["top_logits"]),
                "bottom_logits": _logit_effects(row["bottom_logits"]),
                "labels": labels,
                "scores": scores,
                "examples": shown,
            }
        )

    def evidence(self, ids: Sequence[FeatureId], examples: int | None) -> Iterator[Feature]:
        """Pages without labels, for explainers, by id within every TOGETHER ids; a row group is read once for many.

        At most `examples` examples of each band, all with None. Raises as `page` does.
        """
        for first in range(0, len(ids), TOGETHER):
            for id in [self._catalog.feature_id(str(id)) for id in sorted(ids[first : first + TOGETHER])]:
                row = self._read_row(id) | {"label": None, "explainer": None}
                yield self._feature(id, row, (), self._examples(id, examples))

    def cards(self, ids: Sequence[FeatureId]) -> dict[FeatureId, Card]:
        """What a list of features shows of each. Raises BadStore when the store lacks a feature's row."""
        if len(ids) > FEW or self._has_own_rule:
            rows = self._engine().rows(
                "SELECT dictionary, feature, label, explainer, density, max_activation, state, structural "
                "FROM features "
                "WHERE (dictionary, feature) IN (SELECT unnest(?), unnest(?))",
                [[id.dictionary for id in ids], [id.feature for id in ids]],
            )
            return {FeatureId(*row[:2]): Card(*row[2:])._replace(max_activation=round_float32(row[5])) for row in rows}
        cards = {}
        stale = self._labels.of([id for id in ids if self._is_stale(id)], RANKED_BY)
        for id in ids:
            row = self._read_row(id, ("label", "explainer", "density", "max_activation", *structural.COLUMNS))
            if id in stale:
                row["label"], row["explainer"] = self._best(id, row, stale[id])
            state = state_of(row["active_tokens"], row["density"])
            cards[id] = Card(
                row["label"],
                row["explainer"],
                row["density"],
                row["max_activation"],
                state,
                structural.is_structural(row),
            )
        return cards

    def _structural(self, id: FeatureId, row: Row) -> bool | None:
        """Whether the store's rule says that a feature, given its row, is structural."""
        if not self._has_own_rule:
            return structural.is_structural(row)
        statement = "SELECT structural FROM features WHERE dictionary = ? AND feature = ?"
        value: bool | None
        ((value,),) = self._engine().rows(statement, [id.dictionary, id.feature])
        return value

    def _is_stale(self, id: FeatureId) -> bool:
        part = self._shards.of(id).features
        return part is not None and part.file in self._stale

    def _best(self, id: FeatureId, row: Row, labels: list[Row]) -> tuple[str | None, str | None]:
        """The label that is shown, and its explainer, given the feature's row and all its labels."""
        if not self._is_stale(id):
            return row["label"], row["explainer"]
        # Without votes and scores of its own labels SQL is not needed, which takes many times as long as the whole
        # page.
        judged = self._rows_of("votes", id) or self._rows_of("scores", id)
        if not judged and own_rule(self._snapshot) is None:
            return best(labels)
        rows = self._engine().rows(
            "SELECT label, explainer FROM best_labels WHERE dictionary = ? AND feature = ?", [id.dictionary, id.feature]
        )
        if not rows:
            return None, None
        ((label, explainer),) = rows
        return label, explainer

    def _votes(self, id: FeatureId) -> collections.Counter[str]:
        """The sum of the newest votes of each voter, by label."""
        rows = sorted(self._rows_of("votes", id), key=lambda row: (row["created_at"], -row["vote"]))
        newest_vote = {(row["label"], row["voter"]): row["vote"] for row in rows}
        votes: collections.Counter[str] = collections.Counter()
        for (label, _), vote in newest_vote.items():
            votes[label] += vote
        return votes

    def _scores(self, id: FeatureId) -> tuple[Score, ...]:
        rows = self._rows_of("scores", id)
        # The same as the view `scores`: the newest, of equally new ones the one of most judgements.
        rows.sort(key=lambda row: (row["created_at"], row["n"], -(row["value"] or 0.0)))
        last = {tuple(row[name] or "" for name in SCORED): row for row in rows}
        return tuple(Score(**{name: row[name] for name in Score.__struct_fields__}) for _, row in sorted(last.items()))

    def _rows_of(self, table: str, id: FeatureId) -> list[Row]:
        """A feature's rows of a table that many writers append to."""
        rows: list[Row] = []
        for part in self._snapshot.parts(table, id.dictionary):
            rows += self._rows.read_appended(part, [id.feature]).get(id.feature, ())
        return rows

    def top_logits(self, id: FeatureId) -> tuple[LogitEffect, ...]:
        """The tokens whose logits a feature raises most, strongest first."""
        return _logit_effects(self._read_row(id, ("top_logits",))["top_logits"])

    def _read_row(self, id: FeatureId, columns: Sequence[str] | None = None) -> Row:
        """A feature's row of stored.features. Raises BadStore where the store does not have exactly one."""
        shard = self._shards.of(id)
        if shard.feature_rows is not None:
            row: Row = self._rows.feature_rows(shard.feature_rows).row(id.feature % SHARD_FEATURES, columns)
            return row
        wanted = ["feature", *columns] if columns else None
        part = shard.features
        rows: list[Row] = list_rows(self._rows.of_feature(part, id.feature, wanted)) if part else []
        if len(rows) != 1:
            raise BadStore(f"the store has {len(rows)} rows of {id}, not one; run `featurestore check`")
        return rows[0]

    def examples(self, id: str, most: int | None) -> list[FeatureExample]:
        """A feature's examples, at most `most` of each band; all with None. Raises BadRequest or NotFound."""
        feature_id = self._catalog.feature_id(id)
        return [FeatureExample.of(str(feature_id), example) for example in self._examples(feature_id, most)]

    def windows(self, places: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, ...]]:
        """The texts of the tokens of windows (corpus, document, start, length). Raises BadStore for unknown places."""
        return self._windows.texts(places)

    def _examples(self, id: FeatureId, most: int | None) -> tuple[Example, ...]:
        shard = self._shards.of(id)
        cut: Cut | None = None
        if shard.example_rows is not None:
            cut = self._rows.grouped_rows(shard.example_rows).of_feature(id.feature)
        elif shard.examples is not None:  # a store from before there were such copies
            cut = Cut.of(self._rows.of_feature(shard.examples, id.feature))
        return self._windows.examples(cut, most) if cut else ()


def _logit_effects(rows: list[Row] | None) -> tuple[LogitEffect, ...]:
    return tuple(
        LogitEffect(f"#{row['id']}" if row["token"] is None else row["token"], row["value"], row["id"])
        for row in rows or ()
    )


def _edges(
    counts: list[int] | None, edges: Sequence[float] | None, scale: int | None = None
) -> tuple[float, ...] | None:
    """The edges of a histogram's bins; None without a histogram."""
    return None if counts is None else list_edges(len(counts), edges, scale)


def _logit_edges(row: Row) -> tuple[float, ...] | None:
    """The edges of logit_histogram: its own, or equal steps from the lowest to the highest effect."""
    low, high = row["bottom_logits"], row["top_logits"]
    edges = row["logit_histogram_edges"] or ((low[0]["value"], high[0]["value"]) if low and high else None)
    return _edges(row["logit_histogram"], edges) if edges else None


def state_of(active_tokens: int | None, density: float | None) -> str:
    """The state that the view `features` gives a feature: "unharvested", "dead", "always-on" or "live"."""
    active = density if active_tokens is None else active_tokens
    if active is None:
        return "unharvested"
    if active == 0:
        return "dead"
    return "always-on" if density is not None and density > ALWAYS_ON else "live"
