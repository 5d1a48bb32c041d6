"""The word that a token is a piece of, and words written as a label names them. Pure: knows nothing of features."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from labeler.explainers.character_names import is_pictograph, join_names, name_blanks, name_signs, split_signs

MAX_WORD = 24  # characters of one word that are shown
# Scripts that are written without spaces between words: a piece is not a piece of the whole line.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_SHOWN_RUN = re.compile(r"[^\W_]+(?:['’.\-_/+][^\W_]+)*")
_JOINERS = "\u200c\u200d"


def is_letter(character: str) -> bool:
    """Whether a character is of a word: a letter, a digit, a mark on one, or a joiner within one."""
    return character.isalnum() or character in _JOINERS or unicodedata.category(character).startswith("M")


def find_left(before: str, token: str, joined: str = "") -> str:
    """Return the part of the token's word that stands before it; `joined` are further characters of words: "_"."""
    if not token or not _continues(token[0], joined):
        return ""
    at = len(before)
    while at and _continues(before[at - 1], joined):
        at -= 1
    return before[at:]


def find_right(after: str, token: str, joined: str = "") -> str:
    """Return the part of the token's word that stands after it."""
    if not token or not _continues(token[-1], joined):
        return ""
    at = 0
    while at < len(after) and _continues(after[at], joined):
        at += 1
    return after[:at]


def _continues(character: str, joined: str) -> bool:
    return (is_letter(character) or character in joined) and not _UNSPACED.match(character)


def has_letters(text: str) -> bool:
    """Whether a text has a letter or a digit."""
    return any(character.isalnum() for character in text)


def show_token(token: str) -> str:
    """Return a token as a sentence names it: a word in quotes, signs and white space by their names."""
    bare = token.strip()
    if not bare:
        return name_blanks(token)
    if not has_letters(bare):
        return name_signs(bare)
    if _SHOWN_RUN.fullmatch(bare) or all(is_letter(character) or character in "_-.'’/+" for character in bare):
        return f'"{shorten_word(bare)}"'
    return join_names(_name_runs(bare))


def _name_runs(text: str) -> list[str]:
    """The names of what a token is made of, in its order: signs by name, words in quotes."""
    names, at = [], 0
    for match in _SHOWN_RUN.finditer(text):
        names += [name_signs(sign) for sign in split_signs(text[at : match.start()])]
        names.append(f'"{shorten_word(match[0])}"')
        at = match.end()
    names += [name_signs(sign) for sign in split_signs(text[at:])]
    return names[:5]


def show_all(tokens: Sequence[str], last: str = "or") -> str:
    """Return tokens as a list in a sentence, each shown once."""
    return join_names(list(dict.fromkeys(map(show_token, tokens))), last)


def rank(shares: Mapping[str, float]) -> list[str]:
    """Return what has shares, the largest share first."""
    return sorted(shares, key=lambda name: (-shares[name], name))


def sum_shares(shares: Mapping[str, float], names: Iterable[str]) -> float:
    """Return the share of these names together."""
    return sum(shares.get(name, 0.0) for name in names)


def shorten_word(word: str) -> str:
    """Return a word of at most 24 characters, as a text of one line."""
    return shorten("".join(character if character.isprintable() else " " for character in word), MAX_WORD)


def shorten(text: str, length: int) -> str:
    """Return a text of at most this many characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def describe_kind(token: str, left: str, right: str) -> str:
    """Return what sort of token it is, in plain words and in the plural."""
    bare = token.strip()
    if not bare:
        return "line breaks and indentation" if "\n" in token or "\r" in token else "spaces"
    if bare.isdigit():
        return "numbers" if not left and not right else "digits within names"
    if not has_letters(bare):
        return "emoji and symbols" if is_pictograph(bare) else "punctuation"
    if left:
        return "endings of words" if not right else "middles of words"
    if bare.isupper() and len(bare) > 1:
        return "upper-case names" if not right else "beginnings of words"
    if right:
        return "beginnings of words"
    return "capitalised words" if bare[0].isupper() else "lower-case words" if bare[0].islower() else "words"
