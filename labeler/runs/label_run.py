"""Labelling a store with a language model: choose features, explain each; answers outlive the run in the journal."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from featurestore import Example, Feature, FeatureId, Progress, Store
from labeler import prompts
from labeler.explainers.llm_explainer import (
    TOP_EXAMPLES,
    Explanation,
    MissingEvidence,
    build_messages,
    explain,
    select_silent,
)
from labeler.llm.asker import AnswerPending, Asker
from labeler.llm.budget import Budget
from labeler.llm.completions import Answer, UnreadableReply, estimate_tokens
from labeler.llm.endpoint import Endpoint, RequestRefused
from labeler.llm.rate_limit import RunStopped
from labeler.prompts import Prompt
from labeler.runs.base import CHUNK, SAMPLE, CostEstimate, Outcome, RunReport, Work, describe_defect, run
from labeler.runs.first_sample import Approval
from labeler.runs.row_buffer import Row, RowBuffer
from labeler.selection import Choice, choose, choose_dictionaries

NEIGHBOURS, EXAMPLES_OF_EACH = 5, 3  # whose texts the contrastive prompt shows, and how many of each
TOKENS_OF_LABEL = 30  # about, in JSON


class LabelReport(RunReport, frozen=True, kw_only=True):
    """What a run did: it `labelled` so many features; those `skipped` had a label by this explainer, or never fired.

    `flawed` counts by flaw the labels that are vague or foreign after a second question; they are among the labelled.
    """

    explainer: str
    labelled: int
    flawed: dict[str, int] = {}  # noqa: RUF012 - each report gets its own


class LabelJob(NamedTuple):
    """What a run with a language model does: which features it asks about, how, and whose name the labels carry.

    `where` and `order` are SQL over the view `features`: features are taken in that order. Features that `explainer`
    labelled before are left out unless `redo`.
    """

    prompt: Prompt
    explainer: str
    dictionaries: Sequence[str] = ()
    where: str | None = None
    order: str | None = None
    limit: int | None = None
    redo: bool = False

    @classmethod
    def of(cls, model: str, prompt: str = prompts.DEFAULT, explainer: str | None = None, **chosen: Any) -> LabelJob:
        """A job for a model. Its labels carry the model's name, and the prompt's where it is not the default one."""
        loaded = prompts.load(prompt)
        usual = model if loaded.name == prompts.DEFAULT else f"{model}+{loaded.name}"
        return cls(loaded, explainer or usual, **chosen)

    def choose(self, store: Store) -> Choice:
        """The features it is about. Raises BadRequest or NotFound."""
        names = choose_dictionaries(store, self.dictionaries)
        live = bool(self.prompt.places & {"pairs", "windows", "others"})
        return choose(store, names, self.explainer, self.where, self.order, self.limit, self.redo, live)


def estimate_cost(store: Store, job: LabelJob, choice: Choice, budget: Budget) -> CostEstimate:
    """What a job will cost, from the prompts of a few of its features; answers in the journal are not subtracted."""
    sizes, prompts = [], []
    for page in _read_pages(store, choice[:: max(1, len(choice) // SAMPLE)], job.prompt):
        try:
            others = _find_others(store, page, job.prompt)
            prompts.append(build_messages(page, job.prompt, others))
            sizes.append(estimate_tokens(prompts[-1]))
        except MissingEvidence:
            sizes.append(0)
    tokens_in, tokens_out = sum(sizes) / max(1, len(sizes)) * len(choice), TOKENS_OF_LABEL * len(choice)
    return CostEstimate.of(len(choice), choice.skipped, tokens_in, tokens_out, budget, prompts)


def label_with_model(
    store: Store,
    asker: Asker | Endpoint,
    job: LabelJob | None = None,
    *,
    choice: Choice | None = None,
    progress: Progress,
    approval: Approval | None = None,
    **chosen: Any,
) -> LabelReport:
    """Label features with a language model. Without a `job` the keywords are those of LabelJob.of.

    Answers are in the asker's journal before they are used, and labels are written every 2,000, so a killed run repeats
    no answer that it had. Replies without a label are counted by reason and never stored. A spent budget ends the run,
    and the report says so. With an `approval` a sample is labelled first, and the rest when it approves what
    the whole will cost. Raises Unavailable when the endpoint is down or refuses the key; answers until then are kept.
    """
    asker = asker if isinstance(asker, Asker) else Asker([asker])
    return _run_job(store, asker, job or LabelJob.of(asker.model, **chosen), choice, progress, approval)


def _run_job(
    store: Store, asker: Asker, job: LabelJob, choice: Choice | None, progress: Progress, approval: Approval | None
) -> LabelReport:
    choice = job.choose(store) if choice is None else choice
    rows = RowBuffer(store, "labels", "label")
    work = Work[Choice, Feature](
        f"labelling with {job.explainer}",
        "labels",
        read=lambda choice: _read_pages(store, choice, job.prompt),
        ask=lambda page: _ask(store, asker, job, page),
        remove=lambda choice, ids: choice.without(ids),
        describe_problems=lambda tally: f"{sum(tally.failed.values()):,} failed",
        split=_split,
    )
    tally = run(work, choice, asker, rows, progress, approval)
    return LabelReport(
        explainer=job.explainer,
        labelled=rows.written,
        skipped=choice.skipped,
        flawed=dict(tally.counts),
        **tally.report_fields(len(choice)),
    )


def _split(choice: Choice, count: int) -> tuple[Choice, Choice]:
    """So many features from all parts of a choice, and the others."""
    sample = choice[:: max(1, len(choice) // count)][:count]
    return sample, choice.without(list(sample))


def _ask(store: Store, asker: Asker, job: LabelJob, page: Feature) -> Outcome | None:
    """A feature's label, or why it has none; None when answers are pending or the run was stopped."""
    asker.readability.check()
    answers: list[Answer] = []

    def ask(*question: Any, **settings: Any) -> Answer:
        """Ask, and keep the answer for the row's cost."""
        answers.append(asker.ask(*question, **settings))
        return answers[-1]

    outcome = Outcome([page.id], [], collections.Counter(), collections.Counter())
    try:
        explanation = explain(page, job.prompt, ask, _find_others(store, page, job.prompt))
    except MissingEvidence as exc:
        outcome.failed[str(exc)] += 1
        return outcome
    except UnreadableReply as exc:
        asker.readability.record(answers, str(exc))
        outcome.failed[str(exc)] += 1
        return outcome
    except RequestRefused as exc:
        return outcome._replace(refused=exc)
    except (RunStopped, AnswerPending):
        return None
    except Exception as exc:
        outcome.failed[describe_defect(exc)] += 1
        return outcome
    asker.readability.record(answers, None)
    if explanation.flaw:
        outcome.counts[explanation.flaw] += 1
    return outcome._replace(rows=[_build_row(asker, job, page.id, explanation, answers)])


def _build_row(asker: Asker, job: LabelJob, id: str, explanation: Explanation, answers: Sequence[Answer]) -> Row:
    """The row of stored.labels. A flaw is noted in the name of the prompt, which says how the label was made."""
    feature = FeatureId.parse(id)
    return {
        "dictionary": feature.dictionary,
        "feature": feature.feature,
        "label": explanation.label,
        "prompt": job.prompt.id + (f"+{explanation.flaw}" if explanation.flaw else ""),
        "explainer": job.explainer,
        "examples": explanation.examples,
        **asker.price(sum(answer.tokens_in for answer in answers), sum(answer.tokens_out for answer in answers)),
    }


def _read_pages(store: Store, choice: Choice, prompt: Prompt) -> Iterator[Feature]:
    """The features' pages. Each few thousand of the choice are read together, in the order they are stored in."""
    # Some of the strongest examples are held out, so more are read than are shown.
    examples = None if "others" in prompt.places else 3 * TOP_EXAMPLES
    for first in range(0, len(choice), CHUNK):
        yield from store.evidence(choice[first : first + CHUNK].sort_by_id(), examples)


def _find_others(store: Store, page: Feature, prompt: Prompt) -> list[Example]:
    """Examples of the feature's neighbours on which it is silent, where the prompt shows such texts; else none."""
    if "others" not in prompt.places:
        return []
    near = [hit.id for hit in store.nearest(page.id, k=NEIGHBOURS + 1, within=page.dictionary) if hit.id != page.id]
    candidates = [
        example
        for neighbour in store.evidence(near[:NEIGHBOURS], EXAMPLES_OF_EACH)
        for example in neighbour.examples
        if example.band == "top"
    ]
    # The first example of each neighbour comes before the second of any.
    return select_silent(page.examples, sorted(candidates, key=lambda example: example.rank))
