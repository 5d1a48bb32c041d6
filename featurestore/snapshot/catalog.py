"""Numbers all features of one snapshot, so that any filter is a boolean for each number.

A feature's number is its dictionary's start plus its index; dictionaries follow one another by id.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

import numpy
import pyarrow

from featurestore.display.text import suggest
from featurestore.errors import BadRequest, BadStore, NotFound
from featurestore.ids import DictionaryLike, dictionary_text
from featurestore.notes import Notes
from featurestore.query import Query
from featurestore.sql.conditions import Selection, subqueries_allowed
from featurestore.values.dictionary import Dictionary, pick_dictionary
from featurestore.values.feature import FeatureId, FeatureLike, id_text
from featurestore.values.lists import is_list_name

T = TypeVar("T")
WHERE_SECONDS = 30.0
Guarded = Callable[[Selection, float], pyarrow.Table]
KEPT_CHOICES = 16  # each takes a megabyte for a million features


class Choice:
    """The features that a query may return. Never changes; keeps what others derive from it as long as it lives."""

    def __init__(self, mask: numpy.ndarray, notes: Notes | None = None):
        """`mask` has a boolean for each feature of the catalog; `notes` tell the reader which features are left out."""
        mask.flags.writeable = False
        self.mask = mask
        self.count = int(numpy.count_nonzero(mask))
        self.notes = notes or Notes()
        self._derived: dict[Hashable, Any] = {}

    def once(self, key: Hashable, derive: Callable[[], T]) -> T:
        """Return what was derived for this key before, or derive it.

        Two threads may both derive it, with equal results.
        """
        value: T | None = self._derived.get(key)
        if value is None:
            value = self._derived[key] = derive()
        return value


class Catalog:
    """The dictionaries of a snapshot and the numbering of their features. Never changes."""

    def __init__(
        self,
        dictionaries: Sequence[Dictionary],
        own: Callable[[str], pyarrow.Table],
        guarded: Guarded,
        list_ids: Callable[[str], Sequence[FeatureId]],
    ):
        """`own` runs a statement of this package; `guarded` a user's condition, within some seconds.

        `list_ids` gives the features of a list by its name, and raises NotFound.
        """
        self._list_ids = list_ids
        self.dictionaries = sorted(dictionaries, key=lambda dictionary: dictionary.dictionary)
        self._own = own
        self._guarded = guarded
        self._by_id = {dictionary.dictionary: dictionary for dictionary in self.dictionaries}
        self._starts: dict[str, int] = {}
        self.size = 0
        for dictionary in self.dictionaries:
            self._starts[dictionary.dictionary] = self.size
            self.size += dictionary.d_sae
        self._ends = numpy.cumsum([d.d_sae for d in self.dictionaries], dtype=numpy.int64)
        self._choices: OrderedDict[Hashable, Choice] = OrderedDict()
        self._lock = threading.Lock()

    def dictionary(self, given: DictionaryLike) -> Dictionary:
        """The dictionary of an id. Raises NotFound, naming those the store has."""
        id = dictionary_text(given)
        return self._by_id.get(id) or pick_dictionary(self.dictionaries, id)

    def parse(self, id: FeatureLike) -> FeatureId:
        """Return the parsed id of a feature, in any form that `id_text` takes.

        Raises BadRequest for a malformed one, naming the one that was probably meant.
        """
        text = id_text(id)
        try:
            return FeatureId.parse(text)
        except BadRequest as exc:
            if text in self._by_id:
                message = f"'{text}' is not a feature id but a dictionary: name a feature of it, as in {text}/0"
                raise BadRequest(message) from None
            index = text.rpartition("/")[2]
            if not index.isdecimal():
                raise
            raise BadRequest(f"{exc}{suggest(text, (f'{name}/{index}' for name in self._by_id))}") from None

    def feature_id(self, id: FeatureLike) -> FeatureId:
        """The parsed id of a feature of the store.

        Raises BadRequest for a malformed id, NotFound for an unknown feature.
        """
        parsed = self.parse(id)
        dictionary = self.dictionary(parsed.dictionary)
        parsed, d_sae = FeatureId(dictionary.dictionary, parsed.feature), dictionary.d_sae
        if parsed.feature >= d_sae:
            raise NotFound(
                f"no feature {parsed.feature} in {parsed.dictionary}: d_sae is {d_sae}, so indices run 0 to {d_sae - 1}"
            )
        return parsed

    def holds(self, id: FeatureId) -> bool:
        """Whether the store has a feature."""
        return id.dictionary in self._by_id and id.feature < self._by_id[id.dictionary].d_sae

    def run(self, dictionary: str) -> slice:
        """The numbers of a dictionary's features, as a slice."""
        start = self._starts[dictionary]
        return slice(start, start + self._by_id[dictionary].d_sae)

    def number(self, id: FeatureId) -> int:
        """The feature's number."""
        return self._starts[id.dictionary] + id.feature

    def id(self, number: int) -> FeatureId:
        """The feature of a number."""
        place = int(numpy.searchsorted(self._ends, number, side="right"))
        dictionary = self.dictionaries[place].dictionary
        return FeatureId(dictionary, int(number) - self._starts[dictionary])

    def numbers(self, dictionaries: Sequence[str] | pyarrow.ChunkedArray, features: numpy.ndarray) -> numpy.ndarray:
        """Numbers, (n,) int64, of features given as columns; -1 where the dictionary is missing or too small.

        Raises BadStore where a row lacks its dictionary or its feature, as only rows past our gate do.
        """
        if not isinstance(dictionaries, pyarrow.ChunkedArray):
            dictionaries = pyarrow.chunked_array([pyarrow.array(dictionaries, pyarrow.string())])
        if not len(dictionaries):
            return numpy.empty(0, numpy.int64)
        if dictionaries.null_count or features.dtype.kind not in "iu":
            raise BadStore("rows lack their dictionary or their feature; `featurestore check` says in which file")
        coded = dictionaries.combine_chunks().dictionary_encode()
        names = coded.dictionary.to_pylist()
        starts = numpy.array([self._starts.get(name, 0) for name in names], dtype=numpy.int64)
        limits = numpy.array([self._by_id[n].d_sae if n in self._by_id else 0 for n in names], dtype=numpy.int64)
        codes = coded.indices.to_numpy()
        return numpy.where((features >= 0) & (features < limits[codes]), starts[codes] + features, -1)

    @functools.cached_property
    def _states(self) -> dict[str, numpy.ndarray]:
        """Masks of the features that are dead, and of those that are always on."""
        table = self._own(
            "SELECT dictionary, feature, state = 'dead' AS dead FROM features WHERE state IN ('dead', 'always-on')"
        )
        dead = table["dead"].to_numpy().astype(bool)
        return {"dead": self._mask(table.filter(dead)), "always-on": self._mask(table.filter(~dead))}

    @functools.cached_property
    def _structural(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Masks of the features that are structural, and of those of which it is not known."""
        table = self._own("SELECT dictionary, feature, structural FROM features WHERE structural IS NOT false")
        known = table["structural"].is_valid().to_numpy()
        return self._mask(table.filter(known)), self._mask(table.filter(~known))

    def _mask(self, table: pyarrow.Table) -> numpy.ndarray:
        mask = numpy.zeros(self.size, dtype=bool)
        numbers = self.numbers(table["dictionary"], table["feature"].to_numpy())
        mask[numbers[numbers >= 0]] = True
        return mask

    def leave_out(self, numbers: numpy.ndarray, dictionaries: Iterable[str]) -> numpy.ndarray:
        """Return the numbers with -1 for features of these dictionaries, all of the catalog; as given without any."""
        gone = numpy.zeros(self.size, bool)
        for dictionary in dictionaries:
            gone[self.run(dictionary)] = True
        if not gone.any():
            return numbers
        left: numpy.ndarray = numpy.where((numbers >= 0) & gone[numbers], -1, numbers)
        return left

    def choice(self, query: Query) -> Choice:
        """The features that a query may return. Raises BadRequest or NotFound for names the store does not have."""
        # A condition with a subquery may be chosen by one caller and be refused to the next.
        subqueries = query.where is not None and subqueries_allowed.get()
        key = (query.within, query.where, query.among, query.all, query.structural, subqueries)
        with self._lock:
            if key in self._choices:
                self._choices.move_to_end(key)
                return self._choices[key]
        choice = self._choose(query)
        with self._lock:
            self._choices[key] = choice
            while len(self._choices) > KEPT_CHOICES:
                self._choices.popitem(last=False)
        return choice

    def _choose(self, query: Query) -> Choice:
        mask = self._within(query.within)
        notes = Notes()
        if query.among is not None:
            mask &= self._among(query.among, notes)
        if query.where is not None:
            mask &= self._where(query.where)
        for name in ("within", "among"):
            if getattr(query, name) == ():
                return Choice(mask, Notes().add("empty_list", f"{name} is an empty list, which matches nothing"))
        if query.structural is not None:
            mask, structural_notes = self._choose_structural(mask, query.structural)
            notes.extend(structural_notes)
        if query.all:
            return Choice(mask, notes)
        hidden_counts: dict[str, int] = {}
        for state, in_state in self._states.items():
            hidden = int(numpy.count_nonzero(mask & in_state))
            if hidden:
                hidden_counts[state] = hidden
        for in_state in self._states.values():
            mask &= ~in_state
        if hidden_counts:
            counted = " and ".join(f"{hidden:,} {state}" for state, hidden in hidden_counts.items())
            numbers = {state.replace("-", "_"): hidden for state, hidden in hidden_counts.items()}
            notes.add("left_out", f"left out: {counted} features (all=true shows them)", **numbers)
        return Choice(mask, notes)

    def _among(self, given: Sequence[str], notes: Notes) -> numpy.ndarray:
        """The features of these ids, and of the lists that `@name` stands for; what is left out is noted."""
        mask = numpy.zeros(self.size, dtype=bool)
        for id in given:
            if not is_list_name(id):
                mask[self.number(self.feature_id(id))] = True
                continue
            ids = self._list_ids(id)
            present = [self.number(listed) for listed in ids if self.holds(listed)]
            mask[present] = True
            if not ids:
                notes.add("list_empty", f"the list {id} is empty")
            elif len(present) < len(ids):
                missing = len(ids) - len(present)
                sentence = f"{missing:,} of the {len(ids):,} features of {id} are not in the store"
                notes.add("list_features_missing", sentence, missing=missing, features=len(ids))
        return mask

    def _choose_structural(self, mask: numpy.ndarray, wanted: bool) -> tuple[numpy.ndarray, Notes]:
        """The mask without structural features, or with these alone, and what to say of it."""
        structural, unknown = self._structural
        not_known = int(numpy.count_nonzero(mask & unknown))
        notes = Notes()
        hidden = 0 if wanted else int(numpy.count_nonzero(mask & structural))
        if hidden:
            notes.add("left_out", f"left out: {hidden:,} structural features", structural=hidden)
        if not_known:
            sentence = f"whether they are structural is not known of {not_known:,} features"
            notes.add("structural_unknown", sentence, features=not_known)
        return mask & (structural if wanted else ~structural), notes

    def _within(self, names: Sequence[str] | None) -> numpy.ndarray:
        mask = numpy.full(self.size, names is None)
        for name in names or ():
            chosen = [d for d in self.dictionaries if name in (d.dictionary, d.model)]
            if not chosen:
                pick_dictionary(self.dictionaries, name)
            for dictionary in chosen:
                mask[self.run(dictionary.dictionary)] = True
        return mask

    def _where(self, where: str) -> numpy.ndarray:
        return self._mask(self._guarded(Selection.of(where), WHERE_SECONDS))
