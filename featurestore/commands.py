"""What every command shares: the store and json options, tables and JSON lines, progress, and errors as one line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import click
import msgspec

from featurestore.errors import FeatureStoreError

store_option = click.option(
    "--store",
    envvar="FEATURESTORE",
    default="features",
    show_default=True,
    metavar="PATH_OR_URL",
    help="The store: a directory, an s3:// prefix, or the URL of a service. Also taken from $FEATURESTORE.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line instead of a table.")


class Group(click.Group):
    """A command group that finds siblings' commands by entry point and prints errors as one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_entry_points()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        found = super().get_command(ctx, name)
        if found is None and name in _entry_points():
            try:
                found = _entry_points()[name].load()
            except ImportError as exc:
                raise click.ClickException(
                    f"the command {name} needs {exc.name}: pip install 'featurestore[all]'"
                ) from None
        return found

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FeatureStoreError as exc:
            click.echo(f"error: {exc}", err=True)
            ctx.exit(exc.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted; nothing half-written is left", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output, `head` say, has what it wanted
            ctx.exit(0)


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="featurestore.commands")}


def json_lines(rows: Iterable[Any]) -> None:
    """Print one JSON object a line; NaN and infinity become null, times are in ISO 8601."""
    for row in rows:
        click.echo(msgspec.json.encode(row).decode())


def local(location: str) -> Any:
    """The store in a directory of this machine or on an object store. Raises BadRequest for a service: writing is local."""
    from featurestore import BadRequest, connect

    if location.startswith(("http://", "https://")):
        raise BadRequest(f"{location} is a service, and writing is local: name the store's directory")
    return connect(location)


def table(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str] | None = None) -> None:
    """Print rows as a table for people; `columns` maps keys to headings (default: all keys as they are)."""
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    headings = columns or {key: key for row in rows[:1] for key in row}
    if not rows:
        click.echo("nothing found", err=True)
        return
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in headings.items():
        numeric = all(isinstance(row.get(key), int | float | None) for row in rows)
        # A long text takes the room that is left; ids must stay whole, so that they can be copied.
        shown.add_column(heading, justify="right" if numeric else "left", no_wrap=key in ("id", "dictionary"))
    for row in rows:
        shown.add_row(*(Text(cell(row.get(key))) for key in headings))
    console().print(shown)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def console(stderr: bool = False) -> Any:
    """A rich console; wide when its output goes to a file or a pipe, so that nothing is cut there."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else 200, highlight=False)


class Bar:
    """A job's progress: `advance(n)` after each n steps; `say(text)` puts a few words of its state beside the bar."""

    def __init__(self, advance: Callable[[int], None], say: Callable[[str], None] = lambda text: None):
        self.advance, self.say = advance, say


@contextlib.contextmanager
def bars() -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Progress bars for a store's long jobs, one for each stage that has something to do."""
    with contextlib.ExitStack() as shown:

        def bar(description: str, total: int) -> Callable[[int], None]:
            return shown.enter_context(progress(description, total)).advance if total else lambda done: None

        yield bar


@contextlib.contextmanager
def progress(description: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on stderr; where that is no terminal, one line at the end."""
    import time

    if not sys.stderr.isatty():
        began, done = time.monotonic(), [0]

        def count(n: int) -> None:
            done[0] += n

        said = [""]
        yield Bar(count, lambda text: said.__setitem__(0, f", {text}"))
        click.echo(f"{description}: {done[0]:,} in {time.monotonic() - began:.1f} s{said[0]}", err=True)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True)) as bars:
        task = bars.add_task(description, total=total)
        yield Bar(lambda n: bars.advance(task, n), lambda text: bars.update(task, description=f"{description}: {text}"))
