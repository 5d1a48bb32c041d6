"""Texts as people read them: shortened, quoted. Pure."""

from __future__ import annotations


def shorten(text: str | None, most: int = 60) -> str:
    if text is None:
        return "(no label)"
    return repr(text if len(text) <= most else text[: most - 1] + "…")
