"""How commands print what they return: tables for people, JSON lines for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from featurestore.display.numbers import format_value

if TYPE_CHECKING:
    from rich.console import Console


def print_json_lines(rows: Iterable[Any]) -> None:
    """Print one JSON object per line. NaN and infinity become null, times are in ISO 8601."""
    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


def print_table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> None:
    """Print rows as a table; `columns` maps keys to headings (default: the keys of the first row)."""
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    headings = columns or {key: key for row in rows[:1] for key in row}
    if not rows:
        click.echo("nothing found", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in headings.items():
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        # Long texts share the width that is left. Ids must stay whole, so that they can be copied.
        table.add_column(heading, justify="right" if numeric else "left", no_wrap=key in ("id", "dictionary"))
    for row in rows:
        table.add_row(*(Text(format_cell(row.get(key))) for key in headings))
    open_console().print(table)


def format_cell(value: object) -> str:
    """Return a value as a table shows it: floats with four significant digits."""
    return format_value(value, digits=4)


def open_console(stderr: bool = False) -> Console:
    """Return a rich console. It is wide when its output goes to a file or a pipe, so that nothing is cut there."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False)
