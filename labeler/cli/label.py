"""`featurestore label`: labels from token statistics, from a language model, or from you."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

import featurestore
from featurestore import BadRequest, Progress
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from labeler.cli.agreement import cost, disagree, duplicates, print_contradicted
from labeler.cli.history import history, remove
from labeler.cli.model_options import ModelOptions, asking_options, print_spending, refuse_without_model

if TYPE_CHECKING:
    from featurestore import Store
    from labeler.runs.label_run import LabelReport

OF_MODELS = ("prompt", "explainer", "where", "order", "limit", "redo")  # options that say what a model is asked


@click.group(invoke_without_command=True)
@click.option("--model", metavar="NAME", help="A language model to ask. Without it, labels come from token statistics.")
@click.option(
    "--prompt",
    metavar="NAME_OR_FILE",
    help="Name of a prompt (`featurestore label prompts`) or a file. Default: pairs.",
)
@click.option("--as", "explainer", metavar="NAME", help="The explainer's name on the labels. Default: the model's.")
@click.option("--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("--where", metavar="SQL", help="Only features for which this condition over the view `features` holds.")
@click.option("--order", metavar="SQL", help="Order of the features, such as 'density desc'. Default: by id.")
@click.option("--limit", type=click.IntRange(1), help="At most this many features.")
@click.option("--redo", is_flag=True, help="Include features that this explainer has labelled before.")
@asking_options
@click.option("--set", "by_hand", nargs=2, metavar="ID TEXT", help="Set your own label of one feature.")
@click.option("--no-index", is_flag=True, help="Do not index the new labels.")
@store_option
@json_option
@click.pass_context
def label(
    ctx: click.Context,
    /,
    model: str | None,
    by_hand: tuple[str, str] | None,
    no_index: bool,
    store: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Label features: from token statistics (the default), with a language model, or by hand.

    Examples:

    \b
    featurestore label --store my.features
    featurestore label --base-url http://localhost:8080/v1 --model qwen3 --where "density > 1e-4" --limit 100
    featurestore label --model gpt-4.1-nano --price-in 0.1 --price-out 0.4 --budget 5 --order "density desc"
    featurestore label --ray auto --model qwen3 --serve "vllm serve {model} --port {port}"
    featurestore label set gpt2-small/8-res-jb/1234 "names of bridges"
    featurestore label prompts
    """
    if ctx.invoked_subcommand:
        return
    opened, estimate = connect_local(store), options["estimate"]
    with show_progress(store, "label", " ".join([model or "tokens", *options["dictionaries"]])) as progress:
        if by_hand:
            report: LabelReport | None = _set_label(opened, *by_hand)
        elif model:
            report = _label_with_model(opened, model, as_json, progress, options)
        else:
            refuse_without_model(ctx, OF_MODELS, "token statistics label every feature of a dictionary")
            report = _label_from_tokens(opened, options["dictionaries"], progress)
        if report is None:
            return
        index_lines = [] if no_index or not report.labelled else build_index(opened, progress)
    if as_json:
        print_json_lines([] if estimate else [report])
        return
    _print_report(report)
    for line in index_lines:
        click.echo(line, err=True)


@label.command()
@click.argument("name", required=False)
@json_option
def prompts(name: str | None, as_json: bool) -> None:
    """List the prompts, or print one, to copy and change.

    Examples:

    \b
    featurestore label prompts
    featurestore label prompts contrastive > mine.md
    featurestore label --model qwen3 --base-url http://localhost:8080/v1 --prompt mine.md
    """
    from labeler import prompts as files

    if name:
        click.echo(files.load(name).path.read_text(encoding="utf-8"), nl=False)
        return
    rows = [{"prompt": prompt.id, "shows": prompt.about, "file": str(prompt.path)} for prompt in files.list_prompts()]
    if as_json:
        print_json_lines(rows)
        return
    print_table(rows, {"prompt": "prompt", "shows": "what the model is shown"})


@label.command("set")
@click.argument("id")
@click.argument("text")
@click.option("--as", "who", metavar="NAME", help="Your name: the explainer of the label is human:NAME.")
@store_option
def set_label(id: str, text: str, who: str | None, store: str) -> None:
    """Label feature ID yourself.

    Example: featurestore label set gpt2-small/8-res-jb/1234 "names of bridges"
    """
    with featurestore.connect(store) as opened:
        opened.set_label(id, text, f"human:{who}" if who else "human")
    click.echo(f"{id}: {text.strip()}")


@label.command(context_settings={"ignore_unknown_options": True})  # -1 is a vote, not an option
@click.argument("id")
@click.argument("text")
@click.argument("vote", type=int)
@click.option("--as", "voter", default="human", show_default=True, help="Your name; a second vote replaces the first.")
@store_option
def vote(id: str, text: str, vote: int, voter: str, store: str) -> None:
    """Vote on the label TEXT of feature ID. VOTE is +1, -1, or 0 to withdraw the vote.

    Example: featurestore label vote gpt2-small/8-res-jb/1234 "names of bridges" +1 --as ann
    """
    with featurestore.connect(store) as opened:
        opened.vote(id, text, vote, voter)
        for label in opened.feature(id, examples=0).labels:
            click.echo(f"{label.votes:+d}  {label.label}")


@label.command()
@click.argument("sql", required=False)
@click.option("--default", is_flag=True, help="Restore the rule of schema.sql.")
@store_option
def rule(sql: str | None, default: bool, store: str) -> None:
    """Show the rule for the best label, or set it: SQL that ranks labels; the largest rank is the best.

    It may use label, explainer, prompt, examples, votes, score and created_at; see label_rank in schema.sql.

    Example: featurestore label rule "(explainer = 'human', votes, coalesce(score, 0.5))"
    """
    opened = connect_local(store)
    if sql and default:
        raise BadRequest("a rule and --default: name one of the two")
    if sql or default:
        opened.set_label_rule(sql)
    click.echo(opened.info().label_rule)


def _set_label(opened: Store, id: str, text: str) -> LabelReport:
    from labeler.runs.label_run import LabelReport

    opened.set_label(id, text)
    return LabelReport(explainer="human", labelled=1)


def _label_from_tokens(opened: Store, dictionaries: tuple[str, ...], progress: Progress) -> LabelReport:
    from labeler.runs.token_label_run import label_from_tokens
    from labeler.selection import choose_dictionaries

    return label_from_tokens(opened, choose_dictionaries(opened, dictionaries), progress)


def _label_with_model(
    opened: Store, model: str, as_json: bool, progress: Progress, options: dict[str, Any]
) -> LabelReport | None:
    """The report of a run with a model; None after a dry run."""
    from labeler.runs import label_run

    asking = ModelOptions.of(model, options)
    job = label_run.LabelJob.of(model, options.pop("prompt") or "pairs", options.pop("explainer"), **options)
    choice, budget = job.choose(opened), asking.build_budget()
    cost = label_run.estimate_cost(opened, job, choice, budget)
    if asking.announce(cost, "features", "have their label", as_json):
        return None
    with asking.open_asker(opened.location, budget) as asker:
        return label_run.label_with_model(
            opened,
            asker,
            job,
            choice=choice,
            progress=progress,
            approval=asking.build_approval("features", as_json),
        )


def _print_report(report: LabelReport) -> None:
    click.echo(f"{report.labelled:,} features labelled by {report.explainer}, {report.skipped:,} skipped")
    print_spending(report)
    for reason, count in report.failed.items():
        click.echo(f"{count:,} not labelled: {reason}", err=True)
    for flaw, count in report.flawed.items():
        click.echo(f"{count:,} labels are {flaw}, though asked twice: their prompt ends in +{flaw}", err=True)
    if report.stopped:
        click.echo(f"{report.left:,} features left: {report.stopped}", err=True)


for command in (remove, history, disagree, duplicates, print_contradicted, cost):
    label.add_command(command)
