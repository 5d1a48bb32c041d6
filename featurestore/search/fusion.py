"""Rankings of features by text: one search alone, or several fused by the scores they give.

Knows no texts and no indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from featurestore.search.cursor import Match
from featurestore.search.words.rarity import MOST_SHARE

# Scores are added, not ranks: the first of many that are much alike keeps no lead over them. A cosine counts as it is,
# and what is found by words by a power of the share of what was asked that it has: a few words of a long question
# mislead, and all words of a short one are what was meant. `python -m bench.quality` measures it; docs/search.md has
# the figures by which these are chosen, and what was rejected.
WEIGHTS = {"meaning": 1.0, "examples": 1.0, "words": 0.8, "tokens": 0.4, "logits": 0.4}
COSINES = ("meaning", "examples")  # searches whose scores are cosines
POWERS = {"words": 3, "tokens": 2, "logits": 2}
# Each search that is fused looks this many times as deep as the answer. Deeper ones find no more; docs/search.md.
DEPTH = 5
MIN_DEPTH = 50


class Candidate(NamedTuple):
    """A feature that a search found: its catalog number, its score, and the row of the search's index.

    `share` is how much of what was asked it has, see `rarity.share`.
    """

    number: int
    score: float
    row: int
    share: float = 1.0


# search(n) returns the n best features, best first.
Search = Callable[[int], list[Candidate]]
# look_up(numbers) returns what a search would have found of these features; those of which it finds nothing are left
# out.
LookUp = Callable[[Sequence[int]], list[Candidate]]


class Evidence(NamedTuple):
    """What one search found of a feature: the row of its index, the score, and the rank, from 1.

    None without fusion, and where the search was asked about the feature and had not found it among its best.
    """

    row: int
    score: float
    rank: int | None


class TextRanking:
    """Ranks features by one search or several, and keeps what each search found, for the reasons of hits.

    The score of a match is the search's own, or, of several, their sum as a share of what no text could exceed, 0 to 1.
    """

    def __init__(self, searches: Mapping[str, Search], look_ups: Mapping[str, LookUp] | None = None):
        """`searches` are named as in WEIGHTS. `look_ups`, by the same names, are asked of features that one search
        found and another one did not look deep enough for.
        """
        self.searches = searches
        self._look_ups = look_ups or {}
        self._evidence: dict[int, dict[str, Evidence]] = {}

    def __call__(self, n: int) -> list[Match]:
        """Return the n best features, best first."""
        if len(self.searches) > 1:
            return self._fuse(n)
        ((name, search),) = self.searches.items()
        return [self._match_alone(name, candidate) for candidate in search(n)]

    def evidence(self, number: int) -> Mapping[str, Evidence]:
        """What each search found of a feature that was ranked before, by the search's name."""
        return self._evidence[number]

    def _match_alone(self, name: str, candidate: Candidate) -> Match:
        number, score, row, _ = candidate
        self._evidence.setdefault(number, {})[name] = Evidence(row, score, None)
        return Match(number, score)

    def _fuse(self, n: int) -> list[Match]:
        depth = max(MIN_DEPTH, DEPTH * n)
        lists = _run_together(self.searches, depth)
        beside_meaning = any(name in lists for name in COSINES)
        strengths: dict[str, dict[int, float]] = {}
        full: dict[str, float] = {}
        for name, candidates in lists.items():
            strengths[name] = {match.number: _strength(name, match, beside_meaning) for match in candidates}
            if len(candidates) == depth:
                full[name] = strengths[name][candidates[-1].number]
            for rank, candidate in enumerate(candidates, 1):
                self._evidence.setdefault(candidate.number, {})[name] = Evidence(candidate.row, candidate.score, rank)
        absent = dict.fromkeys(lists, 0.0)
        for name in COSINES:
            if lists.get(name):
                # A feature without a label, or examples, has no cosine. It counts like the last of the nearest, however
                # deep the list is.
                absent[name] = lists[name][:MIN_DEPTH][-1].score
        for name, look_up in self._look_ups.items():
            if name in full:
                for match in look_up(_find_lacking(strengths, absent, full, name, n)):
                    strengths[name][match.number] = _strength(name, match, beside_meaning)
                    self._evidence[match.number].setdefault(name, Evidence(match.row, match.score, None))
        total = sum(WEIGHTS[name] * _most(name, beside_meaning) for name in lists)
        scores = {number: score / total for number, score in _add(strengths, absent).items()}
        best = sorted(scores, key=lambda number: (-scores[number], number))[:n]
        return [Match(number, scores[number]) for number in best]


def _strength(name: str, candidate: Candidate, beside_meaning: bool) -> float:
    """How much a search speaks for a feature, before it is weighted."""
    return candidate.score if name in COSINES else float(candidate.share ** _power(name, beside_meaning))


def _most(name: str, beside_meaning: bool) -> float:
    """The largest strength that a search may have."""
    return 1.0 if name in COSINES else float(MOST_SHARE ** _power(name, beside_meaning))


def _power(name: str, beside_meaning: bool) -> int:
    # Without cosines there is nothing that a few words could mislead from.
    return 1 if name == "words" and not beside_meaning else POWERS[name]


def _add(strengths: Mapping[str, Mapping[int, float]], absent: Mapping[str, float]) -> dict[int, float]:
    """The weighted sum of each feature's strengths; `absent` counts where a search has none of it."""
    numbers = {number for of_search in strengths.values() for number in of_search}
    return {
        number: sum(WEIGHTS[name] * of_search.get(number, absent[name]) for name, of_search in strengths.items())
        for number in numbers
    }


def _find_lacking(
    strengths: Mapping[str, Mapping[int, float]],
    absent: Mapping[str, float],
    full: Mapping[str, float],
    name: str,
    n: int,
) -> list[int]:
    """The features that a search's full list lacks, and that may be among the n best of all.

    `full` has the last strength of each full list: what it lacks has no more, or counts as `absent` says.
    """
    least = {other: -1.0 if other in COSINES else 0.0 for other in full}
    enough = sorted(_add(strengths, {**absent, **least}).values(), reverse=True)[:n][-1]
    at_most = _add(strengths, {of: max(value, full.get(of, value)) for of, value in absent.items()})
    return [number for number, most in at_most.items() if number not in strengths[name] and most >= enough]


def _run_together(searches: Mapping[str, Search], depth: int) -> dict[str, list[Candidate]]:
    """Run the searches by meaning here, which embed the text, and all others in one thread beside them.

    A thread for each would make them wait for one another's interpreter as long as they save. The thread belongs to
    this call: one that is kept would be missing in a process that was forked meanwhile, which would wait for it for
    ever.
    """
    here = [name for name in searches if name in COSINES] or list(searches)[:1]
    others = [name for name in searches if name not in here]
    with ThreadPoolExecutor(1, thread_name_prefix="search") as thread:
        beside = thread.submit(lambda: {name: searches[name](depth) for name in others})
        lists = {name: searches[name](depth) for name in here} | beside.result()
    return {name: lists[name] for name in searches}
