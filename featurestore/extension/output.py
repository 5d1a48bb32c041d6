"""How commands print what they return: tables for people, JSON lines for programs.

Labels, tokens and names come from anybody. All that a command prints goes through one of two gates, which show control
characters instead of sending them to the terminal: `guard_streams` for plain text, `open_console` for tables.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from featurestore.display.numbers import format_value
from featurestore.display.text import show_controls

MOST_ITEMS = 8  # of a list, in a cell
NESTED_WIDTH = 48  # characters of a list or a struct in a table; --expanded and --json show more
SHORT_COLUMN = 10  # characters that a column of a table needs, if its name is not shorter

if TYPE_CHECKING:
    from rich.console import Console
    from rich.segment import Segment


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
        nested = any(isinstance(row.get(key), list | tuple | dict) for row in rows)
        table.add_column(
            heading,
            justify="right" if numeric else "left",
            no_wrap=nested or key in ("id", "dictionary"),
            max_width=NESTED_WIDTH if nested else None,
        )
    for row in rows:
        table.add_row(*(Text(format_cell(row.get(key))) for key in headings))
    open_console().print(table)


def print_expanded(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows one below the other, a column a line."""
    from rich.text import Text

    console = open_console()
    for number, row in enumerate(rows, 1):
        console.print(Text(f"row {number:,}", style="bold"))
        width = max(map(len, row), default=0)
        for name, value in row.items():
            console.print(Text(f"  {name:{width}}  {format_cell(value)}"), no_wrap=True, overflow="ellipsis")


def fit_columns(names: Iterable[str]) -> bool:
    """Whether a table with columns of these names can be read at the terminal's width."""
    return sum(min(len(name), SHORT_COLUMN) + 2 for name in names) <= open_console().width


def format_cell(value: object) -> str:
    """Return a value as a table shows it, in one line: floats with four digits, long lists by their first values."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_format_item(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        more = f", … {len(value):,} in all" if len(value) > MOST_ITEMS else ""
        return "[" + ", ".join(map(_format_item, value[:MOST_ITEMS])) + more + "]"
    return format_value(value, digits=4).replace("\r", "␍").replace("\n", "⏎").replace("\t", "⇥")


def _format_item(value: object) -> str:
    """Return a value within a list or a struct: texts in quotes, so that spaces at their ends can be seen."""
    return f"'{format_cell(value)}'" if isinstance(value, str) else format_cell(value)


def open_console(stderr: bool = False) -> Console:
    """Return a rich console. It is wide when its output goes to a file or a pipe, so that nothing is cut there."""
    from rich.console import Console

    class SafeConsole(Console):
        """A console on which only its own styles are control sequences, never the text."""

        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            return super()._render_buffer(
                part if part.control else part._replace(text=show_controls(part.text)) for part in buffer
            )

    stream = sys.stderr if stderr else sys.stdout
    file = getattr(stream, "unguarded", stream)
    return SafeConsole(file=file, width=None if stream.isatty() else 200, highlight=False)


class GuardedStream(io.TextIOWrapper):
    """A stream of text on which control characters are shown, not sent. Bytes, through `buffer`, are not changed."""

    def __init__(self, stream: Any):
        stream.flush()
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors="backslashreplace", newline="", line_buffering=True
        )
        self.unguarded = stream
        self._name = getattr(stream, "name", "")

    @property
    def name(self) -> str:
        return self._name

    def write(self, text: str) -> int:
        return super().write(show_controls(text))


@contextlib.contextmanager
def guard_streams() -> Iterator[None]:
    """Let whatever is printed inside reach standard output and standard error without control characters."""
    outside = sys.stdout, sys.stderr
    for name, stream in zip(("stdout", "stderr"), outside, strict=True):
        if hasattr(stream, "buffer") and not isinstance(stream, GuardedStream):
            guarded = GuardedStream(stream)
            _guarded.append(guarded)
            setattr(sys, name, guarded)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            # The reader of a pipe may be gone, and a service may have closed its output.
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        sys.stdout, sys.stderr = outside


# A logger that was made meanwhile writes to its stream also afterwards, and a stream that is forgotten is closed.
_guarded: list[GuardedStream] = []
