"""A look at a text of SQL before it is parsed: its length, its brackets, and how deep they and CASE nest.

DuckDB's parser takes quadratic time for deep nesting, exponential time for some unfinished texts, and cannot be
interrupted. This scan takes time linear in the text: microseconds for a condition.
"""

from __future__ import annotations

import re

from featurestore.errors import BadRequest

MOST_BRACKETS = 100  # open at once
MOST_CASES = 30
MOST_WITHS = 4  # one inside the other: each doubles the parser's time
CLOSING = {")": "(", "]": "[", "}": "{"}
# Texts, quoted names and comments as DuckDB reads them; then what nests. An unfinished one ends with the text.
_TOKEN = re.compile(
    r"(?P<skip>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|\"(?:[^\"]|\"\")*(?:\"|\Z)|--[^\r\n]*"
    r"|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))"
    r"|(?P<comment>/\*)|(?P<bracket>[()\[\]{}])|(?P<word>\b(?:case|end|with(?!\s+(?:time|ordinality)\b))\b)",
    re.IGNORECASE | re.DOTALL,
)


def check_text(text: str, most: int, name: str) -> None:
    """Raise BadRequest for a text of more than `most` characters, with brackets that do not match, or nested too deep.

    `name` says in the message what the text is.
    """
    if len(text) > most:
        raise BadRequest(f"{name}: it has {len(text):,} characters; {most:,} are taken at most")
    if "\0" in text:
        raise BadRequest(f"{name}: it holds a character of code 0")
    open_brackets: list[str] = []
    cases, withs, place = 0, 0, 0
    withs_outside: list[int] = []  # the number of WITHs around each open bracket
    while match := _TOKEN.search(text, place):
        place = match.end()
        if match["comment"]:
            place = _end_of_comment(text, match.end())
        elif bracket := match["bracket"]:
            if bracket in CLOSING:
                if not open_brackets or open_brackets.pop() != CLOSING[bracket]:
                    raise BadRequest(f"{name}: '{bracket}' at character {match.start() + 1} closes nothing")
                withs = withs_outside.pop()
            else:
                open_brackets.append(bracket)
                withs_outside.append(withs)
                if len(open_brackets) > MOST_BRACKETS:
                    raise BadRequest(f"{name}: more than {MOST_BRACKETS} brackets are open at once; nest less")
        elif word := (match["word"] or "").lower():
            cases = max(0, cases + {"case": 1, "end": -1}.get(word, 0))
            withs += word == "with"
            if cases > MOST_CASES:
                raise BadRequest(f"{name}: more than {MOST_CASES} CASE are nested; nest less")
            if withs > MOST_WITHS:
                raise BadRequest(f"{name}: more than {MOST_WITHS} WITH are nested; nest less")
    if open_brackets:
        raise BadRequest(f"{name}: '{open_brackets[-1]}' is never closed")


def _end_of_comment(text: str, place: int) -> int:
    """Return where a comment that began before `place` ends; comments nest, as DuckDB's do."""
    depth = 1
    for match in re.compile(r"/\*|\*/").finditer(text, place):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return len(text)
