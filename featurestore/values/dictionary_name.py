"""What a dictionary may be called: `model/source`; which names are alike. For writers, readers and graphs. Pure.

FeatureId.parse and schema.sql only take such names apart; both take every name that this rule takes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MOST_BYTES = 200  # of either word: each names a directory
# Spaces of every kind, controls, marks that cannot be seen, halves of characters, and what Unicode does not assign.
_REFUSED = frozenset(("Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"))


def find_name_problem(name: str) -> str | None:
    """Return why a text cannot be the name of a dictionary, or None."""
    words = name.split("/")
    if len(words) != 2:
        return "it is not of the form model/source"
    for word in words:
        if not word:
            return "a word of it is empty"
        if word.startswith("."):
            return "a word of it begins with a dot"
        problem = find_character_problem(word)
        if problem:
            return problem
        if len(word.encode()) > MOST_BYTES:
            return f"'{word:.40}...' has {len(word.encode())} bytes; {MOST_BYTES} are taken at most"
    return None


def find_character_problem(text: str) -> str | None:
    """Return which character of a text has no place in a name, or None."""
    if text.isascii() and text.isprintable() and " " not in text and "\\" not in text:
        return None
    for character in text:
        if " " < character <= "~" and character != "\\":
            continue
        if character == "\\" or unicodedata.category(character) in _REFUSED:
            return f"it holds the character U+{ord(character):04X}"
    return None


def find_alike(name: str, names: Iterable[str], case: bool = True) -> str | None:
    """Return one of `names` that people, and file systems of some machines, hold for the same as `name`, or None.

    Such names are other forms of the same characters in Unicode; with `case`, also capitals for small letters.
    """
    wanted = _fold(name, case)
    return next((other for other in names if other != name and _fold(other, case) == wanted), None)


def _fold(name: str, case: bool) -> str:
    if name.isascii():
        return name.casefold() if case else name
    plain = unicodedata.normalize("NFKC", name)
    return unicodedata.normalize("NFKC", plain.casefold()) if case else plain
