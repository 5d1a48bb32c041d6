"""JSON objects in a text, also as models write them: Python dicts, single quotes, trailing commas, lone backslashes.

Pure: knows nothing of replies or labels.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

MAX_DEPTH = 40  # of values in values
MAX_STEPS = 500_000  # characters of strings and values that are read in one text, some of them many times
MAX_COMMENT = 2000  # characters of a comment
_QUOTES = {'"': '"', "'": "'", "“": '”"“', "‘": "’'", "„": '“”"', "«": "»", "`": "`"}
_CONSTANTS = {
    "true": True,
    "false": False,
    "null": None,
    "none": None,
    "nan": float("nan"),
    "infinity": float("inf"),
    "undefined": None,
    "yes": True,
    "no": False,
}
# Blanks, also as escapes that a model or a server left between members, and comments
_SPACE = re.compile(rf"(?:\s|\\[nrt](?=[\s\\{{}}\"'\[\],])|//[^\n]*|/\*.{{0,{MAX_COMMENT}}}?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])")
_WORD = re.compile(r"-?[A-Za-z_]\w*")
_LETTERS = re.compile("[A-Za-z]+")
_LOW_HALF = re.compile(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "/": "/", "\\": "\\", "'": "'"}
_MARKDOWN_ESCAPES = frozenset("_*`$#")
# Commands of LaTeX that begin like an escape of JSON; \f and \b are always taken for LaTeX: no label has form feeds.
_LATEX = frozenset(
    [
        "nabla",
        "ne",
        "neq",
        "neg",
        "nu",
        "not",
        "notin",
        "newline",
        "ni",
        "nmid",
        "nleq",
        "ngeq",
        "rho",
        "right",
        "rightarrow",
        "rangle",
        "rceil",
        "rfloor",
        "rm",
        "rbrace",
        "Re",
        "text",
        "textbf",
        "textit",
        "texttt",
        "textrm",
        "textsf",
        "textsc",
        "tau",
        "theta",
        "times",
        "to",
        "tan",
        "tanh",
        "tilde",
        "top",
        "triangle",
        "tfrac",
        "tag",
        "tbinom",
        "therefore",
    ]
)
_AFTER_VALUE = re.compile(r"""\s*(?:[}\]]|,\s*+(?:["'“‘„]?+[\w -]++["'”’“]?+\s*:|[}\]]|\Z))""")
_AFTER_ITEM = re.compile(r"\s*[,\]]")
_AFTER_KEY = re.compile(r"\s*[:：]")
_AROUND_KEYS = " \t\n\"'*`:_"
_STRING_PREFIX = re.compile(r"[urfbURFB]{1,2}(?=[\"'])")
# Between two strings that are one: a plus sign, or a line break.
_JOINED = re.compile(r"(?:\s*\+|[^\S\n]*\n)\s*(?=[\"'])")
# A string with bare quotes in it that runs into another object or key was never closed.
_RUNAWAY = re.compile(r"""\{\s*["'“]|["'”]\s*:\s*["'\[{\d]""")


class FoundObject(NamedTuple):
    """An object in a text: text[start:end]."""

    start: int
    end: int
    value: dict[str, Any]


def find_objects(text: str, *, repair: bool = True, ended: bool = True) -> list[FoundObject]:
    """Return the outermost objects in a text, in their order.

    With `repair` quotes that were not escaped are guessed, and where the text `ended` by itself closing braces that it
    lacks at its end are added. Backslashes that begin no escape of JSON stand for themselves.
    """
    found: list[FoundObject] = []
    at, steps = text.find("{"), MAX_STEPS
    last = _find_last(text) if ended and repair else None
    while at >= 0 and steps > 0:
        for guess in (False, True) if repair else (False,):
            parser = _Parser(text, guess, last, steps)
            try:
                value, end = parser.parse_object(at, 0)
            except _TooDeep as exc:
                # Each of the objects around it is too deep as well: the next one that is tried begins here.
                at = max(at, exc.at - 1)
                break
            except _BrokenJson:
                continue
            finally:
                steps = parser.steps - 1
            found.append(FoundObject(at, end, value))
            break
        at = text.find("{", found[-1].end if found and found[-1].start == at else at + 1)
    return found


def _find_last(text: str) -> int:
    """Where the blanks and backticks at the end of a text begin."""
    at = len(text)
    while at and (text[at - 1] == "`" or text[at - 1].isspace()):
        at -= 1
    return at


def parse_value(text: str) -> tuple[bool, Any]:
    """Return whether the whole text is one JSON value that is no object, and the value."""
    parser = _Parser(text, False, None)
    try:
        value, end = parser.parse_value(0, 0, _AFTER_ITEM)
    except _BrokenJson:
        return False, None
    return not text[end:].strip(), value


def collect_values(value: Any, name: str) -> list[Any]:
    """Return the values called `name`, whatever its case: the object's own, or else those of objects in it."""
    if isinstance(value, dict):
        own = [item for key, item in value.items() if key.strip(_AROUND_KEYS).lower() == name]
        if not own:
            return [found for item in value.values() for found in collect_values(item, name)]
        inner = collect_values(own[-1], name) if isinstance(own[-1], dict) else []
        return inner or own[-1:]
    if isinstance(value, list):
        return [found for item in value for found in collect_values(item, name)]
    return []


class _BrokenJson(Exception):
    """The text is no JSON from there on."""


class _TooDeep(_BrokenJson):
    """Values in values in values, down to the one at `at`."""

    def __init__(self, at: int):
        super().__init__()
        self.at = at


class _Parser:
    """Reads one value of a text. `guess`: a quote ends a string only where the value may end.

    From `last` on only blanks and backticks follow, where the text ended by itself; None where it did not.
    """

    def __init__(self, text: str, guess: bool, last: int | None, steps: int = MAX_STEPS):
        self.text, self.guess, self.last, self.steps = text, guess, last, steps

    def parse_object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        """Return the object that begins at `at`, and where it ends."""
        members: dict[str, Any] = {}
        at = self._skip(at + 1)
        while True:
            if self._at_end(at, "}"):
                return members, min(at + 1, len(self.text))
            key, at = self._parse_key(at)
            at = self._skip(at)
            if self.text[at : at + 1] not in (":", "："):
                raise _BrokenJson
            members[key], at = self.parse_value(at + 1, depth + 1, _AFTER_VALUE)
            at = self._skip(at)
            if self.text[at : at + 1] in (",", "，"):
                at = self._skip(at + 1)
            elif not self._at_end(at, "}"):
                raise _BrokenJson

    def parse_value(self, at: int, depth: int, after: re.Pattern[str]) -> tuple[Any, int]:
        """Return the value at `at`, and where it ends; `after` matches what may follow it."""
        self.steps -= 10
        at = self._skip(at)
        if depth > MAX_DEPTH:
            raise _TooDeep(at)
        if self.steps < 0:
            raise _BrokenJson
        character = self.text[at : at + 1]
        if character == "{":
            return self.parse_object(at, depth)
        if character == "[":
            return self._parse_list(at, depth)
        prefix = _STRING_PREFIX.match(self.text, at)
        if prefix or (character in _QUOTES and character):
            return self._parse_strings(prefix.end() if prefix else at, after)
        number = _NUMBER.match(self.text, at)
        if number:
            try:
                return (float if set(number[0]) & set(".eE") else int)(number[0]), number.end()
            except ValueError:  # thousands of digits
                raise _BrokenJson from None
        word = _WORD.match(self.text, at)
        if word and word[0].lower() in _CONSTANTS:
            return _CONSTANTS[word[0].lower()], word.end()
        raise _BrokenJson

    def _parse_list(self, at: int, depth: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        at = self._skip(at + 1)
        while not self._at_end(at, "]"):
            item, at = self.parse_value(at, depth + 1, _AFTER_ITEM)
            items.append(item)
            at = self._skip(at)
            if self.text[at : at + 1] == ",":
                at = self._skip(at + 1)
            elif not self._at_end(at, "]"):
                raise _BrokenJson
        return items, min(at + 1, len(self.text))

    def _parse_key(self, at: int) -> tuple[str, int]:
        if self.text[at : at + 1] in _QUOTES and at < len(self.text):
            return self._parse_string(at, _AFTER_KEY)
        word = _WORD.match(self.text, at)
        if not word:
            raise _BrokenJson
        return word[0], word.end()

    def _parse_strings(self, at: int, after: re.Pattern[str]) -> tuple[str, int]:
        """Return the string at `at` with those that are joined to it."""
        value, at = self._parse_string(at, after)
        joined = None if self.guess else _JOINED.match(self.text, at)
        while joined:
            part, at = self._parse_string(joined.end(), after)
            value, joined = value + part, _JOINED.match(self.text, at)
        return value, at

    def _parse_string(self, at: int, after: re.Pattern[str]) -> tuple[str, int]:
        text, begin = self.text, at
        opening = text[at] * 3 if text[at] in "\"'" and text.startswith(text[at] * 3, at) else text[at]
        closing = opening if len(opening) == 3 else ""
        parts: list[str] = []
        at += len(opening)
        while at < len(text):
            self.steps -= 1
            if self.steps < 0:
                break
            character = text[at]
            if character == "\\" and at + 1 < len(text):
                part, at = _parse_escape(text, at)
                parts.append(part)
                continue
            if closing and text.startswith(closing, at):
                return "".join(parts), at + 3
            if not closing and character in _QUOTES[text[begin]] and self._may_end(at + 1, after):
                content = "".join(parts)
                if self.guess and _RUNAWAY.search(content):
                    raise _BrokenJson
                return content, at + 1
            parts.append(character)
            at += 1
        raise _BrokenJson

    def _may_end(self, at: int, after: re.Pattern[str]) -> bool:
        """Whether a quote before `at` ends a string."""
        if not self.guess or after.match(self.text, at):
            return True
        return self.last is not None and at >= self.last

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        if not match or self.steps < 0:
            return at
        # Each comment that does not end was looked at up to its limit.
        unclosed = self.text.startswith("/*", match.end())
        self.steps -= match.end() - at + (MAX_COMMENT if unclosed else 0)
        return match.end()

    def _at_end(self, at: int, bracket: str) -> bool:
        return self.text[at : at + 1] == bracket or (self.last is not None and at >= self.last)


def _parse_escape(text: str, at: int) -> tuple[str, int]:
    """Return the text of an escape that begins at `at`, and where it ends."""
    letter = text[at + 1]
    if letter == "u":
        digits = text[at + 2 : at + 6]
        if re.fullmatch(r"[0-9a-fA-F]{4}", digits):
            return _join_surrogates(text, at, int(digits, 16))
    word = _LETTERS.match(text, at + 1)
    if word and word[0] in _LATEX:
        return "\\" + letter, at + 2
    if letter in _ESCAPES:
        return _ESCAPES[letter], at + 2
    if letter in _MARKDOWN_ESCAPES:
        return letter, at + 2
    return "\\", at + 1


def _join_surrogates(text: str, at: int, code: int) -> tuple[str, int]:
    r"""Return the character of \uXXXX, or of two of them that are halves of one; a lone half is U+FFFD."""
    if not 0xD800 <= code <= 0xDFFF:
        return chr(code), at + 6
    second = _LOW_HALF.match(text, at + 6)
    if code < 0xDC00 and second:
        return chr(0x10000 + ((code - 0xD800) << 10) + int(second[1], 16) - 0xDC00), at + 12
    return "\ufffd", at + 6
