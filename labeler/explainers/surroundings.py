"""Clauses of a label on where a feature fires: its contexts, what stands before and after, and the names it is part of.

Of a feature that fires in one place the clause says so ("in a comment"); of one that does so more often than others it
says "mostly" or "often". Knows no store and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from labeler.explainers.character_names import join_names
from labeler.explainers.contexts import (
    BRACKETS,
    DOCSTRING,
    IMPLIED_AFTER,
    IMPLIED_BEFORE,
    PROSE,
    SORTS,
    WEAK,
    WEAK_OF_NAMED,
    find_sort,
)
from labeler.explainers.firings import IN_PROSE, NEXT_LINE, Background, FiringShares
from labeler.explainers.glossary import is_function_word
from labeler.explainers.words import has_letters, rank, show_all, show_token, sum_shares

AROUND_SHARE, AROUND_LIFT = 0.6, 2.0  # of the words before and after
OFTEN_SHARE, OFTEN_LIFT, OFTEN_EACH = 0.25, 4.0, 0.06  # of the words that often stand there
CONTEXT_SHARE, CONTEXT_LIFT = 0.6, 1.6
MOSTLY_SHARE, MOSTLY_LIFT = 0.45, 1.35  # of a context that is said to be there mostly
SECOND_LIFT = 2.0  # of another context
NAMES_SHARE = 0.6
NEAR_SHARE, NEAR_LIFT, MOST_NEAR = 0.3, 8.0, 2  # of the words that are often near
# Names by how they are written with underscores; the first that fits.
_NAMES = (
    (re.compile(r"__\w+__"), "special names such as"),
    (re.compile(r"_[^\W_]\w*"), "private names such as"),
    (re.compile(r"\w*[^\W_]_\w+|\w+_[^\W_]\w*"), "names such as"),
)


def describe_nearby(shares: FiringShares, common: Background, text: str) -> str:
    """Return a clause on the words that are near many firings and few of other features, and not in `text` already."""
    lifts = {
        word: share / max(common.nearby.get(word, 0.0), 1e-3)
        for word, share in shares.nearby.items()
        if share >= NEAR_SHARE and word not in text.lower() and not is_function_word(word)
    }
    chosen = [word for word, lift in lifts.items() if lift >= NEAR_LIFT]
    chosen.sort(key=lambda word: (-shares.nearby[word] * math.log(lifts[word]), word))
    return f", often near {show_all(chosen[:MOST_NEAR])}" if chosen else ""


class Surroundings(NamedTuple):
    """The clauses after a label's subject, in their order, and the tokens that are said to follow."""

    clauses: tuple[str, ...]
    following: frozenset[str]


def describe_surroundings(shares: FiringShares, common: Background, named: Sequence[str]) -> Surroundings:
    """Return where a feature fires whose label names these tokens and words."""
    strong = shares.contexts.keys() - WEAK - {IN_PROSE}
    weak = shares.contexts.keys() & (WEAK_OF_NAMED if named else WEAK)
    contexts = _choose_contexts(shares, common, strong)
    mostly = "" if contexts else _describe_mostly(shares, common, strong)
    if not contexts and not mostly:
        contexts = _choose_contexts(shares, common, weak)[:1]
        mostly = "" if contexts else _describe_mostly(shares, common, weak)
    names = _describe_names(shares, named)
    previous = "" if names else _describe_previous(shares, common, named, contexts)
    following, said = ("", frozenset[str]()) if names else _describe_following(shares, common, contexts)
    after = (
        "" if names or previous else _describe_often(shares.previous, common.previous, named, IMPLIED_BEFORE, contexts)
    )
    before = (
        ""
        if names or following
        else _describe_often(shares.following, common.following, named, IMPLIED_AFTER, contexts)
    )
    clauses = (
        f" in {names}" if names else "",
        f" after {previous}" if previous else "",
        *(f" {context}" for context in contexts),
        f", followed by {following}" if following else "",
        f", mostly {mostly}" if mostly else "",
        f", often after {after}" if after else "",
        f"{' and' if after else ', often'} before {before}" if before else "",
    )
    return Surroundings(clauses, said)


def _choose_contexts(shares: FiringShares, common: Background, allowed: Collection[str]) -> list[str]:
    """The context that tells the feature best from others, and one of another sort that does so too."""
    lifts = _measure_lifts(shares, common, allowed, CONTEXT_SHARE)
    ranked = sorted(lifts, key=lambda name: (-lifts[name] * shares.contexts[name], name))
    chosen = [name for name in ranked if lifts[name] >= CONTEXT_LIFT][:1]
    for name in ranked[1:]:
        if name != BRACKETS and lifts[name] >= SECOND_LIFT and find_sort(name) != find_sort(chosen[0]):
            chosen.append(name)
            break
    chosen.sort(key=lambda name: SORTS.index(find_sort(name)))
    return [_name_prose(name, common) for name in chosen]


def _describe_mostly(shares: FiringShares, common: Background, allowed: Collection[str]) -> str:
    """The context in which half of the firings are, and more than of other features; "" without one."""
    lifts = _measure_lifts(shares, common, allowed, MOSTLY_SHARE)
    lifts.pop(BRACKETS, None)
    best = max(lifts, key=lambda name: (lifts[name] * shares.contexts[name], name), default="")
    return _name_prose(best, common) if best and lifts[best] >= MOSTLY_LIFT else ""


def _measure_lifts(
    shares: FiringShares, common: Background, allowed: Collection[str], least: float
) -> dict[str, float]:
    """How many times more often than other features this one fires in its contexts that have the `least` share."""
    return {
        name: share / max(common.contexts.get(name, 0.0), 1e-3)
        for name, share in shares.contexts.items()
        if name in allowed and share >= least
    }


def _name_prose(context: str, common: Background) -> str:
    return DOCSTRING if context == PROSE and common.docstrings else context


def _describe_names(shares: FiringShares, named: Sequence[str]) -> str:
    """The names with underscores that the feature fires in, where it does so and they are not named already."""
    for pattern, words in _NAMES:
        names = [name for name in rank(shares.names) if pattern.fullmatch(name)]
        if sum_shares(shares.names, names) >= NAMES_SHARE:
            shown = [name for name in names if name not in named][:2]
            return f"{words} {show_all(shown, 'and')}" if len(shown) == 2 and not set(names[:2]) & set(named) else ""
    return ""


def _describe_previous(shares: FiringShares, common: Background, named: Sequence[str], contexts: Sequence[str]) -> str:
    tokens = _select_around(shares.previous, common.previous)
    if any(token and token in word for token in tokens for word in named):
        return ""
    implied = {word for context in contexts for word in IMPLIED_BEFORE.get(context, ())}
    shown = [token for token in tokens if token not in implied and token != "\n"]
    return show_all(shown) if shown and len(shown) == len(tokens) else ""


def _describe_often(
    shares: Mapping[str, float],
    usual: Mapping[str, float],
    named: Sequence[str],
    implied: Mapping[str, frozenset[str]],
    contexts: Sequence[str],
) -> str:
    """The words beside which the feature fires far more often than others; "" where that is seldom."""
    left_out = {word for context in contexts for word in implied.get(context, ())}
    chosen = [
        word
        for word in rank(shares)[:3]
        if (has_letters(word) or word.startswith((NEXT_LINE, "@")))
        and word not in left_out
        and not any(word in other or other in word for other in named)
        and shares[word] >= max(OFTEN_EACH, OFTEN_LIFT * usual.get(word, 0.0))
    ]
    shown = list(dict.fromkeys(word.removeprefix(NEXT_LINE) for word in chosen))[:2]
    return show_all(shown) if sum_shares(shares, chosen) >= OFTEN_SHARE else ""


def _describe_following(
    shares: FiringShares, common: Background, contexts: Sequence[str]
) -> tuple[str, frozenset[str]]:
    """What stands after, as a text, and the tokens that are said in it."""
    tokens = _select_around(shares.following, common.following)
    implied = {word for context in contexts for word in IMPLIED_AFTER.get(context, ())}
    if not tokens or not tokens[0] or not implied.isdisjoint(tokens):
        return "", frozenset()
    names = [show_token(token.removeprefix(NEXT_LINE)) for token in tokens if token]
    breaks = shares.kinds.get("line breaks and indentation", 0.0) >= 0.5  # then what follows is there anyway
    later = not breaks and all(token.startswith(NEXT_LINE) for token in tokens)
    said = frozenset(token.removeprefix(NEXT_LINE) for token in tokens)
    return join_names(list(dict.fromkeys(names)), "or") + (" on the next line" if later else ""), said


def _select_around(shares: Mapping[str, float], usual: Mapping[str, float]) -> list[str]:
    """The one or two words that mostly stand there, and more often than with other features; else none."""
    ranked = [name for name in rank(shares)[:2] if shares[name] >= 0.2]
    for count in (1, 2):
        chosen = ranked[:count]
        total = sum_shares(shares, chosen)
        if len(chosen) == count and total >= AROUND_SHARE and total >= AROUND_LIFT * sum_shares(usual, chosen):
            return chosen
    return []
