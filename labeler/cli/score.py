"""`featurestore score`: how well labels tell where their features are active, and a figure for a whole dictionary."""

from __future__ import annotations

from typing import Any

import click

from featurestore import BadRequest, Progress
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from labeler.cli.model_options import Asking, asking_options, refuse_without_model, tell_spent

FREE = "embedding"
OF_JUDGES = ("prompts", "sample", "texts", "threshold")  # options that say what a judge is asked


@click.command()
@click.option(
    "--model", metavar="NAME", help="A language model as judge. Without it only the embedding method is used."
)
@click.option(
    "--methods",
    metavar="NAMES",
    help="Of detection, fuzzing, intruder, simulation, embedding; with commas. Default: embedding, and with --model "
    "detection and fuzzing.",
)
@click.option("--prompt", "prompts", multiple=True, metavar="FILE", help="A judge's prompt of your own. Repeatable.")
@click.option("--explainer", metavar="NAME", help="Score its labels. Default: the best label of each feature.")
@click.option("--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("--where", metavar="SQL", help="Only features for which this condition over the view `features` holds.")
@click.option("--order", metavar="SQL", help="Which features come first, as in 'density desc'. Default: by id.")
@click.option("--limit", type=click.IntRange(1), help="At most this many features.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Ask the judge about N labels drawn by chance.")
@click.option(
    "--texts", type=click.IntRange(3, 200), default=20, show_default=True, help="Texts of each kind, a label."
)
@click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Ask no more once a label's intervals are on one side of this."
)
@click.option("--embedder", help="A model directory, a hub name, or openai:MODEL@BASE_URL. Default: the store's.")
@click.option("--redo", is_flag=True, help="Also labels that were scored before.")
@asking_options
@click.option("--report", metavar="DICTIONARY", help="Say what is known of a dictionary's labels, and score nothing.")
@store_option
@json_option
@click.pass_context
def score(
    ctx: click.Context,
    model: str | None,
    methods: str | None,
    report: str | None,
    embedder: str | None,
    store: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Score labels on texts that their explainers did not see: by an embedder for all, by a judge for a sample.

    Examples:

    \b
    featurestore score --store my.features
    featurestore score --endpoint http://localhost:8080/v1 --model qwen3 --sample 500
    featurestore score --model gpt-4.1-mini --methods detection,simulation --explainer qwen3 --threshold 0.7
    featurestore score --report gpt2-small/8-res-jb
    """
    opened = connect_local(store)
    if report:
        _report(opened, report, given["explainer"], as_json)
        return
    names = _names(methods, model)
    if not model:
        refuse_without_model(ctx, OF_JUDGES, "embeddings are made here, of every label that is chosen")
    reports = []
    about = " ".join(word for word in (model, methods, *given["dictionaries"]) if word)
    with show_progress(store, "score", about) as progress:
        if FREE in names and not given["dry_run"]:
            reports.append(_embedded(opened, embedder, given, progress))
        if model and names != [FREE]:
            judged = _judged(opened, model, [name for name in names if name != FREE], as_json, given, progress)
            if judged is None:
                return
            reports.append(judged)
        index_lines = build_index(opened, progress) if any(one.scores for one in reports) else []
    if as_json:
        print_json_lines(reports)
    else:
        for one in reports:
            _tell(one)
    for line in index_lines:
        click.echo(line, err=True)


def _names(methods: str | None, model: str | None) -> list[str]:
    from labeler.runs.score_run import JUDGED
    from labeler.scorers.methods import METHODS

    names = [one.strip() for one in methods.split(",")] if methods else [FREE, *(JUDGED if model else ())]
    for name in names:
        if name not in (*METHODS, FREE):
            raise BadRequest(f"method: '{name}' is not one of {', '.join([*METHODS, FREE])}")
        if name != FREE and not model:
            raise BadRequest(f"{name} needs a judge: name one with --model, and where it is served with --endpoint")
    return names


def _embedded(opened: Any, embedder: str | None, given: dict[str, Any], progress: Progress) -> Any:
    from labeler.runs.embedding_score_run import by_embedding
    from labeler.runs.score_run import Job

    asked = {name: given[name] for name in ("dictionaries", "explainer", "where", "order", "limit")}
    job = Job({}, **asked)
    chosen = job.choose(opened, "")
    return by_embedding(opened, chosen, sampled=job.sampled, embedder=embedder, redo=given["redo"], progress=progress)


def _judged(opened: Any, model: str, names: list[str], as_json: bool, given: dict[str, Any], progress: Progress) -> Any:
    """The report of a run with a judge; None after a dry one."""
    from labeler.runs.score_run import Job, by_judge, estimate

    asking = Asking.of(model, given)
    job = Job.of(names, given.pop("prompts"), **given)
    chosen, account = job.choose(opened, model), asking.account()
    if asking.told(estimate(opened, job, chosen, account), "labels", "are scored", as_json):
        return None
    with asking.asker(opened.location, account) as asker:
        return by_judge(opened, asker, job, chosen=chosen, progress=progress)


def _tell(report: Any) -> None:
    click.echo(
        f"{report.labels:,} labels scored by {report.judge} ({report.scores:,} scores), {report.skipped:,} skipped"
    )
    tell_spent(report)
    if report.unanswered:
        click.echo(f"{report.unanswered:,} judgements were not given: they count as failures, not in scores", err=True)
    if report.stopped_early:
        click.echo(f"{report.stopped_early:,} scores were decided early", err=True)
    if report.without_hard:
        click.echo(
            f"{report.without_hard:,} labels have no hard negatives: no decoder vectors or index, or no texts of neighbours",
            err=True,
        )
    for reason, count in report.failed.items():
        click.echo(f"{count:,} not scored: {reason}", err=True)
    if report.stopped:
        click.echo(f"{report.left:,} labels left: {report.stopped}", err=True)


def _report(opened: Any, dictionary: str, explainer: str | None, as_json: bool) -> None:
    from labeler.scorers.report import figures

    found = figures(opened, dictionary, explainer)
    if as_json:
        print_json_lines([one._asdict() for one in found])
        return
    rows = [
        {
            "method": one.method,
            "against": one.negatives,
            "judge": one.judge,
            "score": None if one.value is None else round(one.value, 3),
            "interval": None if one.low is None else f"{one.low:.3f} to {one.high:.3f}",
            "chance": one.baseline,
            "auc": None if one.auc is None else round(one.auc, 3),
            "features": f"{one.features:,} of {one.labelled:,}",
            "n": one.judgements,
            "failed": one.failures,
            "tokens": one.tokens,
        }
        for one in found
    ]
    if not rows:
        raise BadRequest(
            f"no label of {dictionary} has a score yet that counts for all: run `featurestore score` on it"
        )
    print_table(rows)
    stopped = sum(one.stopped for one in found)
    if stopped:
        click.echo(f"{stopped:,} scores were decided early, so these figures lean outward a little", err=True)
    lacking = sum(one.unjudged for one in found)
    if lacking:
        click.echo(f"{lacking:,} scores have no value: the judge answered nothing readable", err=True)
