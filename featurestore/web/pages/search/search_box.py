"""What was typed or pasted into the search box: words, an id, a dictionary, a vector or a piece of text. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, NamedTuple

from featurestore.values.feature import id_text

SHORTEST_VECTOR = 4  # numbers; fewer are words
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
ID = re.compile(r"[^/\s]+/[^/\s]+/[0-9]{1,9}")
# Signs that a text is code or a passage rather than a question.
CODE = re.compile(r"[;{}=]|\w\(|\)\s*:|^\s*(def|class|import|from|return|raise|if|for|while)\s.*[.:(]")
MANY_WORDS = 14


class Typed(NamedTuple):
    """What was typed: its kind, and what is asked with it. A snippet is searched for too, and may be run."""

    kind: Literal["words", "feature", "dictionary", "vector", "snippet", "passage"]
    value: str = ""
    vector: tuple[float, ...] = ()


def read_typed(text: str, dictionaries: Collection[str]) -> Typed:
    """Return what a text is. A passage has several lines; `dictionaries` are the ids of the store's."""
    stripped = text.strip()
    address = re.fullmatch(r"https?://[^/\s]+/(?:features/)?([^/\s]+/[^/\s]+/[0-9]{1,9})(?:[?#]\S*)?", stripped)
    id = id_text(address[1] if address else stripped)
    if ID.fullmatch(id):
        return Typed("feature", id)
    if stripped in dictionaries:
        return Typed("dictionary", stripped)
    vector = _read_vector(stripped)
    if vector:
        return Typed("vector", vector=vector)
    if "\n" in stripped:
        return Typed("passage", text)
    is_snippet = CODE.search(stripped) or len(stripped.split()) >= MANY_WORDS
    return Typed("snippet" if is_snippet else "words", stripped)


def _read_vector(text: str) -> tuple[float, ...]:
    """Return the numbers of a text that is nothing else: a list, an array as it is printed, or a line of numbers."""
    inside = re.sub(r"^(?:\w+\.)?(?:array|tensor)?\(?\s*\[|\]\s*(?:,\s*dtype=[\w.]+)?\s*\)?$", " ", text)
    parts = [part for part in re.split(r"[,\s]+", inside) if part]
    if len(parts) < SHORTEST_VECTOR or not all(NUMBER.fullmatch(part) for part in parts):
        return ()
    return tuple(map(float, parts))
