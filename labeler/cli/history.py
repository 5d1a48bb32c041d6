"""The commands of `featurestore label` that take a label back, and that show what was said before: remove, history."""

from __future__ import annotations

import click
import msgspec

import featurestore
from featurestore import BadRequest
from featurestore.extension.commands import json_option, store_option
from featurestore.extension.output import print_json_lines, print_table


@click.command()
@click.argument("id")
@click.option("--as", "who", metavar="NAME", help="Your name: the label of human:NAME is taken back.")
@click.option("--explainer", metavar="NAME", help="Take back the label of this explainer, such as tokens or qwen3.")
@store_option
def remove(id: str, who: str | None, explainer: str | None, store: str) -> None:
    """Take back a label of feature ID: yours, or that of --explainer. What others say stays.

    The text stays in the history: `featurestore label history ID`.

    Example: featurestore label remove gpt2-small/8-res-jb/1234 --as ann
    """
    if who and explainer:
        raise BadRequest("--as and --explainer: name one of the two")
    with featurestore.connect(store) as opened:
        opened.remove_label(id, explainer or (f"human:{who}" if who else "human"))
        shown = opened.feature(id, examples=0).label
    click.echo(f"{id}: {shown or 'no label'}")


@click.command()
@click.argument("id")
@store_option
@json_option
def history(id: str, store: str, as_json: bool) -> None:
    """List every label that feature ID was ever given, and which were taken back, the newest first.

    Example: featurestore label history gpt2-small/8-res-jb/1234
    """
    with featurestore.connect(store) as opened:
        changes = opened.label_history(id)
    if as_json:
        print_json_lines(changes)
        return
    rows = [msgspec.structs.asdict(change) | {"change": "taken back" if change.removed else ""} for change in changes]
    columns = {"label": "label", "explainer": "explainer", "change": "", "prompt": "prompt"}
    print_table(rows, columns | {"created_at": "when", "tool": "by"})
