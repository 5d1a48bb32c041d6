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
