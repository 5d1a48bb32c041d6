"""`featurestore export`: features of a store as files of other tools."""

from __future__ import annotations

from typing import Any

import click

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.extension.commands import json_option, store_option
from featurestore.extension.output import print_json_lines

FORMATS = (
    "labels",
    "neuronpedia",
    "neuronpedia-upload",
    "circuit-tracer",
    "feature-json",
    "delphi",
    "saelens",
    "dataset",
    "site",
)


@click.command("export")
@click.argument("form", type=click.Choice(FORMATS), metavar="FORMAT")
@click.argument("target")
@click.option(
    "--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable. Default: all."
)
@click.option("--where", default="true", metavar="SQL", help="Only features for which this condition holds.")
@click.option("--examples", type=click.IntRange(0), help="At most this many examples of each band. Default: all.")
@store_option
@json_option
def export_files(
    form: str,
    target: str,
    dictionaries: tuple[str, ...],
    where: str,
    examples: int | None,
    store: str,
    as_json: bool,
) -> None:
    """Write features as files of another tool: a file of labels, or a directory. TARGET must not exist.

    FORMAT is one of labels (CSV, JSONL or Parquet), neuronpedia (batches as in its bucket), neuronpedia-upload,
    circuit-tracer (a packed store), feature-json, delphi (explanations), saelens (weights of the chosen features),
    dataset (for the Hugging Face hub) or site (web pages with search, for any web host or to be opened from a folder).
    Example:

    featurestore export labels labels.csv --store demo.features
    """
    with featurestore.connect(store) as opened:
        known = [row.dictionary for row in opened.dictionaries()]
        missing = [name for name in dictionaries if name not in known]
        if missing:
            raise NotFound(f"no dictionary {missing[0]}; there are: {', '.join(known)}")
        chosen = [name for name in known if name in dictionaries] if dictionaries else known
        if not chosen:
            raise BadRequest(f"{store} has no dictionaries to write")
        counts = find_writer(form)(opened, chosen, where, target, {"examples": examples})
    if as_json:
        print_json_lines([{"target": target, **counts}])
    else:
        click.echo(f"{', '.join(f'{count:,} {name}' for name, count in counts.items())} in {target}")


def find_writer(form: str) -> Any:
    """Return the function that writes a format."""
    from ingest.formats.site import write_site
    from ingest.formats.writers import delphi, feature_json, hub_dataset, labels, neuronpedia, sae_lens_weights

    writers = (
        labels.write,
        neuronpedia.write,
        neuronpedia.write_upload,
        feature_json.write_store,
        feature_json.write_files,
        delphi.write,
        sae_lens_weights.write,
        hub_dataset.write,
        write_site.write,
    )
    return dict(zip(FORMATS, writers, strict=True))[form]
