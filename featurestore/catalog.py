"""All features of one snapshot in one numbering, so that any filter is a boolean for each number.

A feature's number is its dictionary's start plus its index; dictionaries follow one another by id.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import msgspec
import numpy

from featurestore.errors import NotFound
from featurestore.interface import pick_dictionary
from featurestore.query import Query
from featurestore.records import Dictionary, FeatureId
from featurestore.sql import Engine, condition

WHERE_SECONDS = 30.0


class Catalog:
    """The dictionaries of a snapshot and the numbering of their features. Never changes."""

    def __init__(self, engine: Engine):
        self._engine = engine
        rows = engine.table("FROM dictionaries ORDER BY dictionary").to_pylist()
        self.dictionaries: list[Dictionary] = [msgspec.convert(row, Dictionary) for row in rows]
        self._starts: dict[str, int] = {}
        self.size = 0
        for dictionary in self.dictionaries:
            self._starts[dictionary.dictionary] = self.size
            self.size += dictionary.d_sae
        self._ends = numpy.cumsum([d.d_sae for d in self.dictionaries], dtype=numpy.int64)

    def dictionary(self, id: str) -> Dictionary:
        """One dictionary. Raises NotFound, naming those there are."""
        return pick_dictionary(self.dictionaries, id)

    def feature_id(self, id: str) -> FeatureId:
        """The parsed id of a feature that is there. Raises BadRequest or NotFound."""
        parsed = FeatureId.parse(id)
        d_sae = self.dictionary(parsed.dictionary).d_sae
        if parsed.feature >= d_sae:
            raise NotFound(
                f"no feature {parsed.feature} in {parsed.dictionary}: d_sae is {d_sae}, so indices run 0 to {d_sae - 1}"
            )
        return parsed

    def number(self, id: FeatureId) -> int:
        """The feature's number."""
        return self._starts[id.dictionary] + id.feature

    def id(self, number: int) -> FeatureId:
        """The feature of a number."""
        at = int(numpy.searchsorted(self._ends, number, side="right"))
        dictionary = self.dictionaries[at].dictionary
        return FeatureId(dictionary, int(number) - self._starts[dictionary])

    def numbers(self, dictionaries: Sequence[str], features: numpy.ndarray) -> numpy.ndarray:
        """Numbers (int64) of features given as columns; -1 where the dictionary is not there or too small."""
        names, codes = numpy.unique(numpy.asarray(dictionaries, dtype=object).astype(str), return_inverse=True)
        starts = numpy.array([self._starts.get(str(name), -1) for name in names], dtype=numpy.int64)
        sizes = {d.dictionary: d.d_sae for d in self.dictionaries}
        limits = numpy.array([sizes.get(str(name), 0) for name in names], dtype=numpy.int64)
        there = features < limits[codes]
        return numpy.where(there, starts[codes] + features, -1)

    @functools.cached_property
    def _states(self) -> dict[str, numpy.ndarray]:
        """For dead and always-on, the features that are."""
        table = self._engine.table(
            "SELECT dictionary, feature, state FROM features WHERE state IN ('dead', 'always-on')"
        )
        states = numpy.asarray(table["state"].to_pylist(), dtype=object)
        found = {}
        for state in ("dead", "always-on"):
            found[state] = self._mask(table.filter(states == state) if len(states) else table)
        return found

    def _mask(self, table) -> numpy.ndarray:
        mask = numpy.zeros(self.size, dtype=bool)
        if table.num_rows:
            mask[self.numbers(table["dictionary"].to_pylist(), table["feature"].to_numpy())] = True
        return mask

    def allowed(self, query: Query) -> tuple[numpy.ndarray, list[str]]:
        """Which features a query may return, (size,) bool, and what the reader should know of the choice."""
        mask = self._within(query.within)
        if query.where is not None:
            mask &= self._where(query.where)
        if query.all:
            return mask, []
        notes = []
        for state, those in self._states.items():
            hidden = int(numpy.count_nonzero(mask & those))
            if hidden:
                notes.append(f"{hidden:,} {state}")
        for those in self._states.values():
            mask = mask & ~those
        if notes:
            return mask, [f"left out: {' and '.join(notes)} features (all=true shows them)"]
        return mask, []

    def _within(self, names: Sequence[str]) -> numpy.ndarray:
        mask = numpy.full(self.size, not names)
        for name in names:
            chosen = [d for d in self.dictionaries if name in (d.dictionary, d.model)]
            if not chosen:
                pick_dictionary(self.dictionaries, name)
            for dictionary in chosen:
                start = self._starts[dictionary.dictionary]
                mask[start : start + dictionary.d_sae] = True
        return mask

    def _where(self, where: str) -> numpy.ndarray:
        statement = f"SELECT dictionary, feature FROM features WHERE {condition(where)}"
        return self._mask(self._engine.select(statement, timeout=WHERE_SECONDS))
