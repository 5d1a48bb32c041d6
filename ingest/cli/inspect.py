"""`featurestore inspect`: what a dictionary's weights are, and whether they do what was published."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest
from featurestore.extension.commands import json_option
from featurestore.extension.output import format_cell, print_json_lines, print_table
from ingest.cli.model_options import import_torch, load_model, model_options

if TYPE_CHECKING:
    from ingest.model.model import Model
    from ingest.sae import Sae
    from ingest.weights.proposal import Proposal

ROWS = 12  # alternatives shown


@click.command()
@click.argument("weights_path", metavar="WEIGHTS")
@click.option("--model", "model_path", metavar="DIR", help="Also run this model, to measure L0 and variance explained.")
@click.option("--text", "texts", multiple=True, metavar="SOURCE", help="Text to run it on, as for harvest. Repeatable.")
@click.option("--tokens", type=click.IntRange(1), default=2000, show_default=True, help="Number of tokens of text.")
@click.option("--alternatives", is_flag=True, help="Try other ways to read the weights even if nothing is wrong.")
@click.option(
    "--lean", is_flag=True, help="Leave large matrices in their file: slower, for weights larger than memory."
)
@click.option(
    "--registry",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="SAELens's pretrained_saes.yaml, for names as saelens://RELEASE/ID. Default: that of an installed sae-lens.",
)
@model_options
@json_option
def inspect(
    weights_path: str,
    model_path: str | None,
    texts: tuple[str, ...],
    tokens: int,
    alternatives: bool,
    lean: bool,
    registry: Path | None,
    as_json: bool,
    **of_model: Any,
) -> None:
    """Show a dictionary's weights: shapes, hook, norms, duplicates. With a model and text, measure how well it works.

    WEIGHTS is a directory, a file, or hf://org/repo//sub/dir@revision. If L0 differs from what path or config
    state, common mistakes in reading such weights are tried, and the way that fits is shown.

    Example: featurestore inspect ./sae-l8 --model ./gpt2 --text ./books
    """
    import_torch()
    if bool(model_path) != bool(texts):
        raise BadRequest("measuring needs both: --model DIR and --text PATH")
    if alternatives and not model_path:
        raise BadRequest("--alternatives needs --model DIR and --text PATH to compare them on")
    from ingest import weights
    from ingest.inspection.weight_facts import facts

    load = functools.cache(lambda: load_model(model_path, **of_model)) if model_path else None
    try:
        sae = weights.read(weights_path, lean=lean, registry=registry)
        tried: list[dict[str, Any]] = []
    except weights.UnknownFormat as exc:
        if not exc.proposals:
            raise
        choice = _choose_reading(exc.proposals, load, texts, tokens)
        if choice is None or not as_json:
            _show_proposals(exc.proposals, choice, as_json)
        if choice is None:
            return
        tried = choice
        sae = weights.read(choice[0]["location"], lean=lean)
    report = facts(sae)
    if tried:
        report["readings"] = tried
    if load:
        report |= _measure(sae, load(), texts, tokens, alternatives)
    if as_json:
        print_json_lines([report])
        return
    _show(report)


def _choose_reading(
    proposals: list[Proposal], load: Callable[[], Model] | None, texts: tuple[str, ...], tokens: int
) -> list[dict[str, Any]] | None:
    """Tries the readings of the only proposal on a model. Returns them, the best first.

    Without a model it is the proposal itself, if it says what it reads. None if there is none to go on with. Raises
    BadRequest if no reading fits the model.
    """
    (first, *others) = proposals
    if others:
        return None
    if load is None:
        return [{"reading": "as proposed", "location": first.location}] if first.hook_point else None
    from ingest.corpus.corpus import tokenise
    from ingest.corpus.sources import documents as read
    from ingest.inspection.readings import try_readings

    model = load()
    rows = try_readings(first, model, tokenise(model.tokenizer, read(texts), tokens))
    if not rows:
        raise BadRequest(f"{first.location}: no place of {model.location} has the width that it reads")
    return rows


def _show_proposals(proposals: list[Proposal], rows: list[dict[str, Any]] | None, as_json: bool) -> None:
    """Prints what may be read, and how."""
    if as_json:
        print_json_lines([{"proposals": [proposal._asdict() for proposal in proposals]}])
        return
    many = (
        f"{len(proposals)} dictionaries, by names and shapes of their tensors"
        if len(proposals) > 1
        else ("one dictionary, by names and shapes of its tensors")
    )
    click.echo(f"no known format; it may hold {many}:")
    for proposal in proposals:
        click.echo(f"  {proposal.location}")
        for note in proposal.notes if len(proposals) == 1 else ():
            click.echo(f"    {note}")
    if not all(proposal.hook_point for proposal in proposals) and not rows:
        click.echo(
            "say what it reads, with &hook_point=blocks.LAYER.hook_resid_post, or try all layers: --model, --text"
        )
    elif len(proposals) > 1:
        click.echo("inspect one of them by its location; with --model and --text it is also measured")
    if rows and "l0" in rows[0]:
        click.echo()
        columns = ("reading", "hook_point", "l0", "variance_explained", "never_fired_fraction")
        print_table([{name.replace("_", " "): row[name] for name in columns} for row in rows[:ROWS]])
        click.echo(f"{rows[0]['reading']} explains most. Read it as {rows[0]['location']}")
    click.echo()


def _measure(sae: Sae, model: Model, texts: tuple[str, ...], tokens: int, always: bool) -> dict[str, Any]:
    from ingest.corpus.corpus import tokenise
    from ingest.corpus.sources import documents as read
    from ingest.inspection.alternatives import compare, is_doubtful
    from ingest.inspection.selftest import agrees, measure

    corpus = tokenise(model.tokenizer, read(texts), tokens)
    result = measure(sae, model, corpus)
    agreed = {"l0_as_promised": agrees(sae, result)}
    if not always and not is_doubtful(sae, result):
        return result | agreed | {"alternatives": None, "fits": "as read"}
    verdict = compare(sae, model, corpus, result)
    fits = verdict.fits or {"reading": None, "location": None}
    return (
        result
        | agreed
        | {"alternatives": verdict.tried, "fits": fits["reading"], "location_that_fits": fits["location"]}
    )


def _show(report: dict[str, Any]) -> None:
    """Prints facts and measures for people."""
    apart = ("readings", "alternatives", "fits", "location_that_fits", "inferred", "nearest_pairs", "l0_as_promised")
    plain = {name: value for name, value in report.items() if name not in apart and value not in (None, [])}
    width = max(map(len, plain))
    for name, value in plain.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else format_cell(value)
        click.echo(f"{name.replace('_', ' '):<{width}}  {shown}")
    for pair in report["nearest_pairs"]:
        click.echo(f"{'near duplicates':<{width}}  features {pair[0]} and {pair[1]}, cosine {pair[2]:.4f}")
    for fact in report["inferred"]:
        click.echo(f"{'not in the files':<{width}}  {fact}")
    if "fits" not in report:
        return
    if report["alternatives"]:
        click.echo()
        columns = ("reading", "l0", "variance_explained", "never_fired_fraction", "agrees")
        as_read, *others = report["alternatives"]
        others.sort(key=lambda row: (row["agrees"] is not True, -(row["variance_explained"] or 0), row["l0"]))
        rows = [as_read, *others[: ROWS - 1]]
        print_table([{name.replace("_", " "): row[name] for name in columns} for row in rows])
        if len(others) >= ROWS:
            click.echo(f"and {len(others) - ROWS + 1} more that do worse; --json has all")
    click.echo(_sentence(report))


def _sentence(report: dict[str, Any]) -> str:
    """Returns the verdict in words."""
    promise = report["promised_l0"]
    if promise:
        low, high = promise
        number = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        start = f"L0 is {report['l0']:.1f}; {report['promised_by']} promises {number}"
        start += ", which agrees." if report["l0_as_promised"] else ", which does not agree."
    else:
        start = f"L0 is {report['l0']:.1f}; nothing is promised."
    if report["fits"] == "as read":
        return start
    if report["fits"] is None:
        return f"{start} None of the ways tried fits: is it another model, another layer, or other text?"
    return f"{start} This fits: {report['fits']}. Read it as {report['location_that_fits']}"
