"""Labels from token statistics, without a language model: what a feature fires on, where, and what follows.

A label says how a feature differs from the corpus (token frequencies) and from all other features (the share of their
examples in a comment, in a string, at the start of a line ...). The shortest true description comes first: a whole word
rather than its pieces, one word rather than several, a kind of word rather than a list. Knows no store and no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from labeler.explainers.character_names import describe_sign_role, join_names
from labeler.explainers.firings import IN_PROSE, Background, FiringShares, average, summarize
from labeler.explainers.firings import Firing as Firing
from labeler.explainers.glossary import describe_class, describe_role, find_plural, find_singular
from labeler.explainers.surroundings import describe_nearby, describe_surroundings
from labeler.explainers.words import has_letters, rank, shorten, show_all, show_token, sum_shares

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

PROMPT = "tokens/4"
MAX_LENGTH = 140
MOST_TOKENS = 3  # named in a label
SOLE, COVER = 0.75, 0.65  # shares of a feature's mass: of the only thing named, of several
MOSTLY, PARTLY = 0.55, 0.35  # of tokens that are named before a kind is, and of those named beside others
MIN_SHARE = 0.08  # a token with less of it is not named
MIN_LIFT = 3.0  # nor one that is not this much more frequent than in the corpus
KIND_SHARE = 0.65
PART = 0.4  # of a role that some of the words have
MAX_PART = 6  # letters that words share
ENDINGS = frozenset(["ed", "ly", "er", "al", "es", "ic", "or"])  # of two letters, which are no chance
MOST_BESIDE_NEARBY = 2  # clauses; beside more the words nearby are not said
OUTSTANDING = 1.35  # times the tenth largest logit


def select_outstanding(effects: Sequence[tuple[str, float]]) -> list[str]:
    """Return those of the promoted tokens (largest logit first) that stand out from the last of them.

    `effects` are the ten largest. For most vectors of early layers they are noise, all about as large.
    """
    return [token for token, value in effects if value >= OUTSTANDING * effects[-1][1]]


def write_label(shares: FiringShares, common: Background, promoted: Sequence[str]) -> str:
    """Return a readable label, at most 140 characters.

    `promoted` are the tokens whose logits the feature raises most, strongest first.
    """
    subject = _describe_subject(shares, common)
    clauses, said = describe_surroundings(shares, common, subject.named)
    predicted = [word for word in _complete(promoted, shares) if word.strip() not in said][:2]
    texts = [shorten(subject.text, MAX_LENGTH), *_place_examples(subject, [clause for clause in clauses if clause])]
    predicts = f"; predicts {show_all(predicted)}" if predicted else ""
    if sum(map(bool, clauses)) <= MOST_BESIDE_NEARBY:
        near = describe_nearby(shares, common, "".join(texts))
        texts += [near] if len("".join((*texts, near, predicts))) <= MAX_LENGTH else []
    # A label that is too long loses what says least, from its end.
    text = ""
    for clause in (*texts, predicts):
        text += clause if len(text + clause) <= MAX_LENGTH else ""
    return text


def _place_examples(subject: _Subject, clauses: list[str]) -> list[str]:
    """The clauses after a subject with the examples of a mixture behind them; nothing is "such as" twice."""
    if " such as " in subject.text:
        return [clause.replace(" such as ", " like ") for clause in clauses]
    if not subject.examples or " such as " in "".join(clauses):
        return clauses
    if not clauses and " and " in subject.text:
        clauses = [" of many kinds"]
    room = MAX_LENGTH - len("".join((subject.text, *clauses)))
    return [*clauses, _list_examples(subject.examples, room, ", " if clauses else " ")]


def _list_examples(words: Sequence[str], room: int, separator: str) -> str:
    """As many of the words as there is room for."""
    lists = (f"{separator}such as {show_all(words[:count], 'and')}" for count in range(len(words), 0, -1))
    return next((text for text in lists if len(text) <= room), "")


def _complete(promoted: Sequence[str], shares: FiringShares) -> list[str]:
    """Those promoted tokens that say something by themselves: whole words and signs, and the rest of a word as the word
    that it makes with the one piece that the feature fires on."""
    token = rank(shares.tokens)[0]
    begins = _is_piece(token, shares) and shares.tokens[token] * shares.places.get("begins", 0.0) >= COVER**2
    words = []
    for piece in promoted:
        if not has_letters(piece) or piece[0] == " ":
            words.append(piece)
        elif begins and token.islower() and piece.isalpha() and piece.islower():
            words.append(token + piece)
    return [word for word in words if word.strip()]


class _Subject(NamedTuple):
    """What a feature fires on, as a text, and the tokens or words that are named in it."""

    text: str
    named: tuple[str, ...]
    examples: tuple[str, ...] = ()  # of a mixture, said at the label's end


def _describe_subject(shares: FiringShares, common: Background) -> _Subject:
    """The shortest description that most of the mass is true of."""
    tokens = _select_named(shares.tokens, common.tokens)
    covered = sum_shares(shares.tokens, tokens)
    if tokens and shares.tokens[tokens[0]] >= SOLE:
        return _describe_one(tokens[0], shares)
    words = _select_named(shares.words, common.tokens)
    for wholes, named in ((shares.words, words), (shares.names, _select_named(shares.names, common.tokens))):
        if named and wholes[named[0]] >= SOLE:
            return _name_several(named[:1], shares)
    pieces = any(_is_piece(token, shares) for token in tokens)
    # Pieces of a few words are better known by the words.
    if sum_shares(shares.words, words) >= COVER and (pieces or covered < COVER):
        return _name_several(words, shares)
    if covered >= COVER:
        return _name_several(tokens, shares)
    group = _find_group(shares, covered < MOSTLY)
    if group:
        return group
    if covered >= PARTLY:
        pieces = all(_is_piece(token, shares) for token in tokens)
        return _name_several(tokens, shares, "other pieces of words" if pieces else "others")
    return _describe_kinds(shares)


def _describe_kinds(shares: FiringShares) -> _Subject:
    """What most of the mass is, of several kinds, with examples that are said after where it is."""
    ranked = sorted(shares.kinds, key=lambda name: (-shares.kinds[name], name))
    singles = [token for token in shares.tokens if len(token) == 1 and token.isalnum()]
    if sum_shares(shares.tokens, singles) >= COVER:
        sorts, kinds = ["single letters and digits"], []
    else:
        sorts, kinds = [], ranked
        for kind in ranked:
            if sum_shares(shares.kinds, [name for name in ranked if _name_sort(name) in sorts]) >= COVER:
                break
            sorts += [_name_sort(kind)] if _name_sort(kind) not in sorts else []
    members: dict[str, dict[str, float]] = {}
    for (kind, word), share in shares.pairs.items():
        if kind in kinds and _name_sort(kind) in sorts:
            members.setdefault(_name_sort(kind), {})[word] = share
    if not kinds:
        members = {sort: {token: shares.tokens[token] for token in singles} for sort in sorts}
    firsts = [rank(members[sort])[0] for sort in sorts]  # an example of each, then the most frequent ones
    examples: dict[str, str] = {}
    for word in (*firsts, *rank({word: share for words in members.values() for word, share in words.items()})):
        examples.setdefault(word.casefold(), word)
    return _Subject(join_names(sorts), (), tuple(examples.values())[:MOST_TOKENS])


def _name_sort(kind: str) -> str:
    """What a kind of token is called in a mixture of kinds."""
    if kind.endswith("of words") or kind == "digits within names":
        return "pieces of words"
    if kind in ("punctuation", "emoji and symbols"):
        return "signs"
    if kind == "line breaks and indentation":
        return "line breaks"
    return kind if kind in ("spaces", "numbers") else "words"


def _describe_one(token: str, shares: FiringShares) -> _Subject:
    """The one token that a feature fires on: by the word that it is a piece of, where that is one word."""
    for wholes in (shares.words, shares.names):
        word = max(wholes, key=lambda name: wholes[name], default="")
        if word.casefold() != token.strip().casefold() and wholes.get(word, 0.0) >= SOLE:
            return _name_several([word], shares)
    if not _is_piece(token, shares):
        return _name_several([token], shares)
    bare = token.strip().casefold()
    words = [word for word in rank(shares.words) if word.casefold() != bare and bare in word.casefold()][:MOST_TOKENS]
    shown, place = show_token(token), max(shares.places, key=lambda name: shares.places[name], default="within")
    if shares.places.get(place, 0.0) < COVER or place in ("whole", "within") or len(words) == 1:
        return _Subject(f"{shown} in {show_all(words)}", (token, *words))
    if place == "begins":
        fitting = [word for word in words if word.casefold().startswith(bare)]
    else:
        fitting = [word for word in words if word.casefold().endswith(bare)]
    if len(fitting) < 2:
        return _Subject(f"{shown} in {show_all(words)}", (token, *words))
    classes = {describe_class(word) for word in fitting}
    common = f" ({classes.pop()})" if len(classes) == 1 and None not in classes else ""
    verb = "begin with" if place == "begins" else "end in"
    return _Subject(f"words that {verb} {shown}{common}: {show_all(fitting)}", (token, *fitting))


def _name_several(tokens: Sequence[str], shares: FiringShares, *further: str) -> _Subject:
    """The tokens or words with what they are for, and the words that pieces among them are of.

    Those that are for the same stand together, and what they are for is said once.
    """
    prose = shares.contexts.get(IN_PROSE, 0.0) >= 0.5
    groups: dict[str, list[str]] = {}
    for token in dict.fromkeys(tokens):
        role = None if _is_piece(token, shares) else describe_role(token, prose=prose)
        role = role or (None if prose or has_letters(token) else describe_sign_role(token))
        groups.setdefault(role or token, []).append(token)
    last = "or" if not further else "and"
    names: list[str] = []
    for role, members in groups.items():
        shown = list(dict.fromkeys(map(show_token, members)))
        said = find_singular(role) if len(shown) == 1 else role
        if role in members or any(_is_same_stem(role, member) for member in members):
            names += shown
        elif len(groups) + len(further) == 1:
            names.append(f"{join_names(shown, last)} ({said})")
        else:
            names += [*shown[:-1], f"{shown[-1]} ({said})"] if len(shown) == 1 else [f"{' and '.join(shown)} ({said})"]
    names = list(dict.fromkeys(names))
    if len(names) + len(further) > 1:  # a name of several signs is told from several names
        names = [name.replace(" and ", " with ", 1) if name[0] != '"' else name for name in names]
    text = join_names([*names, *further], last)
    pieces = [token for token in tokens if _is_piece(token, shares)]
    known = {token.casefold() for token in tokens}
    words = [
        word for token in pieces for word in _list_some(shares, token.casefold())[:3] if word.casefold() not in known
    ]
    words = list(dict.fromkeys(words))
    for count in range(min(4, len(words)), 0, -1):  # fewer where they are long
        added = f", as in {show_all(words[:count], 'and')}"
        if len(text + added) <= MAX_LENGTH:
            return _Subject(text + added, (*tokens, *words))
    return _Subject(text, (*tokens, *words))


def _is_same_stem(role: str, word: str) -> bool:
    """Whether a role says no more than the word: "deprecation" of "Deprecated"."""
    word = word.lower()
    return role.rstrip("s") in word or (" " not in role and len(word) > 4 and role.startswith(word[:5]))


def _is_piece(token: str, shares: FiringShares) -> bool:
    """Whether a token is mostly a piece of longer words."""
    mass = shares.tokens.get(token, 0.0)
    return has_letters(token) and mass > 0 and shares.pairs.get((token.casefold(), token.strip()), 0.0) < mass / 2


def _find_group(shares: FiringShares, by_kind: bool) -> _Subject | None:
    """What most words have in common, with examples: a class of names, a role, or else `by_kind` a kind of token."""
    prose = shares.contexts.get(IN_PROSE, 0.0) >= 0.5
    members: dict[str, list[str]] = {}
    for word in rank(shares.words):
        name = describe_class(word) or describe_role(word, prose=prose)
        members.setdefault(name or "", []).append(word)
    for name, words in members.items():
        if name and len(words) > 1 and sum_shares(shares.words, words) >= COVER:
            some = show_all(words[:MOST_TOKENS], "and")
            plural = find_plural(name)
            return _Subject(f"{plural} such as {some}" if plural else f"{name}: {some}", ())
    part = _find_shared_part(shares.words)
    if part:
        return part
    for name, words in members.items():
        plural = find_plural(name) if name and len(words) > 1 else None
        if plural and by_kind and sum_shares(shares.words, words) >= PART:
            others = next((word for word in members.get("", ())), None)
            some = show_all([*words[: MOST_TOKENS - 1], *([others] if others else [])], "and")
            return _Subject(f"{plural} and other words such as {some}", ())
    kind = next((name for name, share in shares.kinds.items() if by_kind and share >= KIND_SHARE), None)
    return _Subject(f"{kind} such as {show_all(_list_some(shares, kind)[:MOST_TOKENS], 'and')}", ()) if kind else None


def _find_shared_part(words: Mapping[str, float]) -> _Subject | None:
    """The letters with which most of the words end or begin, where these are several words."""
    for length in range(MAX_PART, 1, -1):
        for verb, cut in (("end in", slice(-length, None)), ("begin with", slice(length))):
            members: dict[str, list[str]] = {}
            for word in rank(words):
                if len(word) > length and word.isalpha():
                    members.setdefault(word[cut].lower(), []).append(word)
            for part, sharing in members.items():
                several = len(sharing) >= MOST_TOKENS and words[sharing[0]] <= sum_shares(words, sharing) / 2
                if several and sum_shares(words, sharing) >= COVER and (length > 2 or part in ENDINGS):
                    return _Subject(f"words that {verb} {show_token(part)}: {show_all(sharing[:MOST_TOKENS])}", ())
    return None


def _list_some(shares: FiringShares, group: str) -> list[str]:
    """The words, or of signs the tokens, that belong to a kind or contain a token, the most frequent first."""
    own = {word: share for (name, word), share in shares.pairs.items() if name == group}
    distinct: dict[str, str] = {}
    for word in rank(own):
        distinct.setdefault(word.casefold(), word)
    return list(distinct.values())


def _select_named(shares: Mapping[str, float], usual: Mapping[str, float]) -> list[str]:
    """The few tokens worth naming: they have much of the mass, and more than in the corpus."""
    ranked = rank(shares)[:MOST_TOKENS]
    return [name for name in ranked if shares[name] >= MIN_SHARE and shares[name] >= MIN_LIFT * usual.get(name, 0.0)]
