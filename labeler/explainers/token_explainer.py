"""Labels from token statistics, without a language model: what a feature fires on, where, and what follows.

A label says how a feature differs from the corpus (token frequencies) and from all other features (the share of their
examples in a comment, in a string, at the start of a line ...). The shortest true description comes first: a whole word
rather than its pieces, one word rather than several, a kind of word rather than a list. Knows no store and no model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from labeler.explainers.character_names import describe_sign_role, join_names
from labeler.explainers.contexts import BRACKETS, DOCSTRING, IMPLIED_AFTER, IMPLIED_BEFORE, PROSE, find_sort
from labeler.explainers.firings import IN_PROSE, NEXT_LINE, Background, FiringShares, average, summarize
from labeler.explainers.firings import Firing as Firing
from labeler.explainers.glossary import describe_class, describe_role, find_plural
from labeler.explainers.words import has_letters, show_all, show_token

__all__ = [
    "PROMPT",
    "Background",
    "Firing",
    "FiringShares",
    "average",
    "select_outstanding",
    "summarize",
    "write_label",
]

PROMPT = "tokens/2"
MAX_LENGTH = 140
MOST_TOKENS = 3  # named in a label
SOLE, COVER = 0.75, 0.65  # shares of a feature's mass: of the only thing named, of several
MOSTLY, PARTLY = 0.55, 0.35  # of tokens that are named before a kind is, and of those named beside others
MIN_SHARE = 0.08  # a token with less of it is not named
MIN_LIFT = 3.0  # nor one that is not this much more frequent than in the corpus
KIND_SHARE = 0.65
AROUND_SHARE, AROUND_LIFT = 0.6, 2.0  # of the words before and after
CONTEXT_SHARE, CONTEXT_LIFT = 0.6, 1.6
SECOND_LIFT = 2.0  # of another context
OUTSTANDING = 1.35  # times the tenth largest logit


def select_outstanding(effects: Sequence[tuple[str, float]]) -> list[str]:
    """Return those of the promoted tokens (largest logit first) that stand out from the last of them.

    Every decoder vector has ten largest logits. For most vectors of early layers they are noise, all about as large.
    """
    return [token for token, value in effects if value >= OUTSTANDING * effects[-1][1]]


def write_label(shares: FiringShares, common: Background, promoted: Sequence[str]) -> str:
    """Return a readable label, at most 140 characters.

    `promoted` are the tokens whose logits the feature raises most, strongest first.
    """
    subject = _describe_subject(shares, common)
    contexts = _choose_contexts(shares, common)
    previous = _describe_previous(shares, common, subject, contexts)
    following, said = _describe_following(shares, common, contexts)
    predicted = [token for token in promoted if token.strip() and token.strip() not in said][:2]
    clauses = [
        subject.text,
        f" after {previous}" if previous else "",
        *(f" {context}" for context in contexts),
        f", followed by {following}" if following else "",
        f"; predicts {show_all(predicted)}" if predicted else "",
    ]
    # A label that is too long loses what says least, from its end.
    text = ""
    for clause in clauses:
        text += clause if len(text + clause) <= MAX_LENGTH else ""
    return text or f"{subject.text[: MAX_LENGTH - 1]}…"


class _Subject(NamedTuple):
    """What a feature fires on, as a text, and the tokens or words that are named in it."""

    text: str
    named: tuple[str, ...]


def _describe_subject(shares: FiringShares, common: Background) -> _Subject:
    """The shortest description that most of the mass is true of."""
    tokens = _select_named(shares.tokens, common.tokens)
    covered = _sum_shares(shares.tokens, tokens)
    if tokens and shares.tokens[tokens[0]] >= SOLE:
        return _describe_one(tokens[0], shares)
    words = _select_named(shares.words, common.tokens)
    for wholes, named in ((shares.words, words), (shares.names, _select_named(shares.names, common.tokens))):
        if named and wholes[named[0]] >= SOLE:
            return _name_several(named[:1], shares)
    pieces = any(_is_piece(token, shares) for token in tokens)
    # Pieces of a few words are better known by the words.
    if _sum_shares(shares.words, words) >= COVER and (pieces or covered < COVER):
        return _name_several(words, shares)
    if covered >= COVER:
        return _name_several(tokens, shares)
    group = _find_group(shares, covered < MOSTLY)
    if group:
        return group
    if covered >= PARTLY:
        return _name_several(tokens, shares, "others")
    kinds = sorted(shares.kinds, key=lambda name: (-shares.kinds[name], name))[:2]
    some = show_all(list(dict.fromkeys(_list_some(shares, kind)[0] for kind in kinds)), "and")
    return _Subject(f"{' and '.join(kinds)}, among them {some}", ())


def _describe_one(token: str, shares: FiringShares) -> _Subject:
    """The one token that a feature fires on: by the word that it is a piece of, where that is one word."""
    for wholes in (shares.words, shares.names):
        word = max(wholes, key=lambda name: wholes[name], default="")
        if word.casefold() != token.strip().casefold() and wholes.get(word, 0.0) >= SOLE:
            return _name_several([word], shares)
    if not _is_piece(token, shares):
        return _name_several([token], shares)
    words = [word for word in _rank(shares.words) if word.casefold() != token.strip().casefold()][:MOST_TOKENS]
    shown, place = show_token(token), max(shares.places, key=lambda name: shares.places[name], default="within")
    if shares.places.get(place, 0.0) < COVER or place in ("whole", "within") or len(words) == 1:
        return _Subject(f"{shown} in {show_all(words)}", (token, *words))
    classes = {describe_class(word) for word in words}
    common = f" ({classes.pop()})" if len(classes) == 1 and None not in classes else ""
    verb = "begin with" if place == "begins" else "end in"
    return _Subject(f"words that {verb} {shown}{common}: {show_all(words)}", (token, *words))


def _name_several(tokens: Sequence[str], shares: FiringShares, *further: str) -> _Subject:
    """The tokens or words with what they are for, and the words that pieces among them are of."""
    prose = shares.contexts.get(IN_PROSE, 0.0) >= 0.5
    names: list[str] = []
    roles: list[str] = []
    for token in dict.fromkeys(tokens):
        role = None if _is_piece(token, shares) else describe_role(token, prose=prose)
        role = role or (None if prose or has_letters(token) else describe_sign_role(token))
        new = role and role not in roles and role.rstrip("s") not in token.lower()
        names.append(f"{show_token(token)} ({role})" if new else show_token(token))
        roles += [role] if role else []
    names = list(dict.fromkeys(names))
    if len(names) > 1:  # a name of several signs is told from several names
        names = [name.replace(" and ", " with ", 1) for name in names]
    text = join_names([*names, *further], "or" if not further else "and")
    pieces = [token for token in tokens if _is_piece(token, shares)]
    known = {token.casefold() for token in tokens}
    words = [
        word for token in pieces for word in _list_some(shares, token.casefold())[:3] if word.casefold() not in known
    ]
    words = list(dict.fromkeys(words))
    if words:
        text += f", in words such as {show_all(words[:4], 'and')}"
    return _Subject(text, (*tokens, *words))


def _is_piece(token: str, shares: FiringShares) -> bool:
    """Whether a token is mostly a piece of longer words."""
    mass = shares.tokens.get(token, 0.0)
    return has_letters(token) and mass > 0 and shares.pairs.get((token.casefold(), token.strip()), 0.0) < mass / 2


def _find_group(shares: FiringShares, by_kind: bool) -> _Subject | None:
    """What most words have in common, with examples: a class of names, a role, or else `by_kind` a kind of token."""
    prose = shares.contexts.get(IN_PROSE, 0.0) >= 0.5
    members: dict[str, list[str]] = {}
    for word in _rank(shares.words):
        name = describe_class(word) or describe_role(word, prose=prose)
        members.setdefault(name or "", []).append(word)
    for name, words in members.items():
        if name and len(words) > 1 and _sum_shares(shares.words, words) >= COVER:
            some = show_all(words[:MOST_TOKENS], "and")
            plural = find_plural(name)
            return _Subject(f"{plural} such as {some}" if plural else f"{name}: {some}", ())
    kind = next((name for name, share in shares.kinds.items() if by_kind and share >= KIND_SHARE), None)
    return _Subject(f"{kind} such as {show_all(_list_some(shares, kind)[:MOST_TOKENS], 'and')}", ()) if kind else None


def _list_some(shares: FiringShares, group: str) -> list[str]:
    """The words, or of signs the tokens, that belong to a kind or contain a token, the most frequent first."""
    own = {word: share for (name, word), share in shares.pairs.items() if name == group}
    distinct: dict[str, str] = {}
    for word in _rank(own):
        distinct.setdefault(word.casefold(), word)
    return list(distinct.values())


def _choose_contexts(shares: FiringShares, common: Background) -> list[str]:
    """The context that tells the feature best from others, and one of another sort that does so too."""
    lifts = {
        name: share / max(common.contexts.get(name, 0.0), 1e-3)
        for name, share in shares.contexts.items()
        if name != IN_PROSE and share >= CONTEXT_SHARE
    }
    ranked = sorted(lifts, key=lambda name: (-lifts[name] * shares.contexts[name], name))
    chosen = [name for name in ranked if lifts[name] >= CONTEXT_LIFT][:1]
    for name in ranked[1:]:
        if name != BRACKETS and lifts[name] >= SECOND_LIFT and find_sort(name) != find_sort(chosen[0]):
            chosen.append(name)
            break
    return [DOCSTRING if name == PROSE and common.docstrings else name for name in chosen]


def _describe_previous(shares: FiringShares, common: Background, subject: _Subject, contexts: Sequence[str]) -> str:
    tokens = _select_around(shares.previous, common.previous)
    if any(token and token in word for token in tokens for word in subject.named):
        return ""
    implied = {word for context in contexts for word in IMPLIED_BEFORE.get(context, ())}
    shown = [token for token in tokens if token not in implied and token != "\n"]
    return show_all(shown) if shown and len(shown) == len(tokens) else ""


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
    ranked = [name for name in _rank(shares)[:2] if shares[name] >= 0.2]
    for count in (1, 2):
        chosen = ranked[:count]
        total = _sum_shares(shares, chosen)
        if len(chosen) == count and total >= AROUND_SHARE and total >= AROUND_LIFT * _sum_shares(usual, chosen):
            return chosen
    return []


def _select_named(shares: Mapping[str, float], usual: Mapping[str, float]) -> list[str]:
    """The few tokens worth naming: they have much of the mass, and more than in the corpus."""
    ranked = _rank(shares)[:MOST_TOKENS]
    return [name for name in ranked if shares[name] >= MIN_SHARE and shares[name] >= MIN_LIFT * usual.get(name, 0.0)]


def _rank(shares: Mapping[str, float]) -> list[str]:
    return sorted(shares, key=lambda name: (-shares[name], name))


def _sum_shares(shares: Mapping[str, float], names: Iterable[str]) -> float:
    return sum(shares.get(name, 0.0) for name in names)
