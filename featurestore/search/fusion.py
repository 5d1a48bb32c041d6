"""Rankings of features by text: one search alone, or several fused by the ranks they give.

Knows no words and no indexes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from featurestore.search.cursor import Match

# Reciprocal-rank fusion, Cormack, Clarke and Büttcher 2009: score = sum over searches of weight / (FUSION + rank).
# Their 60, with equal weights, is worse than meaning alone on long labels that are much alike;
# `python -m bench.quality` measures it, and docs/search.md has the figures these are chosen by.
FUSION = 8
# A search by words counts by the share of the asked words' weight that a text has, too: most of a long question's words
# are in no label, and whoever is first for two of them says little.
WEIGHTS = {"meaning": 1.0, "words": 0.8, "tokens": 0.8, "logits": 0.8}
# Each search that is fused looks this many times as deep as the answer. Deeper ones find no more; docs/search.md.
DEPTH = 5
MIN_DEPTH = 50


class Candidate(NamedTuple):
    """A feature that a search found: its catalog number, its score, and the row of the search's index.

    `share` is how much of what was asked it has, 0 to 1.
    """

    number: int
    score: float
    row: int
    share: float = 1.0


# search(n) returns the n best features, best first.
Search = Callable[[int], list[Candidate]]


class Evidence(NamedTuple):
    """What one search found of a feature: the row of its index, the score, and the rank, from 1.

    None without fusion.
    """

    row: int
    score: float
    rank: int | None


class TextRanking:
    """Ranks features by one search or several, and keeps what each search found, for the reasons of hits.

    The score of a match is the search's own, or, of several, their fusion: 1 for what is first in all of them.
    """

    def __init__(self, searches: Mapping[str, Search]):
        """`searches` are named as in WEIGHTS."""
        self.searches = searches
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
        total = sum(WEIGHTS[name] for name in self.searches)
        scores: dict[int, float] = {}
        for name, candidates in _run_together(self.searches, max(MIN_DEPTH, DEPTH * n)).items():
            weight = WEIGHTS[name] / total * (FUSION + 1)
            for rank, (number, score, row, share) in enumerate(candidates, 1):
                scores[number] = scores.get(number, 0.0) + weight * share / (FUSION + rank)
                self._evidence.setdefault(number, {})[name] = Evidence(row, score, rank)
        best = sorted(scores, key=lambda number: (-scores[number], number))[:n]
        return [Match(number, scores[number]) for number in best]


def _run_together(searches: Mapping[str, Search], depth: int) -> dict[str, list[Candidate]]:
    """Run the first search here and all others in one thread beside it; the first takes longest where it is by meaning.

    A thread for each would make them wait for one another's interpreter as long as they save. The thread belongs to
    this call: one that is kept would be missing in a process that was forked meanwhile, which would wait for it for
    ever.
    """
    first, *others = searches
    with ThreadPoolExecutor(1, thread_name_prefix="search") as thread:
        beside = thread.submit(lambda: {name: searches[name](depth) for name in others})
        return {first: searches[first](depth)} | beside.result()
