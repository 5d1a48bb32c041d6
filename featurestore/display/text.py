"""Texts as people read them in one line. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

# What moves a terminal's cursor, sets its colours or title, or turns the order of what stands after it around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def shorten(text: str, most: int = 60) -> str:
    """Return `text`, cut to `most` characters; an ellipsis stands for what is cut off."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def quote_label(label: str | None, most: int = 60) -> str:
    """Return a label in quotation marks, shortened to `most` characters; "(no label)" for None."""
    return "(no label)" if label is None else repr(shorten(label, most))


def describe_state(feature: Any) -> str:
    """Return the state of a feature, and that it is structural if it is."""
    return f"{feature.state}, structural" if feature.structural else str(feature.state)


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like `name`, in its spelling or, after a slash, in its end; None if none is."""
    known = list(names)
    ends = [other for other in known if other.endswith(f"/{name}")]
    if len(ends) == 1:
        return ends[0]
    by_lower = {other.lower(): other for other in known}
    alike = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return by_lower[alike[0]] if alike else None


def suggest(name: str, names: Iterable[str]) -> str:
    """Return ", did you mean X?" for the name that is most like `name`, or "" when none is."""
    nearest = nearest_name(name, names)
    return f", did you mean {nearest}?" if nearest else ""


def first_line(error: BaseException | str, most: int = 200) -> str:
    """Return the first line with text of an error's message, at most `most` characters; without one its type's name."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:most]


def show_controls(text: str) -> str:
    """Return a text that a terminal shows as it is: controls but tab and line feed as JSON escapes, like \\u001b."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
