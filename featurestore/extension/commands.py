"""What every command shares: the store and json options, tables and JSON lines, progress, and errors as one line."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import click
import msgspec

from featurestore.display.numbers import format_value
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
    """Return a value as a table shows it: floats with four significant digits."""
    return format_value(value, digits=4)


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


class _Recording:
    """The record of a command among the store's jobs, which begins with its first progress: what is quick has none."""

    def __init__(self, ends: contextlib.ExitStack, store: str, kind: str, about: str):
        self._ends, self._of = ends, (store, kind, about)
        self._begun = False
        self._record: Any = None

    def stage(self, description: str, total: int | None) -> Callable[[int], None]:
        from featurestore.maintenance.jobs import recorded
        from featurestore.storage.locations import storage_at

        if not self._begun:
            store, kind, about = self._of
            self._begun, self._record = True, self._ends.enter_context(recorded(storage_at(store), kind, about))
        return (lambda done: None) if self._record is None else self._record.stage(description, total)


_recording: ContextVar[_Recording | None] = ContextVar("_recording", default=None)


def recording(
    kind: str, about: Callable[..., Iterable[str | None]] = lambda **given: ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A command that does long work on --store, kept account of among its jobs; `about` says in words on what, given its
    options. No path is told."""

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(*args: Any, **given: Any) -> Any:
            words = " ".join(word for word in about(**given) if word)
            with contextlib.ExitStack() as ends:
                before = _recording.set(_Recording(ends, given["store"], kind, words))
                try:
                    return command(*args, **given)
                except click.exceptions.Exit as exc:
                    ended = exc  # what the command found, not that it failed
                finally:
                    _recording.reset(before)
            raise ended

        return run

    return decorated


@contextlib.contextmanager
def progress(description: str, total: int | None) -> Iterator[Bar]:
    """A progress bar on stderr, or one line at the end where that is no terminal; told to the record of the command too."""
    kept = _recording.get()
    told = kept.stage(description, total) if kept is not None else lambda done: None
    with _shown(description, total) as bar:

        def advance(done: int) -> None:
            bar.advance(done)
            told(done)

        yield Bar(advance, bar.say)


@contextlib.contextmanager
def _shown(description: str, total: int | None) -> Iterator[Bar]:
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


def build_index(store: Any, embedder: str | None = None, recall: float | None = None) -> list[str]:
    """Compact, then build what is stale, with progress bars; lines that say what was done."""
    with bars() as bar:
        return store.compact(bar) + store.index(embedder, bar, recall)
