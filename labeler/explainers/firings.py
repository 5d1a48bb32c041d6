"""What the firings of a feature have in common, counted: tokens, words, what stands before and after, contexts.

Pure: knows no store, and nothing of how it is said.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from labeler.explainers.contexts import DOCSTRING, PROSE, find_contexts, is_prose
from labeler.explainers.words import describe_kind, find_left, find_right, has_letters

_LAST_TOKEN = re.compile(r"(\w+|[^\w\s]+)\s*$")
_NEXT_TOKEN = re.compile(r"(\s*)(\w+|[^\w\s]+)")
_NEARBY_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]{2,}")
NEARBY_BEFORE, NEARBY_AFTER = 150, 40  # characters in which words are near
NEARBY_SHARE = 0.2  # a word that is near fewer firings is not kept
NEXT_LINE = "⏎"  # begins what follows on a later line
IN_PROSE = "as prose"  # a share: firings in prose, comments and strings


class Firing(NamedTuple):
    """One activation of a feature and the text around it. `mass` is its weight among the feature's firings."""

    mass: float
    token: str
    before: str  # text of the window up to the token
    after: str  # and after it


class FiringShares(NamedTuple):
    """What a feature fires on: the share of its mass for each token, for each whole word (with underscores: a name),
    for the token before and after it, its contexts and kinds of token, and the words that are near many firings.

    Words that differ in case alone count as one, as it is written most often. `places` has the share of firings in
    which each token is a whole word, begins one, ends one or is within one.
    """

    tokens: Mapping[str, float]
    words: Mapping[str, float]
    names: Mapping[str, float]
    previous: Mapping[str, float]
    following: Mapping[str, float]
    contexts: Mapping[str, float]
    kinds: Mapping[str, float]
    places: Mapping[str, float]
    pairs: Mapping[tuple[str, str], float]  # of a kind or a token, and a whole word or, of signs, a token
    nearby: Mapping[str, float]


def summarize(firings: Sequence[Firing]) -> FiringShares:
    """Return the shares of what the firings have in common."""
    counters: list[Any] = [collections.defaultdict(float) for _ in FiringShares._fields]
    tokens, words, names, previous, following, contexts, kinds, places, pairs, nearby = counters
    total = sum(firing.mass for firing in firings) or 1.0
    for firing in firings:
        share = firing.mass / total
        token = firing.token.strip(" ") or firing.token
        tokens[token] += share
        bare = firing.token.strip()
        continues = bool(bare) and firing.token.lstrip() == firing.token
        left = find_left(firing.before, bare) if continues else ""
        right = find_right(firing.after, bare) if firing.token.rstrip() == firing.token else ""
        if has_letters(bare):
            words[left + bare + right] += share
            places["whole" if not left and not right else "begins" if not left else "within" if right else "ends"] += (
                share
            )
        if has_letters(bare) or (bare and not bare.strip("_")):
            name = find_left(firing.before, bare, "_") if continues else ""
            names[name + bare + find_right(firing.after, bare, "_")] += share
        previous[_find_previous(firing.before[: len(firing.before) - len(left)])] += share
        following[_find_following(firing.after[len(right) :])] += share
        kind = describe_kind(firing.token, left, right)
        kinds[kind] += share
        word = left + bare + right if has_letters(bare) else token
        pairs[kind, word] += share
        pairs[token.casefold(), word] += share
        found = find_contexts(firing.before, firing.token, firing.after)
        for context in found:
            contexts[context] += share
        if is_prose(found):
            contexts[IN_PROSE] += share
        for word in _find_nearby(firing):
            nearby[word] += share
    tokens, words, names = (_merge_cases(shares) for shares in (tokens, words, names))
    nearby = {word: share for word, share in nearby.items() if share >= NEARBY_SHARE}
    return FiringShares(tokens, words, names, previous, following, contexts, kinds, places, pairs, nearby)


def _find_nearby(firing: Firing) -> set[str]:
    """The words around a firing, in lower case."""
    text = f"{firing.before[-NEARBY_BEFORE:]}\n{firing.after[:NEARBY_AFTER]}"
    # The first and the last word may be cut.
    return {match[0].lower() for match in _NEARBY_WORD.finditer(text, 1) if match.end() < len(text)}


def _merge_cases(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares with words that differ in case alone as one."""
    variants: dict[str, list[str]] = collections.defaultdict(list)
    for word in shares:
        variants[word.casefold()].append(word)
    return {
        max(group, key=lambda word: shares[word]): sum(shares[word] for word in group) for group in variants.values()
    }


def _find_previous(before: str) -> str:
    match = _LAST_TOKEN.search(before[-40:])
    return match[1] if match else "\n"


def _find_following(after: str) -> str:
    match = _NEXT_TOKEN.match(after)
    return "" if not match else (NEXT_LINE if "\n" in match[1] else "") + match[2]


class Background(NamedTuple):
    """What firings of any feature have in common: token frequencies of the corpus, and average shares of all features.

    `docstrings`: the corpus has texts in docstring quotes, so prose without them in sight is of docstrings too.
    """

    tokens: Mapping[str, float]
    contexts: Mapping[str, float]
    previous: Mapping[str, float]
    following: Mapping[str, float]
    nearby: Mapping[str, float]

    @property
    def docstrings(self) -> bool:
        """Whether the corpus is of code with docstrings."""
        return self.contexts.get(DOCSTRING, 0.0) > 0.25 * self.contexts.get(PROSE, 0.0)


def average(token_shares: Mapping[str, float], features: Iterable[FiringShares]) -> Background:
    """Return the background of all features, over a corpus with these token shares."""
    sums: list[collections.Counter[str]] = [collections.Counter() for _ in range(4)]
    count = 0
    for shares in features:
        count += 1
        values = (shares.contexts, shares.previous, shares.following, shares.nearby)
        for counter, value in zip(sums, values, strict=True):
            counter.update(value)
    means = ({name: share / max(count, 1) for name, share in counter.items()} for counter in sums)
    return Background(token_shares, *means)
