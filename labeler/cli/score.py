"""`featurestore score`: how well labels tell where their features are active, and a figure for a whole dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from featurestore import BadRequest, Progress
from featurestore.extension.commands import build_index, connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress
from labeler.cli.model_options import ModelOptions, asking_options, print_spending, refuse_without_model

if TYPE_CHECKING:
    from featurestore import Store
    from labeler.runs.score_run import ScoreReport
    from labeler.scorers.report import Figure

FREE = "embedding"
OF_JUDGES = ("prompts", "sample", "texts", "threshold")  # options that say what a judge is asked


@click.command()
@click.option(
    "--model", metavar="NAME", help="A language model as judge. Without it only the embedding method is used."
)
@click.option(
    "--methods",
    metavar="NAMES",
    help="Comma-separated: detection, fuzzing, intruder, simulation, embedding. Default: embedding, and with --model "
    "detection and fuzzing.",
)
@click.option(
    "--prompt", "prompts", multiple=True, metavar="FILE", help="File with your own prompt for the judge. Repeatable."
)
@click.option(
    "--explainer", metavar="NAME", help="Score the labels of this explainer. Default: the best label of each feature."
)
@click.option("--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("--where", metavar="SQL", help="Only features for which this condition over the view `features` holds.")
@click.option("--order", metavar="SQL", help="Order of the features, such as 'density desc'. Default: by id.")
@click.option("--limit", type=click.IntRange(1), help="At most this many features.")
@click.option("--sample", type=click.IntRange(1), metavar="N", help="Ask the judge about N labels drawn at random.")
@click.option(
    "--texts",
    type=click.IntRange(3, 200),
    default=20,
    show_default=True,
    help="Number of texts of each kind for each label.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Stop asking about a label once its intervals are on one side of this value.",
)
@click.option("--embedder", help="A model directory, a hub name, or openai:MODEL@BASE_URL. Default: the store's.")
@click.option("--redo", is_flag=True, help="Include labels that were scored before.")
@asking_options
@click.option(
    "--report", metavar="DICTIONARY", help="Print the known scores of a dictionary's labels, and score nothing."
)
@store_option
@json_option
@click.pass_context
def score(
    ctx: click.Context,
    /,
    model: str | None,
    methods: str | None,
    report: str | None,
    embedder: str | None,
    store: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Score labels on texts that their explainers did not see: all by an embedder, a sample by a judge.

    Examples:

    \b
    featurestore score --store my.features
    featurestore score --endpoint http://localhost:8080/v1 --model qwen3 --sample 500
    featurestore score --model gpt-4.1-mini --methods detection,simulation --explainer qwen3 --threshold 0.7
    featurestore score --report gpt2-small/8-res-jb
    """
    opened = connect_local(store)
    if report:
        _print_figures(opened, report, options["explainer"], as_json)
        return
    names, estimate = _parse_methods(methods, model), options["estimate"]
    if not model:
        refuse_without_model(ctx, OF_JUDGES, "embeddings are made here, of every label that is chosen")
    reports = []
    about = " ".join(word for word in (model, methods, *options["dictionaries"]) if word)
    with show_progress(store, "score", about) as progress:
        if FREE in names and not (options["dry_run"] or estimate):
            reports.append(_score_with_embedder(opened, embedder, options, progress))
        if model and names != [FREE]:
            judge_methods = [name for name in names if name != FREE]
            judged = _score_with_judge(opened, model, judge_methods, as_json, options, progress)
            if judged is None:
                return
            reports.append(judged)
        index_lines = build_index(opened, progress) if any(run.scores for run in reports) else []
    if as_json:
        print_json_lines([] if estimate else reports)
    else:
        for run in reports:
            _print_report(run)
    for line in index_lines:
        click.echo(line, err=True)


def _parse_methods(methods: str | None, model: str | None) -> list[str]:
    """The names of the methods. Raises BadRequest for unknown ones, and for those that need a judge without a model."""
    from labeler.runs.score_run import DEFAULT_METHODS
    from labeler.scorers.methods import METHODS

    names = [name.strip() for name in methods.split(",")] if methods else [FREE, *(DEFAULT_METHODS if model else ())]
    for name in names:
        if name not in (*METHODS, FREE):
            raise BadRequest(f"method: '{name}' is not one of {', '.join([*METHODS, FREE])}")
        if name != FREE and not model:
            raise BadRequest(f"{name} needs a judge: name one with --model, and where it is served with --endpoint")
    return names


def _score_with_embedder(
    opened: Store, embedder: str | None, options: dict[str, Any], progress: Progress
) -> ScoreReport:
    from labeler.runs.embedding_score_run import score_with_embedder
    from labeler.runs.score_run import ScoreJob

    job = ScoreJob({}, **{name: options[name] for name in ("dictionaries", "explainer", "where", "order", "limit")})
    return score_with_embedder(
        opened,
        job.choose(opened, ""),
        representative=job.representative,
        embedder=embedder,
        redo=options["redo"],
        progress=progress,
    )


def _score_with_judge(
    opened: Store, model: str, methods: list[str], as_json: bool, options: dict[str, Any], progress: Progress
) -> ScoreReport | None:
    """The report of a run with a judge; None after a dry run."""
    from labeler.runs.score_run import ScoreJob, estimate_cost, score_with_judge

    asking = ModelOptions.of(model, options)
    job = ScoreJob.of(methods, options.pop("prompts"), **options)
    labels, budget = job.choose(opened, model), asking.build_budget()
    if asking.announce(estimate_cost(opened, job, labels, budget), "labels", "are scored", as_json):
        return None
    with asking.open_asker(opened.location, budget) as asker:
        return score_with_judge(
            opened,
            asker,
            job,
            labels=labels,
            progress=progress,
            approval=asking.build_approval("labels", as_json),
        )


def _print_report(report: ScoreReport) -> None:
    click.echo(
        f"{report.labels:,} labels scored by {report.judge} ({report.scores:,} scores), {report.skipped:,} skipped"
    )
    print_spending(report)
    if report.unanswered:
        click.echo(f"{report.unanswered:,} judgements were not given: they count as failures, not in scores", err=True)
    if report.stopped_early:
        click.echo(f"{report.stopped_early:,} scores were decided early", err=True)
    if report.without_hard:
        click.echo(
            f"{report.without_hard:,} labels have no hard negatives: no decoder vectors or index, "
            "or no texts of neighbours",
            err=True,
        )
    for reason, count in report.failed.items():
        click.echo(f"{count:,} not scored: {reason}", err=True)
    if report.stopped:
        click.echo(f"{report.left:,} labels left: {report.stopped}", err=True)


def _print_figures(opened: Store, dictionary: str, explainer: str | None, as_json: bool) -> None:
    from labeler.scorers.report import compute_figures

    figures = compute_figures(opened, dictionary, explainer)
    if as_json:
        print_json_lines([figure._asdict() for figure in figures])
        return
    rows = [_build_row(figure) for figure in figures]
    if not rows:
        raise BadRequest(
            f"no label of {dictionary} has a score yet that counts for all: run `featurestore score` on it"
        )
    print_table(rows)
    stopped = sum(figure.stopped for figure in figures)
    if stopped:
        click.echo(f"{stopped:,} scores were decided early, so these figures lean outward a little", err=True)
    unjudged = sum(figure.unjudged for figure in figures)
    if unjudged:
        click.echo(f"{unjudged:,} scores have no value: the judge answered nothing readable", err=True)


def _build_row(figure: Figure) -> dict[str, Any]:
    """A figure as a row of the table for people."""
    interval = None if figure.low is None or figure.high is None else f"{figure.low:.3f} to {figure.high:.3f}"
    return {
        "method": figure.method,
        "against": figure.negatives,
        "judge": figure.judge,
        "score": None if figure.value is None else round(figure.value, 3),
        "interval": interval,
        "chance": figure.baseline,
        "auc": None if figure.auc is None else round(figure.auc, 3),
        "features": f"{figure.features:,} of {figure.labelled:,}",
        "n": figure.judgements,
        "failed": figure.failures,
        "tokens": figure.tokens,
    }
