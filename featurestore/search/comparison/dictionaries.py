"""Each feature of a dictionary beside its best match in another; see FeatureStore.compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy

from featurestore.display.float32 import round_float32
from featurestore.errors import BadRequest
from featurestore.notes import Notes
from featurestore.progress import Progress
from featurestore.query import Query
from featurestore.search.comparison.matching import Matches, match_rows
from featurestore.search.decoder_index import DecoderIndex
from featurestore.search.direction import space_of
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.feature_page import FeaturePages
from featurestore.values.comparisons import DictionaryComparison, MatchCount, MatchedFeature, list_thresholds
from featurestore.values.matrix import Matrix

# Products of numbers above which the index is asked instead: 65,536 features with as many, of width 4,608.
MOST_EXACT = 2 * 10**13
MOST_MATCHES = 1_000_000
BLOCK = 8192  # rows looked through for zero vectors at a time
BINS = 20  # of a histogram of cosines, from 0 to 1; what is below 0 is in the first
EDGES = tuple(n / BINS for n in range(BINS + 1))


class Side(NamedTuple):
    """A dictionary: its vectors, the numbers of the features that are compared, and where it begins in the catalog."""

    name: str
    matrix: Matrix
    rows: numpy.ndarray
    start: int
    choice: Choice
    zero: int


class Comparer:
    """Compares the dictionaries of one snapshot, and keeps the matches that it found last."""

    def __init__(
        self,
        catalog: Catalog,
        pages: FeaturePages,
        decoder_index: Callable[[str], DecoderIndex],
        read_matrix: Callable[[str], Matrix],
    ):
        self._catalog = catalog
        self._pages = pages
        self._decoder_index = decoder_index
        self._read_matrix = read_matrix
        self._last: tuple[tuple[str, str], tuple[Matches, Matches]] | None = None

    def compare(
        self, ids: Sequence[str], cosines: float | Sequence[float], k: int, progress: Progress
    ) -> DictionaryComparison:
        """The comparison of two dictionaries, with the k first matches and as many unmatched features of either.

        Raises BadRequest for numbers out of range and for dictionaries that cannot be compared, NotFound for unknown
        ones and where vectors are missing.
        """
        thresholds = list_thresholds(cosines)
        if not 1 <= k <= MOST_MATCHES:
            raise BadRequest(f"k: {k} is not between 1 and {MOST_MATCHES:,}")
        first, second = (self._catalog.dictionary(id).dictionary for id in ids)
        check_comparable(self._catalog, first, second)
        mine, theirs = self._read(first), self._read(second)
        exact = len(mine.rows) * len(theirs.rows) * mine.matrix.shape[1] <= MOST_EXACT
        matches, other_matches = self._match(mine, theirs, exact, progress)
        back = other_matches.best[matches.best]
        mutual = (matches.best >= 0) & (back == numpy.arange(len(back)))
        other_mutual = numpy.zeros(len(other_matches.best), bool)
        other_mutual[matches.best[mutual]] = True
        matched = mine.rows[matches.best[mine.rows] >= 0]
        order = matched[numpy.lexsort((matched, -matches.cosines[matched]))]
        pairs, unmatched, other_unmatched = self._name(
            (mine, theirs, matches, mutual, order[:k]),
            (mine, theirs, matches, mutual, _list_unmatched(mine, matches, thresholds[0], k)),
            (theirs, mine, other_matches, other_mutual, _list_unmatched(theirs, other_matches, thresholds[0], k)),
        )
        return DictionaryComparison(
            dictionary=first,
            other=second,
            compared=len(mine.rows),
            other_compared=len(theirs.rows),
            counts=tuple(
                MatchCount(cosine, _count(mine, matches, cosine), _count(theirs, other_matches, cosine))
                for cosine in thresholds
            ),
            mutual=int(mutual.sum()),
            edges=EDGES,
            histogram=_histogram(mine, matches),
            other_histogram=_histogram(theirs, other_matches),
            matches=pairs,
            unmatched=unmatched,
            other_unmatched=other_unmatched,
            exact=exact,
            **_notes(mine, theirs, exact).fields(),
        )

    def _read(self, name: str) -> Side:
        choice = self._catalog.choice(Query.of({"text": "-", "within": (name,)}))
        run = self._catalog.run(name)
        matrix = self._read_matrix(name)
        allowed = choice.mask[run][: matrix.shape[0]]
        filled = numpy.concatenate(
            [matrix.rows(at, min(at + BLOCK, len(allowed))).any(axis=1) for at in range(0, len(allowed), BLOCK)]
        )
        rows = numpy.flatnonzero(allowed & filled)
        return Side(name, matrix, rows, run.start, choice, int((allowed & ~filled).sum()))

    def _match(self, mine: Side, theirs: Side, exact: bool, progress: Progress) -> tuple[Matches, Matches]:
        last = self._last
        if last is not None and set(last[0]) == {mine.name, theirs.name}:
            return last[1] if last[0] == (mine.name, theirs.name) else (last[1][1], last[1][0])
        if exact:
            stage = progress(f"comparing {mine.name} with {theirs.name}", len(mine.rows))
            pair = match_rows(mine.matrix, mine.rows, theirs.matrix, theirs.rows, stage)
        else:
            pair = (self._look_up(mine, theirs, progress), self._look_up(theirs, mine, progress))
        self._last = ((mine.name, theirs.name), pair)
        return pair

    def _look_up(self, mine: Side, theirs: Side, progress: Progress) -> Matches:
        """The matches that the index of the space finds, one feature after another."""
        index = self._decoder_index(space_of(self._catalog, mine.name))
        stage = progress(f"looking for {mine.name} in {theirs.name}", len(mine.rows))
        matches = Matches.none(mine.matrix.shape[0])
        for row in mine.rows.tolist():
            vector = mine.matrix.rows(row, row + 1)[0].astype(numpy.float32)
            numbers, cosines, _ = index.search(vector, 1, theirs.choice)
            if len(numbers):
                matches.best[row], matches.cosines[row] = int(numbers[0]) - theirs.start, cosines[0]
            stage(1)
        return matches

    def _name(
        self, *lists: tuple[Side, Side, Matches, numpy.ndarray, numpy.ndarray]
    ) -> list[tuple[MatchedFeature, ...]]:
        """The rows of each list as features with their labels, which are read for all lists at once."""
        numbers = {
            number
            for mine, theirs, matches, _, rows in lists
            for row in rows.tolist()
            for number in (mine.start + row, theirs.start + int(matches.best[row]))
        }
        cards = self._pages.cards([self._catalog.id(number) for number in sorted(numbers)])
        named = []
        for mine, theirs, matches, mutual, rows in lists:
            features = []
            for row in rows.tolist():
                id = self._catalog.id(mine.start + row)
                other = self._catalog.id(theirs.start + int(matches.best[row]))
                features.append(
                    MatchedFeature(
                        id=str(id),
                        label=cards[id].label,
                        other=str(other),
                        other_label=cards[other].label,
                        cosine=round_float32(matches.cosines[row]),
                        mutual=bool(mutual[row]),
                    )
                )
            named.append(tuple(features))
        return named


def check_comparable(catalog: Catalog, first: str, second: str) -> None:
    """Raises BadRequest for one dictionary twice and for vectors of different widths or spaces, NotFound without any.

    The error says how wide each is.
    """
    if first == second:
        raise BadRequest(
            f"id: {first} is named twice; `featurestore duplicates {first} --against {first}` compares its features "
            "with one another"
        )
    spaces = [space_of(catalog, name) for name in (first, second)]
    widths = [catalog.dictionary(name).d_out for name in (first, second)]
    if widths[0] != widths[1]:
        raise BadRequest(
            f"id: vectors of {first} have {widths[0]:,} numbers and those of {second} {widths[1]:,} (d_model): "
            "dictionaries of different widths have no cosines"
        )
    if spaces[0] != spaces[1]:
        raise BadRequest(
            f"id: {first} lives in the space {spaces[0]} and {second} in {spaces[1]}: cosines between different spaces "
            "mean nothing"
        )


def _count(side: Side, matches: Matches, cosine: float) -> int:
    return int((matches.cosines[side.rows] >= cosine).sum())


def _list_unmatched(side: Side, matches: Matches, cosine: float, k: int) -> numpy.ndarray:
    """The k rows whose best match is farthest, of those that have none of this cosine."""
    below = side.rows[(matches.cosines[side.rows] < cosine) & (matches.best[side.rows] >= 0)]
    farthest: numpy.ndarray = below[numpy.lexsort((below, matches.cosines[below]))][:k]
    return farthest


def _histogram(side: Side, matches: Matches) -> tuple[int, ...]:
    bins = numpy.clip((matches.cosines[side.rows] * BINS).astype(int), 0, BINS - 1)
    return tuple(numpy.bincount(bins, minlength=BINS).tolist())


def _notes(mine: Side, theirs: Side, exact: bool) -> Notes:
    notes = Notes()
    for side in (mine, theirs):
        hidden = side.matrix.shape[0] - len(side.rows) - side.zero
        left_out = [f"{hidden:,} dead or always-on features"] if hidden else []
        left_out += [f"{side.zero:,} whose decoder vector is zero"] if side.zero else []
        if left_out:
            numbers = {"dead_or_always_on": hidden or None, "zero_vector": side.zero or None}
            notes.add("left_out", f"{side.name}: left out: {' and '.join(left_out)}", **numbers)
    if not exact:
        notes.add("index_is_approximate", "matches are those that the index found: some may have a nearer one")
    return notes
