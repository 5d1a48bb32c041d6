"""Texts as people read them in one line. Pure."""

from __future__ import annotations


def shorten(text: str, most: int = 60) -> str:
    """Return `text`, cut to `most` characters; an ellipsis stands for what is cut off."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def quote_label(label: str | None, most: int = 60) -> str:
    """Return a label in quotation marks, shortened to `most` characters; "(no label)" for None."""
    return "(no label)" if label is None else repr(shorten(label, most))


def first_line(error: BaseException | str, most: int = 200) -> str:
    """Return the first line of an error's text that is not blank, at most `most` characters; its type's name if it has no text."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)[:most]
