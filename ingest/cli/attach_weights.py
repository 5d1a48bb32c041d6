"""`featurestore attach-weights`: weights for a dictionary that was imported without them."""

from __future__ import annotations

import click

from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines
from featurestore.extension.progress import show_progress
from ingest.cli.model_options import import_torch, load_model


@click.command("attach-weights")
@click.argument("dictionary")
@click.option("--weights", "place", required=True, metavar="PLACE", help="A directory, a file or hf://org/repo//dir.")
@click.option(
    "--model", "model_path", metavar="DIR", help="The language model, for effects on logits and to compare them."
)
@click.option("--device", default="cpu", show_default=True, help="Device of the model: cpu, cuda, cuda:1, ...")
@click.option("--no-index", is_flag=True, help="Do not build indexes afterwards.")
@store_option
@json_option
def attach_weights(
    dictionary: str, place: str, model_path: str | None, device: str, no_index: bool, store: str, as_json: bool
) -> None:
    """Join weights to DICTIONARY, which was imported without: then its vectors, norms and logits are there.

    The weights must have its number of features, and the widths, hooks and hash that it states. With --model a sample
    of its top tokens is compared with what the weights raise. What the import says stays.

    Example: featurestore attach-weights gpt2-small/8-res-jb --weights ./sae-l8 --model ./gpt2 --store my.features
    """
    import_torch()
    from ingest import weights
    from ingest.harvest.attach_weights import attach_weights as attach

    sae = weights.read(place)
    model = load_model(model_path, device) if model_path else None
    with show_progress(store, "attach-weights", dictionary) as progress:
        with connect_local(store) as opened:
            report = attach(opened, dictionary, sae, model, progress)
        lines = [] if no_index else build_index(connect_local(store), progress)
    if as_json:
        print_json_lines([report._asdict()])
        return
    click.echo(f"{dictionary}: {report.features:,} decoder vectors and norms{' and effects on logits' * report.logits}")
    if report.compared:
        click.echo(f"compared with its top tokens: {report.agreeing} of {report.compared} features agree")
    else:
        click.echo("its top tokens were not compared: " + ("it names none" if report.logits else "name the --model"))
    for line in lines:
        click.echo(line, err=True)
