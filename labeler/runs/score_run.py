"""Scoring a store's labels with a language model: choose labels, ask about each; answers are in the journal."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow

from featurestore import BadRequest, Feature, Progress, Store
from labeler import prompts
from labeler.explainers.llm_explainer import MissingEvidence
from labeler.llm.asker import AnswerPending, Asker
from labeler.llm.budget import Budget
from labeler.llm.completions import Messages, estimate_tokens
from labeler.llm.endpoint import Endpoint, RequestRefused
from labeler.llm.rate_limit import RunStopped
from labeler.prompts import Prompt
from labeler.runs.base import CHUNK, SAMPLE, CostEstimate, Outcome, RunReport, Work, describe_defect, run
from labeler.runs.first_sample import Approval
from labeler.runs.row_buffer import RowBuffer
from labeler.scorers import sample
from labeler.scorers.examples import TEXTS, ExampleSource
from labeler.scorers.judge import Judge
from labeler.scorers.methods import METHODS, Question
from labeler.scorers.sample import Target
from labeler.selection import choose_dictionaries

DEFAULT_METHODS = ("detection", "fuzzing")  # of a judge, unless others are named

Page = tuple[Feature, ExampleSource, list[Target]]  # a feature, the texts of its dictionary, and its labels to score


class ScoreReport(RunReport, frozen=True, kw_only=True):
    """What a run did: `labels` were scored with `scores`; those `skipped` had theirs.

    `unanswered` judgements were asked for and not given: they are counted in the scores. `without_hard` labels have no
    hard negatives: no decoder vectors, no index, or no texts.
    """

    judge: str
    labels: int
    scores: int
    unanswered: int = 0
    stopped_early: int = 0
    without_hard: int = 0


class ScoreJob(NamedTuple):
    """What a run does: which labels it scores, and by which methods.

    Labels of `explainer`, or the best of each feature, of features for which `where` (SQL over the view features)
    holds, in `order`. With `sample` a random sample of that many. `texts` of each kind for one label. With `threshold`
    no more is asked about a label once its intervals are on one side of it. Labels that the judge scored before are
    left out unless `redo`.
    """

    prompts: dict[str, Prompt]
    dictionaries: Sequence[str] = ()
    explainer: str | None = None
    where: str | None = None
    order: str | None = None
    limit: int | None = None
    sample: int | None = None
    texts: int = TEXTS
    threshold: float | None = None
    redo: bool = False

    @classmethod
    def of(cls, methods: Sequence[str] = DEFAULT_METHODS, files: Sequence[str] = (), **chosen: Any) -> ScoreJob:
        """A job by these methods; `files` are prompts that replace those of the package.

        Raises BadRequest or NotFound.
        """
        for name in methods:
            if name not in METHODS:
                raise BadRequest(f"method: '{name}' is not one of {', '.join([*METHODS, 'embedding'])}")
        by_method = {name: prompts.load(name, judge=True) for name in methods}
        for file in files:
            prompt = prompts.load(file, judge=True)
            if prompt.name not in by_method:
                raise BadRequest(f"{file} is a prompt for {prompt.name}, which is none of the methods of this run")
            by_method[prompt.name] = prompt
        return cls(by_method, **chosen)

    @property
    def representative(self) -> bool:
        """Whether the scored labels stand for all of their dictionaries'."""
        return self.where is None and self.limit is None

    def choose(self, store: Store, judge: str) -> pyarrow.Table:
        """The labels as `sample.read_labels` returns them. Raises BadRequest or NotFound."""
        names = choose_dictionaries(store, self.dictionaries)
        used = [prompt.id for prompt in self.prompts.values()]
        labels = sample.read_labels(store, names, self.explainer, self.where, self.order, self.limit, judge, used)
        return labels if self.sample is None else sample.draw_sample(labels, self.sample)

    def methods_left(self, target: Target) -> list[str]:
        """The methods by which a label is still to be scored."""
        return [name for name in self.prompts if self.redo or name not in target.done]


def estimate_cost(store: Store, job: ScoreJob, labels: pyarrow.Table, budget: Budget) -> CostEstimate:
    """What a run will cost at most, from the questions about a few labels. The journal is ignored."""
    count = labels.num_rows
    few = labels.take(list(range(0, count, max(1, count // SAMPLE)))) if count else labels
    skipped = sum(not job.methods_left(target) for target in sample.iterate_targets(labels))
    sizes, replies = [], []
    messages: list[Messages] = []
    for page, examples, targets in read_pages(store, few):
        for target in targets:
            questions = _build_questions(job, page, examples, target)
            messages += [question.messages for question in questions]
            sizes.append(sum(estimate_tokens(question.messages) for question in questions))
            replies.append(sum(question.tokens_out for question in questions))
    share = count / max(1, len(sizes))
    return CostEstimate.of(count - skipped, skipped, sum(sizes) * share, sum(replies) * share, budget, messages)


def _build_questions(job: ScoreJob, page: Feature, examples: ExampleSource, target: Target) -> list[Question]:
    questions: list[Question] = []
    for name in job.methods_left(target):
        try:
            material = examples.collect_material(page, job.texts)
            questions += METHODS[name].ask(target.label, material, job.prompts[name], page.id)
        except MissingEvidence:
            continue
    return questions


def score_with_judge(
    store: Store,
    asker: Asker | Endpoint,
    job: ScoreJob | None = None,
    *,
    labels: pyarrow.Table | None = None,
    progress: Progress,
    approval: Approval | None = None,
    **chosen: Any,
) -> ScoreReport:
    """Score labels with a language model. Without a `job` the keywords are those of ScoreJob.of.

    A label's scores are written when all its questions are answered, in batches; every answer is in the asker's journal
    before that, so a killed run pays for none twice. A spent budget ends the run, and the report says so. With an
    `approval` a sample is scored first, and the rest when it approves what the whole will cost.
    Raises Unavailable when the endpoint is down or refuses the key; answers until then are kept.
    """
    asker = asker if isinstance(asker, Asker) else Asker([asker])
    return _run_job(store, asker, job or ScoreJob.of(**chosen), labels, progress, approval)


def _run_job(
    store: Store,
    asker: Asker,
    job: ScoreJob,
    labels: pyarrow.Table | None,
    progress: Progress,
    approval: Approval | None,
) -> ScoreReport:
    table = job.choose(store, asker.model) if labels is None else labels
    unscored = [bool(job.methods_left(target)) for target in sample.iterate_targets(table)]
    judge = Judge(asker, job.prompts, job.threshold, job.representative)
    rows = RowBuffer(store, "scores", "score")
    work = Work[pyarrow.Table, Page](
        f"scoring with {asker.model}",
        "scores",
        read=lambda table: read_pages(store, table),
        ask=lambda page: _ask(judge, job, page),
        remove=_remove_rows,
        describe_problems=lambda tally: f"{tally.counts['unanswered']:,} unanswered",
        split=_split,
    )
    tally = run(work, _filter_rows(table, unscored), asker, rows, progress, approval)
    return ScoreReport(
        judge=asker.model,
        labels=tally.counts["labels"],
        scores=rows.written,
        skipped=len(unscored) - sum(unscored),
        unanswered=tally.counts["unanswered"],
        stopped_early=tally.counts["stopped"],
        without_hard=tally.counts["without hard"],
        **tally.report_fields(sum(unscored)),
    )


def _filter_rows(table: pyarrow.Table, keep: Sequence[bool]) -> pyarrow.Table:
    return table.filter(pyarrow.array(keep, pyarrow.bool_()))


def _remove_rows(table: pyarrow.Table, rows: Sequence[int]) -> pyarrow.Table:
    """The table without the rows of these numbers."""
    removed = frozenset(rows)
    return _filter_rows(table, [row not in removed for row in range(table.num_rows)])


def _split(table: pyarrow.Table, count: int) -> tuple[pyarrow.Table, pyarrow.Table]:
    """So many labels from all parts of a table, and the others."""
    chosen = list(range(0, table.num_rows, max(1, table.num_rows // count)))[:count]
    return table.take(chosen), _remove_rows(table, chosen)


def _ask(judge: Judge, job: ScoreJob, page: Page) -> Outcome | None:
    """The scores of a feature's labels, or why there are none; None when answers are pending or the run was stopped."""
    judge.asker.readability.check()
    feature, examples, targets = page
    rows: list[dict[str, Any]] = []
    failed: collections.Counter[str] = collections.Counter()
    pending = False
    try:
        material = examples.collect_material(feature, job.texts)
        for target in targets:
            for name in job.methods_left(target):
                try:
                    rows.extend(judge.score(name, target, material))
                except MissingEvidence as exc:
                    failed[f"{name}: {exc}"] += 1
                except AnswerPending:  # answers for other methods may be waited for together with these
                    pending = True
    except MissingEvidence as exc:
        failed[str(exc)] += len(targets)
    except RequestRefused as exc:
        return _count(targets, rows, failed, refused=exc)
    except RunStopped:
        return None
    except Exception as exc:
        failed[describe_defect(exc)] += len(targets)
    return None if pending else _count(targets, rows, failed)


def _count(
    targets: Sequence[Target],
    rows: Sequence[dict[str, Any]],
    failed: collections.Counter[str],
    refused: RequestRefused | None = None,
) -> Outcome:
    """An outcome with the counts of a ScoreReport."""
    labels = {(row["label"], row["explainer"]) for row in rows}
    counts = collections.Counter(
        {
            "labels": len(labels),
            "stopped": sum(row["stopped"] for row in rows),
            "without hard": 0 if any(row["negatives"] == "hard" for row in rows) else len(labels),
            "unanswered": sum(row["failures"] for row in rows),
        }
    )
    return Outcome([target.row for target in targets], rows, failed, counts, refused)


def read_pages(store: Store, table: pyarrow.Table) -> Iterator[Page]:
    """The features' pages with their labels to score, and the texts of their dictionaries.

    Each few thousand of the table are read together, in the order they are stored in.
    """
    sources: dict[str, ExampleSource] = {}
    for first in range(0, table.num_rows, CHUNK):
        targets = sorted(
            sample.iterate_targets(table.slice(first, CHUNK), first),
            key=lambda target: (target.dictionary, target.feature),
        )
        by_id = {id: list(group) for id, group in itertools.groupby(targets, key=lambda target: target.id)}
        for page in store.evidence(list(by_id)):
            if page.dictionary not in sources:
                sources[page.dictionary] = ExampleSource(store, page.dictionary)
            yield page, sources[page.dictionary], by_id[page.id]
