"""One feature's whole page, from the few row groups that hold it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy
import pyarrow.compute

from featurestore.catalog import Catalog
from featurestore.errors import BadStore
from featurestore.labelling import stale_features
from featurestore.log import Part, Snapshot
from featurestore.records import Example, Feature, FeatureId, Label, LogitEffect
from featurestore.rows import Rows, shard_part
from featurestore.sql import Engine
from featurestore.writer import SHARD_FEATURES

# The view `features` in schema.sql says the same to SQL.
ALWAYS_ON = 0.2

# More rows than this are quicker found by one scan than by one row group each.
FEW = 64
# Features whose examples are read at once: far from each other they are a row group each, all in memory.
TOGETHER = 32
CARD = ("dictionary", "feature", "label", "explainer", "density", "max_activation", "state")


class Pages:
    """Reads features of one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot, catalog: Catalog, engine: Callable[[], Engine]):
        self._rows = rows
        self._snapshot = snapshot
        self._catalog = catalog
        self._engine = engine  # opened where it is needed: most pages do without SQL
        self._stale = {part.file for part in stale_features(snapshot)}

    def page(self, id: str, examples: int | None) -> Feature:
        """The page of a feature, with at most `examples` examples of each band.

        Raises BadRequest, NotFound, or BadStore when the store lacks the feature's row.
        """
        asked = self._catalog.feature_id(id)
        row = self._row(asked)
        return self._feature(asked, row, self._labels(asked, row["explainer"]), self._examples(asked, examples))

    def _feature(
        self, asked: FeatureId, row: dict[str, Any], labels: tuple[Label, ...], shown: tuple[Example, ...]
    ) -> Feature:
        fields = {name: row[name] for name in Feature.__struct_fields__ if name in row}
        return Feature(
            **fields
            | {
                "id": str(asked),
                "layer": self._catalog.dictionary(asked.dictionary).layer,
                "state": state_of(row["active_tokens"], row["density"]),
                "histogram": None if row["histogram"] is None else tuple(row["histogram"]),
                "top_logits": tuple(LogitEffect(**one) for one in row["top_logits"] or ()),
                "bottom_logits": tuple(LogitEffect(**one) for one in row["bottom_logits"] or ()),
                "labels": labels,
                "examples": shown,
            }
        )

    def evidence(self, ids: Sequence[FeatureId], examples: int | None) -> Iterator[Feature]:
        """Pages without labels, in the order of ids: what those who make labels read, a row group once for many."""
        for first in range(0, len(ids), TOGETHER):
            batch = [self._catalog.feature_id(str(id)) for id in sorted(ids[first : first + TOGETHER])]
            for (dictionary, _), group in itertools.groupby(
                batch, key=lambda id: (id.dictionary, id.feature // SHARD_FEATURES)
            ):
                asked = list(group)
                part = shard_part(self._snapshot, "examples", dictionary, asked[0].feature)
                found = self._rows.of_features(part, numpy.array([id.feature for id in asked])) if part else None
                if found is not None and examples is not None:
                    found = found.filter(pyarrow.compute.less(found["rank"], examples))
                rows: dict[int, list[dict[str, Any]]] = {}
                for row in found.to_pylist() if found is not None else ():
                    rows.setdefault(row["feature"], []).append(row)
                for id in asked:
                    shown = tuple(self._example(row) for row in rows.get(id.feature, ()))
                    yield self._feature(id, self._stored(id) | {"label": None, "explainer": None}, (), shown)

    def cards(self, ids: Sequence[FeatureId]) -> dict[FeatureId, dict[str, Any]]:
        """What a list of features shows of each: label, explainer, density, max_activation and state."""
        parts = {shard_part(self._snapshot, "features", id.dictionary, id.feature) for id in ids}
        if len(ids) > FEW or any(part is not None and part.file in self._stale for part in parts):
            rows = self._engine().rows(
                f"SELECT {', '.join(CARD)} FROM features WHERE (dictionary, feature) IN (SELECT unnest(?), unnest(?))",
                [[id.dictionary for id in ids], [id.feature for id in ids]],
            )
            return {FeatureId(row[0], row[1]): dict(zip(CARD, row, strict=True)) for row in rows}
        found = {}
        for id in ids:
            row = self._stored(id, (*CARD[:-1], "active_tokens"))
            found[id] = row | {"state": state_of(row["active_tokens"], row["density"])}
        return found

    def top_logits(self, id: FeatureId) -> tuple[LogitEffect, ...]:
        """The tokens whose logits a feature raises most, strongest first."""
        return tuple(LogitEffect(**one) for one in self._stored(id, ("top_logits",))["top_logits"] or ())

    def _row(self, asked: FeatureId) -> dict[str, Any]:
        part = shard_part(self._snapshot, "features", asked.dictionary, asked.feature)
        row = self._stored(asked)
        if part and part.file in self._stale:
            best = self._engine().rows(
                "SELECT label, explainer FROM best_labels WHERE dictionary = ? AND feature = ?",
                [asked.dictionary, asked.feature],
            )
            row["label"], row["explainer"] = best[0] if best else (None, None)
        return row

    def _stored(self, asked: FeatureId, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """A feature's row of stored.features."""
        copy = shard_part(self._snapshot, "feature_rows", asked.dictionary, asked.feature)
        if copy is not None:
            return self._rows.feature_rows(copy).row(asked.feature % SHARD_FEATURES, columns)
        part = shard_part(self._snapshot, "features", asked.dictionary, asked.feature)
        found = self._rows.of_feature(part, asked.feature, columns).to_pylist() if part else []
        if len(found) != 1:
            raise BadStore(f"the store has {len(found)} rows of {asked}; one is wanted")
        return found[0]

    def _labels(self, asked: FeatureId, best: str | None) -> tuple[Label, ...]:
        """The newest label of each explainer, the best first."""
        rows: list[dict[str, Any]] = []
        for part in self._snapshot.parts("labels", asked.dictionary):
            if part.rows and part.about.get("first", 0) <= asked.feature <= part.about.get("last", asked.feature):
                rows += self._rows.of_feature(part, asked.feature).to_pylist()
        rows.sort(key=lambda row: (-row["created_at"].timestamp(), row["label"]))
        newest: dict[str, dict[str, Any]] = {}
        for row in rows:
            newest.setdefault(row["explainer"], row)
        ordered = sorted(newest.values(), key=lambda row: row["explainer"] != best)
        return tuple(Label(**{name: row[name] for name in Label.__struct_fields__}) for row in ordered)

    def _examples(self, asked: FeatureId, most: int | None) -> tuple[Example, ...]:
        part = shard_part(self._snapshot, "examples", asked.dictionary, asked.feature)
        if part is None:
            return ()
        table = self._rows.of_feature(part, asked.feature)
        if most is not None:
            table = table.filter(pyarrow.compute.less(table["rank"], most))
        return tuple(self._example(row) for row in table.to_pylist())

    def _example(self, row: dict[str, Any]) -> Example:
        name, tokens = self._window(row["corpus"], row["document"], row["start"], row["length"])
        dense = [0.0] * len(tokens)
        for offset, value in zip(row["offsets"], row["activations"], strict=True):
            dense[offset] = value
        kept = {field: row[field] for field in Example.__struct_fields__ if field in row}
        return Example(**kept | {"document_name": name, "tokens": tokens, "activations": tuple(dense)})

    def _window(self, corpus: str, document: int, start: int, length: int) -> tuple[str | None, tuple[str, ...]]:
        """Name of the document and text of the tokens."""
        name, tokenizer = self._rows.document(self._one("documents", corpus), document)
        vocabulary = self._rows.vocabulary(self._one("tokenizers", tokenizer))
        ids = self._rows.stream(self._one("token_stream", corpus)).window(document, start, length)
        return name, vocabulary.texts(ids.tolist())

    def _one(self, table: str, key: str) -> Part:
        found = self._snapshot.parts(table, key)
        if not found:
            raise BadStore(f"the store lacks {table} of {key}; run `featurestore check --repair`")
        return found[0]


def state_of(active_tokens: int | None, density: float | None) -> str:
    """What the view `features` calls a feature with these statistics."""
    if active_tokens is None:
        return "unharvested"
    if active_tokens == 0:
        return "dead"
    return "always-on" if density is not None and density > ALWAYS_ON else "live"
