"""The commands that look after a store: check, snapshot, compact, remove, migrate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

import featurestore
from featurestore.extension.commands import build_index, complete_dictionaries, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress

if TYPE_CHECKING:  # the command needs no database to print its help
    from featurestore.maintenance.live_files import TableFiles


@click.command()
@click.option("--repair", is_flag=True, help="Remove leftover files, and rebuild what can be rebuilt from the others.")
@store_option
@json_option
def check(repair: bool, store: str, as_json: bool) -> None:
    """Read and check every byte of the store: checksums, schema, counts, references, and files of killed writers.

    The exit code is 7 when something is wrong.

    Example: featurestore check --store demo.features --repair
    """
    with connect_local(store) as opened, show_progress(store, "check") as progress:
        checked = opened.repair(progress) if repair else opened.check(progress)
    if as_json:
        print_json_lines([checked])
    else:
        for line in checked.repaired:
            click.echo(line)
        if checked.problems:
            print_table([msgspec.structs.asdict(finding) for finding in checked.problems])
        if checked.leftovers:
            click.echo(
                f"{len(checked.leftovers):,} files ({checked.leftover_bytes:,} bytes) were left by writers that were "
                "killed; --repair removes them, and so does the next writer"
            )
        count = len(checked.problems)
        verdict = f"{count:,} problem{'s' if count > 1 else ''}" if count else "whole"
        click.echo(
            f"{checked.location}: {checked.files:,} parts, {checked.bytes:,} bytes, "
            f"commit {checked.commit:,}: {verdict}"
        )
    if checked.problems:
        raise click.exceptions.Exit(featurestore.BadStore.exit_code)


@click.command()
@click.argument("table", required=False)
@click.option("--files", is_flag=True, help="Print every Parquet file with its rows and bytes.")
@click.option(
    "--iceberg",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write an Iceberg catalog into DIR, or bring the one there up to date. It names the files and copies none.",
)
@store_option
@json_option
def snapshot(table: str | None, files: bool, iceberg: Path | None, store: str, as_json: bool) -> None:
    """Show which Parquet files hold the store's tables now, all or TABLE alone, for engines that read them without
    featurestore.

    A store also has files that count no more, of removed and replaced dictionaries: never read whole folders.

    Example: featurestore snapshot labels --files --store demo.features

    Example: featurestore snapshot --iceberg demo.iceberg
    """
    if iceberg is not None and (table is not None or files):
        raise featurestore.BadRequest("--iceberg writes all tables: leave out TABLE and --files")
    with connect_local(store) as opened:
        live = opened.files(table)
    if iceberg is not None:
        from featurestore.maintenance.iceberg import CATALOG, NAME, write_catalog

        with show_progress() as progress:
            lines = write_catalog(live, iceberg, progress)
        for line in lines or ["nothing has changed"]:
            click.echo(line)
        click.echo(f"catalog {NAME}: type sql, uri sqlite:///{iceberg.absolute() / CATALOG}")
    elif as_json:
        print_json_lines(live if files else _sum_files(live))
    else:
        print_table([msgspec.structs.asdict(entry) for entry in live] if files else _sum_files(live))


def _sum_files(live: TableFiles) -> list[dict[str, Any]]:
    """Return a row for each table: its files, rows and bytes."""
    sums: dict[str, dict[str, Any]] = {}
    for entry in live:
        row = sums.setdefault(entry.table, {"table": entry.table, "files": 0, "rows": 0, "bytes": 0})
        row["files"] += 1
        row["rows"] += entry.rows
        row["bytes"] += entry.bytes
    return list(sums.values())


@click.command()
@store_option
def compact(store: str) -> None:
    """Merge many small label parts into few, and copy the best labels beside the features. This makes pages
    and aggregates faster.

    Example: featurestore compact --store demo.features
    """
    with connect_local(store) as opened, show_progress(store, "compact") as progress:
        lines = opened.compact(progress)
    for line in lines or ["nothing to do"]:
        click.echo(line)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="DICTIONARY...", shell_complete=complete_dictionaries)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@store_option
def remove(ids: tuple[str, ...], yes: bool, store: str) -> None:
    """Remove dictionaries with their features, examples, labels and vectors, and corpora that no other dictionary uses.

    Example: featurestore remove pystdlib/2-res-2k --store demo.features
    """
    with connect_local(store) as opened:
        for id in ids:
            opened.dictionary(id)
        if not yes:
            click.confirm(f"Remove {', '.join(ids)} from {store} for good?", abort=True)
        for line in opened.remove(*ids):
            click.echo(line)


@click.command()
@click.argument("id", required=False)
@click.option("--start", metavar="KIND", help="Start a job in its own process: index, compact or check.")
@click.option(
    "--cancel", is_flag=True, help="Cancel job ID that --start or a service started, or forget it if it has ended."
)
@store_option
@json_option
def jobs(id: str | None, start: str | None, cancel: bool, store: str, as_json: bool) -> None:
    """List running and recent jobs of the store, or show job ID: harvests, labelling, scoring, maintenance.

    Example: featurestore jobs --store demo.features

    Example: featurestore jobs --start compact
    """
    if (start is not None) + (id is not None) > 1 or (cancel and id is None):
        raise featurestore.BadRequest("name one job, or what to --start; --cancel takes the ID of a job")
    with featurestore.connect(store) as opened:
        if start is not None:
            rows = [opened.start_job(start)]
        elif id is not None:
            rows = [opened.cancel_job(id) if cancel else opened.job(id)]
        else:
            rows = opened.jobs()
    if as_json:
        print_json_lines(rows)
        return
    print_table(
        [
            {
                "id": job.id,
                "state": job.state,
                "began": job.began.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
                "about": job.about or None,
                "rows": job.rows,
                "": job.message,
            }
            for job in rows
        ]
    )


@click.command()
@store_option
def migrate(store: str) -> None:
    """Convert a store of an older format to the format of this version, in place.

    Example: featurestore migrate --store old.features
    """
    from featurestore.maintenance.migrate import migrate as run

    for line in run(store):
        click.echo(line)


@click.command()
@click.option(
    "--embedder",
    envvar="FEATURESTORE_EMBEDDER",
    help="A model directory, a hub name, or openai:MODEL@BASE_URL. Default: all-MiniLM-L6-v2.",
)
@click.option("--recall", type=float, help="Share of the true nearest vectors to find in large spaces. Default: 0.95.")
@click.option("--map", "map_", is_flag=True, help="Make a map of each dictionary too, by openTSNE: some minutes.")
@click.option("--rebuild", is_flag=True, help="Build every index again, and read nothing of the old ones.")
@click.option(
    "--over",
    type=click.Choice(["examples"]),
    help="Also embed what each feature fires on and raises, to find features without a label by meaning.",
)
@store_option
def index(
    embedder: str | None,
    recall: float | None,
    map_: bool,
    rebuild: bool,
    over: Literal["examples"] | None,
    store: str,
) -> None:
    """Compact the store, then build missing, outdated or damaged indexes: of vectors, of labels, of tokens.

    Example: featurestore index --store demo.features

    Example: featurestore index --map --store demo.features

    Example: featurestore index --over examples --store demo.features
    """
    with connect_local(store) as opened, show_progress(store, "index") as progress:
        lines = build_index(opened, progress, embedder=embedder, recall=recall, map=map_, rebuild=rebuild, over=over)
    for line in lines or ["every index is up to date"]:
        click.echo(line)


@click.command()
@click.argument("path", metavar="PATH_OR_URL")
def create(path: str) -> None:
    """Create an empty store in a directory or at an s3:// prefix.

    Example: featurestore create my.features
    """
    featurestore.create(path).close()
    click.echo(f"made an empty store at {path}")
