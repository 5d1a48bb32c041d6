"""How much a word weighs by how rare it is, and how much of what was asked a text has: BM25's terms."""

from __future__ import annotations

import math
from typing import NamedTuple

# Beside a word's stem these count this share of it: its folded form, a part of a name, and the word as it is written.
FOLDED_WEIGHT, PART_WEIGHT, WRITTEN_WEIGHT = 0.25, 0.25, 0.25
# The most that a text may have of what was asked, see `share`: more comes of its being short, or repeating a word.
MOST_SHARE = 1.3


class Rarity(NamedTuple):
    """The number of texts, and of those with the stem of each word that is asked for, and with each word itself."""

    texts: int
    with_stem: tuple[int, ...]
    with_word: tuple[int, ...]


def full_score(*rarities: Rarity) -> float:
    """The BM25 score of a text of average length that has each word once, from its rarity in every index."""
    texts = sum(rarity.texts for rarity in rarities)
    stems, words = (
        sum(weigh(texts, sum(counts)) for counts in zip(*of_indexes, strict=True))
        for of_indexes in ([rarity.with_stem for rarity in rarities], [rarity.with_word for rarity in rarities])
    )
    return stems * (1 + FOLDED_WEIGHT) + words * WRITTEN_WEIGHT


def weigh(texts: int, count: int) -> float:
    """The inverse document frequency of a word that `count` of the texts have, as BM25 takes it."""
    return math.log(1 + (texts - count + 0.5) / (count + 0.5))


def share(score: float, full: float) -> float:
    """How much of the words' weight a text of this score has: 1 for a text of average length with each word once.

    From 0 to MOST_SHARE; 1 where no words were asked for.
    """
    return min(MOST_SHARE, score / full) if full else 1.0
