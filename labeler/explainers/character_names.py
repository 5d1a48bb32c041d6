"""Names of characters that are not letters: a reader knows "opening parenthesis and quote" better than ("'.

Pure: knows nothing of features.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

MOST_NAMED = 4  # characters or signs of one token; of a longer one its beginning is named
_SIGNS: dict[str, str] = {
    "(": "opening parenthesis",
    ")": "closing parenthesis",
    "()": "empty parentheses",
    "[": "opening square bracket",
    "]": "closing square bracket",
    "[]": "empty square brackets",
    "{": "opening brace",
    "}": "closing brace",
    "{}": "empty braces",
    "<": "less-than sign",
    ">": "greater-than sign",
    "</": "beginning of a closing tag",
    "/>": "end of an empty tag",
    "<!--": "beginning of a comment of markup",
    "-->": "end of a comment of markup",
    ":": "colon",
    "::": "double colon",
    ":=": "walrus operator",
    ",": "comma",
    ".": "dot",
    "..": "two dots",
    "...": "ellipsis",
    "…": "ellipsis",
    ";": "semicolon",
    "=": "equals sign",
    "+=": "in-place addition sign",
    "-=": "in-place subtraction sign",
    "==": "equality sign",
    "===": "strict equality sign",
    "!=": "inequality sign",
    "<=": "less-or-equal sign",
    ">=": "greater-or-equal sign",
    "->": "arrow",
    "=>": "double arrow",
    ">>>": "interactive prompt",
    "&&": "logical and sign",
    "||": "logical or sign",
    "//": "double slash",
    "/*": "beginning of a block comment",
    "*/": "end of a block comment",
    "+": "plus sign",
    "-": "hyphen",
    "--": "double hyphen",
    "*": "star",
    "**": "double star",
    "/": "slash",
    "%": "percent sign",
    "|": "vertical bar",
    "&": "ampersand",
    "^": "caret",
    "~": "tilde",
    "_": "underscore",
    "__": "double underscore",
    "#": "hash sign",
    "@": "at sign",
    "$": "dollar sign",
    "!": "exclamation mark",
    "?": "question mark",
    '"""': "docstring quotes",
    "'''": "docstring quotes",
    '"': "double quote",
    "'": "single quote",
    "’": "apostrophe or closing quote",
    "‘": "opening single quote",
    "“": "opening double quote",
    "”": "closing double quote",
    "«": "opening guillemet",
    "»": "closing guillemet",
    "`": "backquote",
    "```": "code fence",
    "\\": "backslash",
    "–": "dash",
    "—": "dash",
    "•": "bullet",
    "。": "ideographic full stop",
    "،": "Arabic comma",
    "؟": "Arabic question mark",
    "।": "danda (full stop)",
    "\u200b": "zero-width space",
    "\u200c": "zero-width non-joiner",
    "\u200d": "zero-width joiner",
    "\ufeff": "byte order mark",
    "\ufffd": "broken character",
    "\u00ad": "soft hyphen",
    "\t": "tab",
    "\r\n": "line break",
}
_ROLES = {
    "=": "assignment",
    "+=": "assignment",
    "==": "equality test",
    "!=": "inequality test",
    "<": "comparison",
    ">": "comparison",
    "<=": "comparison",
    ">=": "comparison",
    "+": "addition",
    "-": "minus",
    "%": "string formatting",
    "#": "comment",
    "@": "decorator",
    "->": "return type annotation",
    "\\": "escape",
    ">>>": "example in documentation",
    "__": "special names",
    "```": "code block",
    "</": "markup",
}
_LONGEST = max(map(len, _SIGNS))
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_SPACES_BY_NAME = {" ": "space", "\t": "tab", "\u3000": "ideographic space", "\xa0": "no-break space"}


def name_blanks(text: str) -> str:
    """Return the name of a text of white space: "line break", "blank line and indentation", "8 spaces"."""
    breaks = list(_LINE_BREAK.finditer(text))
    if not breaks:
        names = {_SPACES_BY_NAME.get(character, "space") for character in text}
        name = names.pop() if len(names) == 1 else "space"
        return name if len(text) == 1 else f"{len(text)} {name}s"
    name = ("line break", "blank line")[len(breaks) - 1] if len(breaks) <= 2 else "blank lines"
    return f"{name} and indentation" if text[breaks[-1].end() :] else name


def name_signs(text: str) -> str:
    """Return the names of a text without letters and digits: "opening parenthesis and single quote", "16 hyphens".

    Of a long one only the beginning is named.
    """
    text = text.strip() or text
    if text in _SIGNS:
        return _SIGNS[text]
    if len(text) > 2 and len(set(text)) == 1:
        return f"row of {len(text)} {_pluralise(_name_sign(text[0]))}"
    if text.isspace():
        return name_blanks(text)
    names = [_name_sign(sign) for sign in split_signs(text)]
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and more"
    return join_names(names)


def describe_sign_role(sign: str) -> str | None:
    """Return what a sign is for in code, in plain words; None when that is not known or plain from its name."""
    return _ROLES.get(sign.strip())


def split_signs(text: str) -> list[str]:
    """Return the signs in a text, each as long as one that has a name; characters without one stand alone."""
    signs, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        lengths = (length for length in range(min(_LONGEST, len(text) - at), 1, -1) if text[at : at + length] in _SIGNS)
        length = next(lengths, 0) or _measure_character(text, at)
        signs.append(text[at : at + length])
        at += length
    return signs


def join_names(names: Sequence[str], last: str = "and") -> str:
    """Return names as a list in a sentence: "a, b and c"; the same name many times in a row is said once."""
    distinct = [name for at, name in enumerate(names) if not at or name != names[at - 1]]
    if len(distinct) < 2:
        return "".join(distinct)
    return f"{', '.join(distinct[:-1])} {last} {distinct[-1]}"


def is_pictograph(text: str) -> bool:
    """Whether a text has an emoji or another symbol that is read as a picture."""
    return any(unicodedata.category(character) == "So" for character in text)


def _measure_character(text: str, at: int) -> int:
    """The number of code points of the character at `at`, with what is joined to it: marks, joiners, skin tones."""
    end = at + 1
    while end < len(text):
        joined = text[end - 1] == "\u200d" or text[end] in "\u200d\ufe0f\ufe0e\u20e3"
        tone = 0x1F3FB <= ord(text[end]) <= 0x1F3FF
        if not joined and not tone and not unicodedata.category(text[end]).startswith("M"):
            break
        end += 1
    return end - at


def _name_sign(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    try:
        name = unicodedata.name(sign[0]).lower()
    except ValueError:
        return "control character" if unicodedata.category(sign[0]) == "Cc" else f"character U+{ord(sign[0]):04X}"
    return f"{sign} ({name})" if is_pictograph(sign) else name


def _pluralise(name: str) -> str:
    if name.endswith("is"):
        return f"{name[:-2]}es"
    return name if name.endswith("s") else f"{name}es" if name.endswith("sh") else f"{name}s"
