"""`featurestore label`: labels from token statistics, from a language model, or from you."""

from __future__ import annotations

from typing import Any

import click

import featurestore
from featurestore import BadRequest, Progress
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from labeler.cli.model_options import Asking, asking_options, refuse_without_model, tell_spent

OF_MODELS = ("prompt", "explainer", "where", "order", "limit", "redo")  # options that say what a model is asked


@click.group(invoke_without_command=True)
@click.option("--model", metavar="NAME", help="A language model to ask. Without it, labels come from token statistics.")
@click.option(
    "--prompt", metavar="NAME_OR_FILE", help="How to ask, see `featurestore label prompts`. Default: pairs. Or a file."
)
@click.option("--as", "explainer", metavar="NAME", help="The explainer's name on the labels. Default: the model's.")
@click.option("--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("--where", metavar="SQL", help="Only features for which this condition over the view `features` holds.")
@click.option("--order", metavar="SQL", help="Which features come first, as in 'density desc'. Default: by id.")
@click.option("--limit", type=click.IntRange(1), help="At most this many features.")
@click.option("--redo", is_flag=True, help="Also features that this explainer labelled before.")
@asking_options
@click.option("--set", "by_hand", nargs=2, metavar="ID TEXT", help="Set your own label of one feature.")
@click.option("--no-index", is_flag=True, help="Do not index the new labels.")
@store_option
@json_option
@click.pass_context
def label(
    ctx: click.Context,
    model: str | None,
    by_hand: tuple[str, str] | None,
    no_index: bool,
    store: str,
    as_json: bool,
    **given: Any,
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
    opened = connect_local(store)
    report: Any
    with show_progress(store, "label", " ".join([model or "tokens", *given["dictionaries"]])) as progress:
        if by_hand:
            from labeler.runs.label_run import Labelled

            opened.set_label(*by_hand)
            report = Labelled(explainer="human", labelled=1)
        elif model:
            report = _with_model(opened, model, as_json, progress, **given)
            if report is None:
                return
        else:
            from labeler.runs.token_label_run import by_tokens
            from labeler.selection import choose_dictionaries

            refuse_without_model(ctx, OF_MODELS, "token statistics label every feature of a dictionary")
            report = by_tokens(opened, choose_dictionaries(opened, given["dictionaries"]), progress)
        index_lines = [] if no_index or not report.labelled else build_index(opened, progress)
    if as_json:
        print_json_lines([report])
        return
    _tell(report)
    for line in index_lines:
        click.echo(line, err=True)


@label.command()
@click.argument("name", required=False)
@json_option
def prompts(name: str | None, as_json: bool) -> None:
    """List the prompts there are, or print one, to copy and change.

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
    rows = [{"prompt": one.id, "shows": one.about, "file": str(one.path)} for one in files.shipped()]
    if as_json:
        print_json_lines(rows)
        return
    print_table(rows, {"prompt": "prompt", "shows": "what the model is shown"})


@label.command("set")
@click.argument("id")
@click.argument("text")
@click.option("--as", "who", metavar="NAME", help="Who says so: a label for each person. It stands as by human:NAME.")
@store_option
def set_label(id: str, text: str, who: str | None, store: str) -> None:
    """Say yourself what feature ID means.

    Example: featurestore label set gpt2-small/8-res-jb/1234 "names of bridges"
    """
    with featurestore.connect(store) as opened:
        opened.set_label(id, text, f"human:{who}" if who else "human")
    click.echo(f"{id}: {text.strip()}")


@label.command(context_settings={"ignore_unknown_options": True})  # -1 is a vote, not an option
@click.argument("id")
@click.argument("text")
@click.argument("vote", type=int)
@click.option("--as", "voter", default="human", show_default=True, help="Who votes; a second vote replaces the first.")
@store_option
def vote(id: str, text: str, vote: int, voter: str, store: str) -> None:
    """Vote on a label of feature ID: TEXT says which, VOTE is +1, -1, or 0 to take it back.

    Example: featurestore label vote gpt2-small/8-res-jb/1234 "names of bridges" +1 --as ann
    """
    with featurestore.connect(store) as opened:
        opened.vote(id, text, vote, voter)
        for one in opened.feature(id, examples=0).labels:
            click.echo(f"{one.votes:+d}  {one.label}")


@label.command()
@click.argument("sql", required=False)
@click.option("--default", is_flag=True, help="Go back to the rule of schema.sql.")
@store_option
def rule(sql: str | None, default: bool, store: str) -> None:
    """Show the rule by which the best label is chosen, or set it: SQL that ranks labels, the largest is the best.

    It may use label, explainer, prompt, examples, votes, score and created_at; see label_rank in schema.sql.

    Example: featurestore label rule "(explainer = 'human', votes, coalesce(score, 0.5))"
    """
    opened = connect_local(store)
    if sql and default:
        raise BadRequest("a rule and --default: name one of the two")
    if sql or default:
        opened.set_label_rule(sql)
    click.echo(opened.info().label_rule)


def _agreement(opened: Any, dictionaries: tuple[str, ...], rows: Any, as_json: bool) -> None:
    from labeler.selection import choose_dictionaries

    found = rows(choose_dictionaries(opened, dictionaries))
    if as_json:
        print_json_lines(found)
        return
    print_table([{name: ", ".join(v) if isinstance(v, list) else v for name, v in row.items()} for row in found])


dictionary_option = click.option(
    "--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable."
)
most_option = click.option("-k", "k", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many.")


@label.command()
@click.argument("explainer")
@click.argument("other")
@click.option("--embedder", help="As for `featurestore index`. Default: the store's.")
@dictionary_option
@most_option
@store_option
@json_option
def disagree(
    explainer: str,
    other: str,
    embedder: str | None,
    dictionaries: tuple[str, ...],
    k: int,
    store: str,
    as_json: bool,
) -> None:
    """Features that two explainers say the most different things of, by the distance of their labels' embeddings.

    Example: featurestore label disagree tokens qwen3 -k 50
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    rows = lambda names: agreement.disagreements(opened, explainer, other, names, k, embedder)  # noqa: E731
    _agreement(opened, dictionaries, rows, as_json)


@label.command()
@click.option("--explainer", metavar="NAME", help="Only its labels. Default: the best label of each feature.")
@dictionary_option
@most_option
@store_option
@json_option
def duplicates(explainer: str | None, dictionaries: tuple[str, ...], k: int, store: str, as_json: bool) -> None:
    """Labels that several features share.

    Example: featurestore label duplicates --dictionary gpt2-small/8-res-jb
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _agreement(opened, dictionaries, lambda names: agreement.repeated(opened, names, explainer, k), as_json)


@label.command()
@click.option(
    "--below", type=click.FloatRange(0, 1), default=0.6, show_default=True, help="What the interval is under."
)
@dictionary_option
@most_option
@store_option
@json_option
def contradicted(below: float, dictionaries: tuple[str, ...], k: int, store: str, as_json: bool) -> None:
    """Labels that their features' texts speak against: the whole interval of a score is low.

    Example: featurestore label contradicted --below 0.55
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _agreement(opened, dictionaries, lambda names: agreement.contradicted(opened, names, below, k), as_json)


@label.command()
@dictionary_option
@store_option
@json_option
def cost(dictionaries: tuple[str, ...], store: str, as_json: bool) -> None:
    """What labels and scores took, by explainer and judge, and what a hundredth of score above chance costs.

    Example: featurestore label cost
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _agreement(opened, dictionaries, lambda names: agreement.costs(opened, names), as_json)


def _with_model(opened: Any, model: str, as_json: bool, progress: Progress, **given: Any) -> Any:
    """The report of a run with a model; None after a dry one."""
    from labeler.runs import label_run

    asking = Asking.of(model, given)
    job = label_run.Job.of(model, given.pop("prompt") or "pairs", given.pop("explainer"), **given)
    choice, account = job.choose(opened), asking.account()
    if asking.told(label_run.estimate(opened, job, choice, account), "features", "have their label", as_json):
        return None
    with asking.asker(opened.location, account) as asker:
        return label_run.by_model(opened, asker, job, choice=choice, progress=progress)


def _tell(report: Any) -> None:
    click.echo(f"{report.labelled:,} features labelled by {report.explainer}, {report.skipped:,} skipped")
    tell_spent(report)
    for reason, count in report.failed.items():
        click.echo(f"{count:,} not labelled: {reason}", err=True)
    for flaw, count in report.flawed.items():
        click.echo(f"{count:,} labels are {flaw}, though asked twice: their prompt ends in +{flaw}", err=True)
    if report.stopped:
        click.echo(f"{report.left:,} features left: {report.stopped}", err=True)
