"""The commands that look after a store: check, compact, remove, migrate."""

from __future__ import annotations

import click

import featurestore
from featurestore.commands import bars, json_lines, json_option, local, store_option, table


@click.command()
@click.option("--repair", is_flag=True, help="Remove leftovers and build again what can be built from the rest.")
@store_option
@json_option
def check(repair: bool, store: str, as_json: bool) -> None:
    """Read every byte of the store: checksums, schema, counts, what refers to what, and what killed writers left.

    The exit code is 7 when something is wrong.

    Example: featurestore check --store demo.features --repair
    """
    with local(store) as opened, bars() as bar:
        found = opened.repair(bar) if repair else opened.check(bar)
    if as_json:
        json_lines([found])
    else:
        for line in found.repaired:
            click.echo(line)
        if found.problems:
            table([{"file": one.file, "problem": one.problem, "remedy": one.remedy} for one in found.problems])
        if found.leftovers:
            click.echo(
                f"{len(found.leftovers):,} files ({found.leftover_bytes:,} bytes) were left by writers that were killed; "
                "--repair removes them, and so does the next writer"
            )
        count = len(found.problems)
        verdict = f"{count:,} problem{'s' if count > 1 else ''}" if count else "whole"
        click.echo(
            f"{found.location}: {found.files:,} parts, {found.bytes:,} bytes, commit {found.commit:,}: {verdict}"
        )
    if found.problems:
        raise click.exceptions.Exit(featurestore.BadStore.exit_code)


@click.command()
@store_option
def compact(store: str) -> None:
    """Merge many small label parts into few, and copy the best labels beside the features, which makes pages and
    aggregates quick.

    Example: featurestore compact --store demo.features
    """
    with local(store) as opened, bars() as bar:
        for line in opened.compact(bar) or ["nothing to do"]:
            click.echo(line)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="DICTIONARY...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
def remove(ids: tuple[str, ...], yes: bool, store: str) -> None:
    """Remove dictionaries with their features, examples, labels and vectors, and corpora nobody else uses.

    Example: featurestore remove pystdlib/2-res-2k --store demo.features
    """
    with local(store) as opened:
        for id in ids:
            opened.dictionary(id)
        if not yes:
            click.confirm(f"Remove {', '.join(ids)} from {store} for good?", abort=True)
        for line in opened.remove(*ids):
            click.echo(line)


@click.command()
@store_option
def migrate(store: str) -> None:
    """Bring a store of an older format to this version's, in place.

    Example: featurestore migrate --store old.features
    """
    from featurestore.migrate import migrate as run

    for line in run(store):
        click.echo(line)
