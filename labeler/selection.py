"""Which features a run is about, in what order: SQL chooses once, and the choice is 8 bytes a feature in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy

from featurestore import BadRequest, FeatureStore


class Choice(Sequence[str]):
    """Feature ids in order. `skipped` more fulfil the condition and are labelled already."""

    def __init__(self, dictionaries: Sequence[str], codes: numpy.ndarray, features: numpy.ndarray, skipped: int):
        """`codes` (n,) int32 are positions in `dictionaries`, `features` (n,) int32 the index in each."""
        self._dictionaries, self._codes, self._features = dictionaries, codes, features
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return Choice(self._dictionaries, self._codes[at], self._features[at], self.skipped)
        return f"{self._dictionaries[self._codes[at]]}/{self._features[at]}"

    def by_id(self) -> Choice:
        """The same, in the order they lie in."""
        order = numpy.lexsort((self._features, self._codes))
        return Choice(self._dictionaries, self._codes[order], self._features[order], self.skipped)

    def without(self, features: Mapping[str, Sequence[int]]) -> Choice:
        """The same but for these features of each dictionary."""
        keep = numpy.ones(len(self), bool)
        for code, dictionary in enumerate(self._dictionaries):
            mine = self._codes == code
            keep[mine] = ~numpy.isin(self._features[mine], numpy.array(features.get(dictionary, ()), numpy.int32))
        return Choice(self._dictionaries, self._codes[keep], self._features[keep], self.skipped)

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))


def choose_dictionaries(store: FeatureStore, asked: Sequence[str]) -> list[str]:
    """The asked dictionaries, or all. Raises NotFound, or BadRequest when there is none."""
    names = [store.dictionary(id).dictionary for id in asked] or [d.dictionary for d in store.dictionaries()]
    if not names:
        raise BadRequest("the store has no dictionary yet: harvest or import one first")
    return names


def choose(
    store: Any,
    dictionaries: Sequence[str],
    explainer: str,
    where: str | None,
    order: str | None,
    limit: int | None,
    redo: bool,
    live: bool,
) -> Choice:
    """The features of the dictionaries for which `where` holds, ordered by `order` (default: by id).

    Both are SQL over the view `features`; `live` leaves out features that never fired. Unless `redo`, those that
    `explainer` labelled are left out, and counted. Raises BadRequest when the SQL is not to be read.
    """
    names = ", ".join(quoted(name) for name in dictionaries)
    condition = f"AND (\n{where}\n)" if where else ""
    first = f"{order}\n, " if order else ""
    done = f"(dictionary, feature) IN (SELECT (dictionary, feature) FROM labels WHERE explainer = {quoted(explainer)})"
    statement = f"""
        SELECT dictionary, feature, {done} AS done
        FROM (SELECT * FROM features WHERE dictionary IN ({names}) {"AND active_tokens > 0" if live else ""} {condition})
        ORDER BY {first}dictionary, feature
    """
    place = {name: n for n, name in enumerate(dictionaries)}
    codes, features, skipped = [], [], 0
    with store.stream(statement) as found:
        for batch in found:
            done_mask = batch.column("done").to_numpy(zero_copy_only=False).astype(bool)
            keep = numpy.ones(len(done_mask), bool) if redo else ~done_mask
            skipped += int((~keep).sum())
            named = batch.column("dictionary").dictionary_encode()
            of_batch = numpy.array([place[name] for name in named.dictionary.to_pylist()], numpy.int32)
            codes.append(of_batch[named.indices.to_numpy()][keep])
            features.append(batch.column("feature").to_numpy()[keep].astype(numpy.int32))
    empty = [numpy.empty(0, numpy.int32)]
    chosen = Choice(dictionaries, numpy.concatenate(codes or empty), numpy.concatenate(features or empty), skipped)
    return chosen if limit is None else chosen[:limit]


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
