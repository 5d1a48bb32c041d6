"""The commands of lists of features: all, show, create, add, drop, note, export, import, remove."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import featurestore
from featurestore.extension.commands import complete_features, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table

ids_argument = click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_features)
note_option = click.option("--note", help="What the list is about.")


@click.group("list")
def list_() -> None:
    """Keep lists of features: all, show, create, add, drop, note, export, import, remove.

    Searches rank the features of a list with --among @NAME.

    Example: featurestore list create exceptions pystdlib/2-res-2k/17 --note "raise and except"
    """


@list_.command("all")
@store_option
@json_option
def show_all(store: str, as_json: bool) -> None:
    """Show the lists of the store.

    Example: featurestore list all --store demo.features
    """
    with featurestore.connect(store) as opened:
        lists = opened.lists()
    if as_json:
        print_json_lines(lists)
        return
    columns = ("list", "features", "note", "changed_at")
    print_table([{name: getattr(entry, name) for name in columns} for entry in lists])


@list_.command()
@click.argument("name")
@store_option
@json_option
def show(name: str, store: str, as_json: bool) -> None:
    """Show the features of a list with their notes and labels.

    Example: featurestore list show exceptions
    """
    with featurestore.connect(store) as opened:
        content = opened.feature_list(name)
    if as_json:
        print_json_lines(content.features)
        return
    if content.note:
        click.echo(content.note)
    print_table([{"id": each.id, "label": each.label, "note": each.note} for each in content.features])
    absent = sum(not each.in_store for each in content.features)
    if absent:
        click.echo(f"{absent:,} of them are not in the store", err=True)


@list_.command()
@click.argument("name")
@click.argument("ids", nargs=-1, metavar="[ID]...", shell_complete=complete_features)
@note_option
@click.option("--replace", is_flag=True, help="Replace the list that has this name.")
@store_option
@json_option
def create(name: str, ids: tuple[str, ...], note: str | None, replace: bool, store: str, as_json: bool) -> None:
    """Keep a list of features under NAME.

    Example: featurestore list create exceptions pystdlib/2-res-2k/17 pystdlib/4-res-2k/9 --note "raise and except"
    """
    with featurestore.connect(store) as opened:
        _print_summary(opened.save_list(name, ids, note, replace), as_json)


@list_.command()
@click.argument("name")
@ids_argument
@click.option("--note", help="A note on these features.")
@store_option
@json_option
def add(name: str, ids: tuple[str, ...], note: str | None, store: str, as_json: bool) -> None:
    """Add features to a list, or change the note on those that it has.

    Example: featurestore list add exceptions pystdlib/2-res-2k/18 --note "only in tests"
    """
    listed = [featurestore.ListedFeature(id=id, note=note) for id in ids]
    with featurestore.connect(store) as opened:
        _print_summary(opened.change_list(name, add=listed), as_json)


@list_.command()
@click.argument("name")
@ids_argument
@store_option
@json_option
def drop(name: str, ids: tuple[str, ...], store: str, as_json: bool) -> None:
    """Take features out of a list.

    Example: featurestore list drop exceptions pystdlib/2-res-2k/18
    """
    with featurestore.connect(store) as opened:
        _print_summary(opened.change_list(name, remove=ids), as_json)


@list_.command()
@click.argument("name")
@click.argument("text")
@store_option
@json_option
def note(name: str, text: str, store: str, as_json: bool) -> None:
    """Change what a list says about itself; an empty TEXT takes the note away.

    Example: featurestore list note exceptions "raise, except and what tests expect"
    """
    with featurestore.connect(store) as opened:
        _print_summary(opened.change_list(name, note=text), as_json)


@list_.command()
@click.argument("name")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to this file: .json, .csv or .txt.")
@click.option("--format", "form", help="json (default), csv or txt; without it, by the file's name.")
@store_option
def export(name: str, output: str | None, form: str | None, store: str) -> None:
    """Write a list as JSON, CSV or text, which `list import` reads.

    Example: featurestore list export exceptions --output exceptions.csv
    """
    from featurestore.lists.file_format import FORMS, render

    suffix = Path(output).suffix.removeprefix(".").lower() if output else ""
    with featurestore.connect(store) as opened:
        text = render(opened.feature_list(name), form or (suffix if suffix in FORMS else "json"))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise featurestore.Unavailable(f"cannot write {output}: {exc.strerror}") from None


@list_.command("import")
@click.argument("file", type=click.Path())
@click.option("--name", help="Name of the list. Default: what the file says, or the file's name.")
@note_option
@click.option("--replace", is_flag=True, help="Replace the list that has this name.")
@click.option("--keep-missing", is_flag=True, help="Keep features that the store has not in the list too.")
@store_option
@json_option
def import_(
    file: str, name: str | None, note: str | None, replace: bool, keep_missing: bool, store: str, as_json: bool
) -> None:
    """Keep the list in FILE: what `list export` writes, ids with notes on lines, or hits printed with --json.

    FILE may be -, standard input.

    Example: featurestore search "exception handling" --json | featurestore list import - --name exceptions
    """
    from featurestore.lists.file_format import read, read_text

    if file == "-":
        if name is None:
            raise featurestore.BadRequest("--name: say what to call the list; standard input has no name")
        content = read_text(sys.stdin.read(), "txt", "standard input", name)
    else:
        content = read(Path(file), name)
    about = note if note is not None else content.note
    with featurestore.connect(store) as opened:
        saved = opened.save_list(content.name, content.features, about, replace, keep_missing)
    _print_summary(saved, as_json)


@list_.command()
@click.argument("name")
@store_option
def remove(name: str, store: str) -> None:
    """Remove a list, but not its features.

    Example: featurestore list remove exceptions
    """
    with featurestore.connect(store) as opened:
        opened.remove_list(name)
    click.echo(f"removed {name}")


def _print_summary(value: featurestore.FeatureList, as_json: bool) -> None:
    if as_json:
        print_json_lines([value])
    else:
        click.echo(f"{value.list}: {len(value):,} features; searches take it as --among @{value.list}")
