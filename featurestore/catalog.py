"""All features of one snapshot in one numbering, so that any filter is a boolean for each number.

A feature's number is its dictionary's start plus its index; dictionaries follow one another by id.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy
import pyarrow

from featurestore.errors import NotFound
from featurestore.interface import pick_dictionary
from featurestore.query import Query
from featurestore.records import Dictionary, FeatureId
from featurestore.sql import condition

WHERE_SECONDS = 30.0
Guarded = Callable[[str, float], pyarrow.Table]


class Catalog:
    """The dictionaries of a snapshot and the numbering of their features. Never changes."""

    def __init__(self, dictionaries: Sequence[Dictionary], own: Callable[[str], pyarrow.Table], guarded: Guarded):
        """`own` runs a statement of ours; `guarded` one of a stranger's, as a filter is, within some seconds."""
        self.dictionaries = sorted(dictionaries, key=lambda one: one.dictionary)
        self._own = own
        self._guarded = guarded
        self._by_id = {one.dictionary: one for one in self.dictionaries}
        self._starts: dict[str, int] = {}
        self.size = 0
        for dictionary in self.dictionaries:
            self._starts[dictionary.dictionary] = self.size
            self.size += dictionary.d_sae
        self._ends = numpy.cumsum([d.d_sae for d in self.dictionaries], dtype=numpy.int64)

    def dictionary(self, id: str) -> Dictionary:
        """One dictionary. Raises NotFound, naming those there are."""
        return self._by_id.get(id) or pick_dictionary(self.dictionaries, id)

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

    def numbers(self, dictionaries: Sequence[str] | pyarrow.ChunkedArray, features: numpy.ndarray) -> numpy.ndarray:
        """Numbers (int64) of features given as columns; -1 where the dictionary is not there or too small."""
        if not isinstance(dictionaries, pyarrow.ChunkedArray):
            dictionaries = pyarrow.chunked_array([pyarrow.array(dictionaries, pyarrow.string())])
        if not len(dictionaries):
            return numpy.empty(0, numpy.int64)
        coded = dictionaries.combine_chunks().dictionary_encode()
        names = coded.dictionary.to_pylist()
        starts = numpy.array([self._starts.get(name, 0) for name in names], dtype=numpy.int64)
        limits = numpy.array([self._by_id[n].d_sae if n in self._by_id else 0 for n in names], dtype=numpy.int64)
        codes = coded.indices.to_numpy()
        return numpy.where(features < limits[codes], starts[codes] + features, -1)

    @functools.cached_property
    def _states(self) -> dict[str, numpy.ndarray]:
        """For dead and always-on, the features that are."""
        table = self._own(
            "SELECT dictionary, feature, state = 'dead' AS dead FROM features WHERE state IN ('dead', 'always-on')"
        )
        dead = table["dead"].to_numpy().astype(bool)
        return {"dead": self._mask(table.filter(dead)), "always-on": self._mask(table.filter(~dead))}

    def _mask(self, table: pyarrow.Table) -> numpy.ndarray:
        mask = numpy.zeros(self.size, dtype=bool)
        found = self.numbers(table["dictionary"], table["feature"].to_numpy())
        mask[found[found >= 0]] = True
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
        return self._mask(self._guarded(statement, WHERE_SECONDS))
