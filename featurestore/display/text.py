"""Texts as people read them in one line. Pure."""

from __future__ import annotations


def shorten(text: str, most: int = 60) -> str:
    """Return `text`, cut to `most` characters; an ellipsis stands for what is cut off."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def quote_label(label: str | None, most: int = 60) -> str:
    """Return a label in quotation marks, shortened to `most` characters; "(no label)" for None."""
    return "(no label)" if label is None else repr(shorten(label, most))


def first_line(error: BaseException | str, most: int = 200) -> str:
    """Return the first line with text of an error's message, at most `most` characters; without one its type's name."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:most]
