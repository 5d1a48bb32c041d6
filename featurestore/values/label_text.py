"""What a label may be: one line of text in any language. One rule, for labels of people, of models and of files.

Pure: knows nothing of features or of who wrote the label.
"""

from __future__ import annotations

import unicodedata

from featurestore.errors import BadRequest

MOST_LABEL, MOST_NAME = 10_000, 200  # characters of a label, and of the name of an explainer, a prompt or a voter
_REFUSED_CATEGORIES = {
    "Cc": "a control character",
    "Cs": "half of a character (a lone surrogate)",
    "Zl": "a line break",
    "Zp": "a line break",
}
_LINE_BREAKS = frozenset("\n\r\v\f\x85")
# They reverse or isolate the order of what stands after them, also outside of the label. Marks (U+200E, U+200F, U+061C)
# and joiners (U+200C, U+200D) only concern their neighbours: languages and emoji need them.
_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_INVISIBLE = frozenset(("Zs", "Cf", "Mn", "Me"))


def parse_line(name: str, text: str, most: int) -> str:
    """Return `text` without white space around it. `name` says in messages what it is, as in "label".

    Raises BadRequest, which names the offending character, unless it is one line of 1 to `most` characters.
    """
    if not isinstance(text, str):
        raise BadRequest(f"{name}: {text!r:.80} is no text")
    line = text.strip()
    problem = find_problem(line, most)
    if problem:
        raise BadRequest(f"{name}: {problem}")
    return line


def find_problem(line: str, most: int = MOST_LABEL) -> str | None:
    """Return why a text is not one line that can be shown, or None."""
    if len(line) > most:
        return f"it has {len(line):,} characters; {most:,} are taken at most"
    for character in line:
        reason = _describe_refusal(character)
        if reason:
            return f"{line!r:.80} is not one line of text that can be shown: it has {reason}, U+{ord(character):04X}"
    if all(unicodedata.category(character) in _INVISIBLE for character in line):
        return "it is empty"
    return None


def _describe_refusal(character: str) -> str | None:
    if " " <= character <= "~":
        return None
    if character in _LINE_BREAKS:
        return "a line break"
    if character in _DIRECTION:
        return "a control of the direction of text"
    if ord(character) & 0xFFFE == 0xFFFE:
        return "no character"
    return _REFUSED_CATEGORIES.get(unicodedata.category(character))
