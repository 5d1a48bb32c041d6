"""`featurestore label`: labels from token statistics, from a language model, or from you."""

from __future__ import annotations

import click

from featurestore import BadRequest
from featurestore.cli import build_index, local
from featurestore.commands import json_lines, json_option, progress, store_option


@click.command()
@click.option("--model", metavar="NAME", help="A language model to ask. Without it, labels come from token statistics.")
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible endpoint. Default: the OpenAI API.")
@click.option(
    "--api-key-env", default="OPENAI_API_KEY", show_default=True, help="Environment variable that holds the key."
)
@click.option("--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("--where", metavar="SQL", help="Only features for which this condition over the view `features` holds.")
@click.option("--limit", type=click.IntRange(1), help="At most this many features.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Requests at once.")
@click.option("--redo", is_flag=True, help="Also features that this model labelled before.")
@click.option("--set", "by_hand", nargs=2, metavar="ID TEXT", help="Set your own label of one feature.")
@click.option("--no-index", is_flag=True, help="Do not index the new labels.")
@store_option
@json_option
def label(
    model: str | None,
    base_url: str | None,
    api_key_env: str,
    dictionaries: tuple[str, ...],
    where: str | None,
    limit: int | None,
    concurrency: int,
    redo: bool,
    by_hand: tuple[str, str] | None,
    no_index: bool,
    store: str,
    as_json: bool,
) -> None:
    """Label features: from token statistics (the default), with a language model, or by hand.

    Examples:

    \b
    featurestore label --store my.features
    featurestore label --base-url http://localhost:8080/v1 --model qwen3 --where "density > 1e-4" --limit 100
    featurestore label --set gpt2-small/8-res-jb/1234 "names of bridges"
    """
    from labeler import run
    from labeler.llm import Endpoint

    opened = local(store)
    if by_hand:
        run.by_hand(opened, *by_hand)
        report = run.Report("human", 1, 0, {})
    elif model:
        endpoint = Endpoint(model, base_url, api_key_env)
        report = run.by_model(
            opened,
            endpoint,
            dictionaries=dictionaries,
            where=where,
            limit=limit,
            concurrency=concurrency,
            redo=redo,
            progress=progress,
        )
    else:
        given = {"--base-url": base_url, "--where": where, "--limit": limit, "--redo": redo}
        unused = [name for name, value in given.items() if value]
        if unused:
            raise BadRequest(f"{unused[0]} goes with --model; token statistics label every feature of a dictionary")
        report = run.by_tokens(opened, run.choose_dictionaries(opened, dictionaries), progress)
    said = [] if no_index else build_index(opened)
    if as_json:
        json_lines([report._asdict()])
        return
    click.echo(f"{report.labelled:,} features labelled by {report.explainer}, {report.skipped:,} skipped")
    for reason, count in report.failed.items():
        click.echo(f"{count:,} not labelled: {reason}", err=True)
    for line in said:
        click.echo(line, err=True)
