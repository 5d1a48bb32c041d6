"""The files of a feature: which part of each table holds it, looked up once for a dictionary."""

from __future__ import annotations

import functools
from typing import NamedTuple

from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.values.feature import FeatureId


class Shard(NamedTuple):
    """The parts that hold SHARD_FEATURES neighbouring features of a dictionary; None for tables without one."""

    features: Part | None = None
    feature_rows: Part | None = None
    examples: Part | None = None
    example_rows: Part | None = None
    label_rows: Part | None = None
    decoder_vectors: Part | None = None


class Shards:
    """Finds the shard of a feature in one snapshot. Never changes; safe to share between threads."""

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot
        self._by_number = functools.cache(self._read)

    def of(self, id: FeatureId) -> Shard:
        """The shard of a feature; one without any part where the store has nothing of the feature."""
        return self.at(id.dictionary, id.feature)

    def at(self, dictionary: str, feature: int) -> Shard:
        """The shard of a feature, given as its dictionary's id and its index."""
        return self._by_number(dictionary).get(feature // SHARD_FEATURES, _EMPTY)

    def _read(self, dictionary: str) -> dict[int, Shard]:
        """The shards of a dictionary by their numbers."""
        parts: dict[int, dict[str, Part]] = {}
        for table in Shard._fields:
            for part in self._snapshot.parts(table, dictionary):
                # A shard has one part of each table; of two, the first by name counts.
                parts.setdefault(part.shard, {}).setdefault(table, part)
        return {number: Shard(**by_table) for number, by_table in parts.items()}


_EMPTY = Shard()
