"""Numbers in few characters, the same on pages, in notebooks and in tables of the command line. Pure."""

from __future__ import annotations

from typing import Any

NONE = "–"  # what is shown for no value


def format_value(value: Any, digits: int = 3) -> str:
    """Return a value in few characters: 1,234 for an int, `digits` significant digits of a float, else its text.

    None is a dash, a bool "yes" or "no".
    """
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return str(value)


def format_percent(share: float | None) -> str:
    """Return a share (0 to 1) as a percentage that is readable from 100 % to 0.0001 %; a dash for None."""
    if share is None:
        return NONE
    if share == 0 or share >= 0.1:
        return f"{100 * share:.0f} %"
    digits = f"{100 * share:.2g}"
    return f"{float(digits):.10f}".rstrip("0").rstrip(".") + " %" if "e" in digits else f"{digits} %"
