"""The cells of a table of rows, as a page shows them: long ones cut, with the rest to open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from featurestore.display.text import show_controls

SHORT = 160  # characters of a cell that are shown
LONG = 20_000  # characters of a cell that can be opened
PAGE_CHARACTERS = 50_000  # of all cells together: at most some 40 kB over the wire


class Cell(NamedTuple):
    """One value: what is shown, what follows where it is opened, how many characters even then are left out."""

    text: str
    rest: str = ""
    omitted: int = 0
    is_null: bool = False


def make_rows(rows: Sequence[Sequence[Any]]) -> list[list[Cell]]:
    """Return the cells of the first rows: as many as have PAGE_CHARACTERS together, at least one."""
    shown: list[list[Cell]] = []
    characters = 0
    for row in rows:
        cells = [make_cell(value) for value in row]
        characters += sum(len(cell.text) + len(cell.rest) for cell in cells)
        if shown and characters > PAGE_CHARACTERS:
            break
        shown.append(cells)
    return shown


def make_cell(value: Any) -> Cell:
    """Return the cell of a value; what is cut begins where the shown characters end."""
    text = show_controls(write_value(value))
    if len(text) <= SHORT + 20:  # nobody opens a cell for a word
        return Cell(text, is_null=value is None)
    return Cell(text[:SHORT], text[SHORT:LONG], max(0, len(text) - LONG))


def write_value(value: Any) -> str:
    """Return a value as text: floats with six significant digits, lists and structs as JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(_round(value), ensure_ascii=False, default=str)
    return str(value)


def _round(value: Any) -> Any:
    """Return the value with the floats in it rounded to six significant digits, for reading."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list | tuple):
        return [_round(item) for item in value]
    if isinstance(value, dict):
        return {str(name): _round(item) for name, item in value.items()}
    return value
