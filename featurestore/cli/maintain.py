"""The commands that look after a store: check, compact, remove, migrate."""

from __future__ import annotations

import click
import msgspec

import featurestore
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress


@click.command()
@click.option("--repair", is_flag=True, help="Remove leftovers and build again what can be built from the rest.")
@store_option
@json_option
def check(repair: bool, store: str, as_json: bool) -> None:
    """Read every byte of the store: checksums, schema, counts, what refers to what, and what killed writers left.

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
            f"{checked.location}: {checked.files:,} parts, {checked.bytes:,} bytes, commit {checked.commit:,}: {verdict}"
        )
    if checked.problems:
        raise click.exceptions.Exit(featurestore.BadStore.exit_code)


@click.command()
@store_option
def compact(store: str) -> None:
    """Merge many small label parts into few, and copy the best labels beside the features, which makes pages and
    aggregates quick.

    Example: featurestore compact --store demo.features
    """
    with connect_local(store) as opened, show_progress(store, "compact") as progress:
        lines = opened.compact(progress)
    for line in lines or ["nothing to do"]:
        click.echo(line)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="DICTIONARY...")
@click.option("--yes", is_flag=True, help="Do not ask.")
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
@click.option("--start", metavar="KIND", help="Begin one in its own process: index, compact or check.")
@click.option(
    "--cancel", is_flag=True, help="End job ID, which --start or a service began, or forget one that has ended."
)
@store_option
@json_option
def jobs(id: str | None, start: str | None, cancel: bool, store: str, as_json: bool) -> None:
    """Long work on the store, running or of late: harvests, labelling, scoring, maintenance; or job ID aljob.

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
    """Bring a store of an older format to this version's, in place.

    Example: featurestore migrate --store old.features
    """
    from featurestore.maintenance.migrate import migrate as run

    for line in run(store):
        click.echo(line)


@click.command()
@click.option("--embedder", help="A model directory, a hub name, or openai:MODEL@BASE_URL. Default: the store's.")
@click.option("--recall", type=float, help="Share of the true nearest vectors to find in large spaces. Default: 0.95.")
@store_option
def index(embedder: str | None, recall: float | None, store: str) -> None:
    """Build the indexes that are missing or stale: decoder vectors, and labels by meaning and by words. Compacts first.

    Example: featurestore index --store demo.features
    """
    with connect_local(store) as opened, show_progress(store, "index") as progress:
        lines = build_index(opened, progress, embedder=embedder, recall=recall)
    for line in lines or ["every index is up to date"]:
        click.echo(line)


@click.command()
@click.argument("path", metavar="PATH_OR_URL")
def create(path: str) -> None:
    """Make a new, empty store, in a directory or at an s3:// prefix.

    Example: featurestore create my.features
    """
    featurestore.create(path).close()
    click.echo(f"made an empty store at {path}")
