"""Finds labels that are of another dictionary: their words are not those of the tokens on which its features fire.

Of a label by anybody, many a word is a token of its own feature's examples or of its logits. In another layer's labels
words and tokens meet no more often than in labels that are shuffled.
"""

from __future__ import annotations

import collections
import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from featurestore import Conflict

if TYPE_CHECKING:
    from featurestore import Store

MOST_SAMPLED = 1000  # labels that are looked at
FEW = 50  # labels with rare words below which nothing is concluded
RARE = 0.02  # a word of more labels, or of more features' tokens, says little of any of them
LEAST_SHARE = 0.05  # of labels with rare words have one of their own feature's tokens; 0.5 to 0.9 of the demo's do
LIKELY_SHARE = 0.5  # from which on other dictionaries are not looked at
MOST_SIBLINGS = 6
LETTERS = re.compile(r"[^\W\d_]{3,}")
TOKENS = """
    select feature, tokens[position - start + 1] as token from examples
    where dictionary = $dictionary and rank < 5 and list_contains($features, feature)
    union all
    select feature, unnest(list_transform(top_logits, lambda effect: effect.token)) from features
    where dictionary = $dictionary and list_contains($features, feature)
"""


class Agreement(NamedTuple):
    """How many labels have a rare word, how many of them share one with their feature's tokens, and how many would if
    labels were shuffled."""

    labels: int
    shared: int
    by_chance: float

    @property
    def share(self) -> float:
        """Share of the labels with rare words that have one of their feature's tokens."""
        return self.shared / max(1, self.labels)

    @property
    def is_mixed_up(self) -> bool:
        """Whether the labels are of other features, whichever these are."""
        return self.labels >= FEW and self.share < LEAST_SHARE and self.shared <= 4 * self.by_chance + 3


def check_labels(store: Store, dictionary: str, labels: Mapping[int, str]) -> None:
    """Raise Conflict when labels by feature are those of another dictionary than the store's, as far as words tell."""
    here = compare_words(labels, read_tokens(store, dictionary, labels))
    if here.labels < FEW or here.share >= LIKELY_SHARE:
        return
    of = f"of {here.labels:,} labels with rare words, {here.shared:,} have one of the tokens on which their feature of"
    remedy = "join them all the same with --any-words"
    for other in _find_siblings(store, dictionary):
        there = compare_words(labels, read_tokens(store, other, labels))
        if there.labels >= FEW and there.share > 2 * here.share and there.shared > 2 * there.by_chance + FEW / 5:
            raise Conflict(
                f"{of} {dictionary} fires, and {there.shared:,} one of {other}: they are labels of {other}; "
                f"name it with --dictionary, or {remedy}"
            )
    if here.is_mixed_up:
        raise Conflict(
            f"{of} {dictionary} fires, no more than by chance: they are of another layer or dictionary; name theirs "
            f"with --dictionary MODEL/SOURCE, or {remedy}"
        )


def _find_siblings(store: Store, dictionary: str) -> list[str]:
    """Return a few other dictionaries of the model with as many features, the nearest layers first."""
    rows = {row.dictionary: row for row in store.dictionaries()}
    own = rows.pop(dictionary)
    others = [row for row in rows.values() if (row.model, row.d_sae) == (own.model, own.d_sae)]
    others.sort(key=lambda row: (abs((row.layer or 0) - (own.layer or 0)), row.dictionary))
    return [row.dictionary for row in others[:MOST_SIBLINGS]]


def read_tokens(store: Store, dictionary: str, features: Iterable[int]) -> dict[int, set[str]]:
    """Return the words among the tokens of a sample of features, on which they fire or which they raise."""
    ordered = sorted(features)
    sample = ordered[:: max(1, -(-len(ordered) // MOST_SAMPLED))]
    rows = store.sql(TOKENS, {"dictionary": dictionary, "features": sample}).to_arrow()
    tokens: dict[int, set[str]] = {}
    for feature, token in zip(rows["feature"].to_pylist(), rows["token"].to_pylist(), strict=True):
        tokens.setdefault(feature, set()).update(find_words(token or ""))
    return tokens


def compare_words(labels: Mapping[int, str], tokens: Mapping[int, set[str]]) -> Agreement:
    """Return how labels agree with the words of features' tokens."""
    words = {feature: find_words(labels[feature]) for feature in tokens if feature in labels}
    most = max(2, math.floor(RARE * len(words)))
    of_labels = collections.Counter(word for found in words.values() for word in found)
    of_tokens = collections.Counter(word for feature in words for word in tokens[feature])
    count = shared = 0
    by_chance = 0.0
    for feature, found in words.items():
        rare = {word for word in found if of_labels[word] <= most and 0 < of_tokens[word] <= most}
        if rare:
            count += 1
            shared += bool(rare & tokens[feature])
            by_chance += min(1.0, sum(of_tokens[word] for word in rare) / len(words))
    return Agreement(count, shared, by_chance)


def find_words(text: str) -> set[str]:
    """Return the words of at least three letters, in small letters and without an s of the plural."""
    return {word.casefold().removesuffix("s") for word in LETTERS.findall(text)}
