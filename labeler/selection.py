"""Which features a run is about, and in which order: SQL chooses once; a choice takes 8 bytes of memory a feature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy

from featurestore import BadRequest, FeatureId, FeatureStore, Store

Codes = numpy.ndarray[Any, numpy.dtype[numpy.int32]]


class Choice(Sequence[str]):
    """Feature ids in order. `skipped` more features fulfil the condition and are labelled already."""

    def __init__(self, dictionaries: Sequence[str], codes: Codes, features: Codes, skipped: int):
        """`codes` (n,) int32 are positions in `dictionaries`, `features` (n,) int32 the index in each dictionary."""
        self._dictionaries, self._codes, self._features = dictionaries, codes, features
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> Choice: ...

    def __getitem__(self, place: int | slice) -> str | Choice:
        if isinstance(place, slice):
            return self._pick(place)
        return f"{self._dictionaries[self._codes[place]]}/{self._features[place]}"

    def __iter__(self) -> Iterator[str]:
        return (self[place] for place in range(len(self)))

    def sort_by_id(self) -> Choice:
        """The same features in the order in which the store holds them."""
        return self._pick(numpy.lexsort((self._features, self._codes)))

    def without(self, ids: Sequence[str]) -> Choice:
        """The same features without these."""
        keep = numpy.ones(len(self), bool)
        removed: dict[str, list[int]] = {name: [] for name in self._dictionaries}
        for id in ids:
            feature = FeatureId.parse(id)
            removed[feature.dictionary].append(feature.feature)
        for code, dictionary in enumerate(self._dictionaries):
            here = self._codes == code
            keep[here] = ~numpy.isin(self._features[here], numpy.array(removed[dictionary], numpy.int32))
        return self._pick(keep)

    def _pick(self, places: slice | numpy.ndarray[Any, Any]) -> Choice:
        return Choice(self._dictionaries, self._codes[places], self._features[places], self.skipped)


def choose_dictionaries(store: FeatureStore, names: Sequence[str]) -> list[str]:
    """The full names of these dictionaries, or of all where none is named.

    Raises NotFound, or BadRequest when the store has no dictionary.
    """
    chosen = [store.dictionary(name).dictionary for name in names] or [d.dictionary for d in store.dictionaries()]
    if not chosen:
        raise BadRequest("the store has no dictionary yet: harvest or import one first")
    return chosen


def choose(
    store: Store,
    dictionaries: Sequence[str],
    explainer: str,
    where: str | None,
    order: str | None,
    limit: int | None,
    redo: bool,
    live: bool,
) -> Choice:
    """The features of the dictionaries for which `where` holds, ordered by `order` (default: by id).

    Both are SQL over the view `features`; `live` leaves out features that never fired. Unless `redo`, features that
    `explainer` labelled are left out, and counted. Raises BadRequest when the SQL cannot be read.
    """
    condition = f"AND (\n{where}\n)" if where else ""
    first = f"{order}\n, " if order else ""
    statement = f"""
        SELECT dictionary, feature,
               (dictionary, feature) IN (SELECT (dictionary, feature) FROM labels WHERE explainer = $explainer) AS done
        FROM (SELECT * FROM features
              WHERE dictionary IN $names {"AND coalesce(active_tokens, density) > 0" if live else ""} {condition})
        ORDER BY {first}dictionary, feature
    """
    positions = {name: n for n, name in enumerate(dictionaries)}
    codes, features, skipped = [], [], 0
    with store.stream(statement, {"explainer": explainer, "names": list(dictionaries)}) as batches:
        for batch in batches:
            done_mask = batch.column("done").to_numpy(zero_copy_only=False).astype(bool)
            keep = numpy.ones(len(done_mask), bool) if redo else ~done_mask
            skipped += int((~keep).sum())
            names_of_batch = batch.column("dictionary").dictionary_encode()
            codes_of_names = numpy.array(
                [positions[name] for name in names_of_batch.dictionary.to_pylist()], numpy.int32
            )
            codes.append(codes_of_names[names_of_batch.indices.to_numpy()][keep])
            features.append(batch.column("feature").to_numpy()[keep].astype(numpy.int32))
    empty = [numpy.empty(0, numpy.int32)]
    choice = Choice(dictionaries, numpy.concatenate(codes or empty), numpy.concatenate(features or empty), skipped)
    return choice if limit is None else choice[:limit]
