"""What every command shares: the options --store and --json, the command group, and building indexes afterwards."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

import click
from click.shell_completion import CompletionItem

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.extension.mistakes import explain
from featurestore.extension.output import guard_streams
from featurestore.progress import Progress, no_progress

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from featurestore.store import Store

store_option = click.option(
    "--store",
    envvar="FEATURESTORE",
    default="features",
    show_default=True,
    metavar="PATH_OR_URL",
    help="The store: a directory, an s3:// prefix, or the URL of a service. Also taken from $FEATURESTORE.",
)


def _name_embedder(ctx: click.Context, _: click.Parameter, embedder: str | None) -> None:
    """Set the variable that Store reads, for this command and for processes that it starts."""
    if embedder:
        before = os.environ.get(EMBEDDER)
        os.environ[EMBEDDER] = embedder
        ctx.call_on_close(lambda: os.environ.pop(EMBEDDER) if before is None else os.environ.update({EMBEDDER: before}))


EMBEDDER = "FEATURESTORE_EMBEDDER"
embedder_option = click.option(
    "--embedder",
    envvar=EMBEDDER,
    expose_value=False,
    callback=_name_embedder,
    help="The embedder to use for a store that was indexed with another one than the default: a model directory, a hub "
    "name, or openai:MODEL@BASE_URL. What the store itself names is not used. Also taken from $FEATURESTORE_EMBEDDER.",
)


def _allow_locations(ctx: click.Context, _: click.Parameter, allowed: bool) -> None:
    """Set the variable that Store reads, for this command and for processes that it starts."""
    if allowed and not os.environ.get(LOCATIONS):
        os.environ[LOCATIONS] = "1"
        ctx.call_on_close(lambda: os.environ.pop(LOCATIONS, None))


LOCATIONS = "FEATURESTORE_ALLOW_STORE_LOCATIONS"
locations_option = click.option(
    "--allow-store-locations",
    envvar=LOCATIONS,
    is_flag=True,
    expose_value=False,
    callback=_allow_locations,
    help="Open the model and the weights where the store says that they are, also where you have never harvested from. "
    "Also taken from $FEATURESTORE_ALLOW_STORE_LOCATIONS.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line instead of a table.")


SECTIONS = {
    "Look": "search nearest feature compare activating contrast neighbourhood duplicates dictionaries info sql graph "
    "export",
    "Make": "demo create harvest import inspect label score index structural attach-weights",
    "Keep": "list check snapshot compact migrate remove jobs",
    "Serve": "serve keys mcp",
}


class Group(click.Group):
    """A command group that finds siblings' commands by entry point and prints errors as one line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands into the help text, by what they are for; those of no section come last."""
        left = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        width = formatter.width - 6 - max(map(len, left), default=0)
        for title, names in (SECTIONS | {"More": " ".join(sorted(left))}).items():
            commands = [(name, left.pop(name)) for name in names.split() if name in left]
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(name, command.get_short_help_str(width)) for name, command in commands])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, those of entry points included."""
        return sorted({*super().list_commands(ctx), *_entry_points()})

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command, imported from its entry point if need be. Raises ClickException when a package is
        missing."""
        command = super().get_command(ctx, name)
        if command is None and name in _entry_points():
            try:
                command = _entry_points()[name].load()
            except ImportError as exc:
                raise click.ClickException(
                    f"the command {name} needs {exc.name}: pip install 'featurestore[all]'"
                ) from None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Errors of the store become one line on stderr and an exit status."""
        if ctx.parent is None:
            with guard_streams():
                return self._run(ctx)
        return self._run(ctx)

    def _run(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as exc:
            raise exc if ctx.parent else explain(exc) from None
        except FeatureStoreError as exc:
            click.echo(f"error: {exc}", err=True)
            ctx.exit(exc.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted; nothing half-written is left", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            sys.stderr.close()  # the reader of our output, such as `head`, has what it wanted
            ctx.exit(0)


def complete_dictionaries(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids of the store's dictionaries that begin like this, for the completion of a shell."""
    import featurestore

    location = ctx.params.get("store") or os.environ.get("FEATURESTORE", "features")
    try:
        with featurestore.connect(location) as store:
            return [row.dictionary for row in store.dictionaries() if row.dictionary.startswith(incomplete)]
    except FeatureStoreError:
        return []


def complete_features(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return ids of features that begin like this, for the completion of a shell.

    Before the second slash they are dictionaries with a slash. After it they are the index that is typed and those with
    one digit more; zsh and fish show their labels.
    """
    import featurestore

    name, _, digits = incomplete.rpartition("/")
    if "/" not in name:
        return [CompletionItem(f"{each}/") for each in complete_dictionaries(ctx, parameter, incomplete)]
    if digits and not re.fullmatch("0|[1-9][0-9]*", digits):
        return []
    location = ctx.params.get("store") or os.environ.get("FEATURESTORE", "features")
    try:
        with featurestore.connect(location) as store:
            d_sae = store.dictionary(name).d_sae
            numbers = [digits] * bool(digits) + [f"{digits}{digit}" for digit in range(10) if digits != "0"]
            ids = [f"{name}/{number}" for number in numbers if int(number) < d_sae]
            return [CompletionItem(page.id, help=page.label or "") for page in store.features(ids, examples=0)]
    except FeatureStoreError:
        return []


def _entry_points() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group="featurestore.commands")}


def connect_local(location: str) -> Store:
    """Return the store in a directory of this machine or on an object store. Raises BadRequest for a service."""
    from featurestore.store import Store

    if location.startswith(("http://", "https://")):
        raise BadRequest(f"{location} is a service, and writing is local: name the store's directory")
    return Store(location)


def build_index(
    store: Store,
    progress: Progress = no_progress,
    *,
    embedder: str | None = None,
    recall: float | None = None,
    map: bool = False,
    rebuild: bool = False,
    over: Literal["examples"] | None = None,
) -> list[str]:
    """Compact the store, then build the indexes that are stale (or all), maps too if `map`; returns a line for each.

    With `over="examples"` what features fire on is embedded too.
    """
    return store.compact(progress) + store.index(embedder, progress, recall, map, rebuild, over)
