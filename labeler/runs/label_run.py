"""Labelling a store with a language model: choose features, explain each; answers outlive the run in the journal."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import featurestore
from featurestore import Example, Feature, Progress
from labeler import prompts
from labeler.explainers.llm_explainer import (
    TOP_EXAMPLES,
    Explanation,
    MissingEvidence,
    build_messages,
    explain,
    select_silent,
)
from labeler.llm.asker import Asker, Waits
from labeler.llm.budget import Budget
from labeler.llm.endpoint import Answer, Endpoint, Refused, tokens_about
from labeler.llm.rate_limit import Stopped
from labeler.llm.replies import UnreadableReply
from labeler.prompts import Prompt
from labeler.runs.base import CHUNK, SAMPLE, Estimate, Report, Run
from labeler.runs.row_buffer import Rows
from labeler.selection import Choice, choose, choose_dictionaries

NEIGHBOURS, OF_EACH = 5, 3  # whose texts the contrastive prompt shows, and how many of each
ABOUT_OUT = 30  # tokens of a label in JSON


class Labelled(Report, frozen=True, kw_only=True):
    """What a run did: so many features were `labelled`; those `skipped` had a label by this explainer, or are dead.

    `flawed` labels, by flaw, are among the labelled: vague or foreign after a second question.
    """

    explainer: str
    labelled: int
    flawed: dict[str, int] = {}  # noqa: RUF012 - each report gets its own


class Job(NamedTuple):
    """What a run with a language model is to do: which features, asked how, written under whose name.

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
    def of(cls, model: str, prompt: str = prompts.DEFAULT, explainer: str | None = None, **chosen: Any) -> Job:
        """A job for a model. Its labels carry the model's name, and that of the prompt where it is not the usual one."""
        loaded = prompts.load(prompt)
        usual = model if loaded.name == prompts.DEFAULT else f"{model}+{loaded.name}"
        return cls(loaded, explainer or usual, **chosen)

    def choose(self, store: Any) -> Choice:
        """The features it is about. Raises BadRequest or NotFound."""
        names = choose_dictionaries(store, self.dictionaries)
        live = bool(self.prompt.places & {"pairs", "windows", "others"})
        return choose(store, names, self.explainer, self.where, self.order, self.limit, self.redo, live)


def estimate(store: Any, job: Job, chosen: Choice, budget: Budget) -> Estimate:
    """What a job will cost, from the prompts of a few of its features; what the journal knows already is not left out."""
    sizes = []
    for page in _pages(store, chosen[:: max(1, len(chosen) // SAMPLE)], job.prompt):
        try:
            sizes.append(tokens_about(build_messages(page, job.prompt, _others(store, page, job.prompt))))
        except MissingEvidence:
            sizes.append(0)
    tokens_in, tokens_out = sum(sizes) / max(1, len(sizes)) * len(chosen), ABOUT_OUT * len(chosen)
    return Estimate.of(len(chosen), chosen.skipped, tokens_in, tokens_out, budget)


def by_model(
    store: Any,
    asker: Asker | Endpoint,
    job: Job | None = None,
    *,
    choice: Choice | None = None,
    progress: Progress,
    **chosen: Any,
) -> Labelled:
    """Label features with a language model; keywords are those of Job.of, where no job is given.

    Answers are in the asker's journal before they are used, and labels are written every 2,000, so a killed run repeats
    no answer that it had. Replies that hold no label are counted by reason and never stored. A spent budget ends the run
    and the report says so. Raises Unavailable when the endpoint is down or refuses the key, with what was answered kept.
    """
    if not isinstance(asker, Asker):
        asker = Asker([asker])
    job = job or Job.of(asker.model, **chosen)
    choice = job.choose(store) if choice is None else choice
    labelling = _Labelling(store, asker, job)
    labelling.go(choice, f"labelling with {job.explainer}", progress)
    return Labelled(
        explainer=job.explainer,
        labelled=labelling.rows.written,
        skipped=choice.skipped,
        flawed=dict(labelling.flawed),
        **labelling.spent(len(choice)),
    )


class _Explanation(NamedTuple):
    """What came of a feature: a label, or why it has none; and the answers it took."""

    id: str
    found: Explanation | str | Refused
    answers: list[Answer]


class _Labelling(Run[Choice, Feature, _Explanation]):
    made = "labels"

    def __init__(self, store: Any, asker: Asker, job: Job):
        super().__init__(store, asker, Rows(store, "labels", "label"))
        self.job = job
        self.flawed: collections.Counter[str] = collections.Counter()
        self.settled: dict[str, list[int]] = collections.defaultdict(list)

    def items(self, chosen: Choice) -> Iterator[Feature]:
        return _pages(self.store, chosen, self.job.prompt)

    def one(self, item: Feature) -> _Explanation | None:
        answers: list[Answer] = []

        def ask(*question: Any, **settings: Any) -> Answer:
            answers.append(self.asker.ask(*question, **settings))
            return answers[-1]

        try:
            others = _others(self.store, item, self.job.prompt)
            return _Explanation(item.id, explain(item, self.job.prompt, ask, others), answers)
        except (MissingEvidence, UnreadableReply) as exc:
            return _Explanation(item.id, str(exc), answers)
        except Refused as exc:
            return _Explanation(item.id, exc, answers)
        except (Stopped, Waits):
            return None

    def done(self, result: _Explanation) -> None:
        id, found, answers = result
        parsed = featurestore.FeatureId.parse(id)
        if self.asker.in_rounds:
            self.settled[parsed.dictionary].append(parsed.feature)
        self.count(1, found if isinstance(found, Refused) else None)
        if isinstance(found, str):
            self.failed[found] += 1
        elif isinstance(found, Explanation):
            # A flaw is said where it is said how the label was made.
            made = self.job.prompt.id + (f"+{found.flaw}" if found.flaw else "")
            row = {"dictionary": parsed.dictionary, "feature": parsed.feature, "label": found.label, "prompt": made}
            row |= {"explainer": self.job.explainer, "examples": found.examples}
            row |= self.asker.cost(sum(one.tokens_in for one in answers), sum(one.tokens_out for one in answers))
            self.flawed.update([found.flaw] if found.flaw else [])
            self.rows.add([row])

    def rest(self, chosen: Choice) -> Choice:
        return chosen.without(self.settled)

    def troubles(self) -> str:
        return f"{sum(self.failed.values()):,} failed"


def _pages(store: Any, ids: Choice, prompt: Prompt) -> Iterator[Feature]:
    """The features' pages. Of every few thousand in order, those come first that lie first, which are read together."""
    # Some of the strongest are held out, so more are read than are shown.
    examples = None if "others" in prompt.places else 3 * TOP_EXAMPLES
    for first in range(0, len(ids), CHUNK):
        yield from store.evidence(ids[first : first + CHUNK].by_id(), examples)


def _others(store: Any, page: Feature, prompt: Prompt) -> list[Example]:
    """Where the prompt asks for them, examples of the feature's neighbours on which it is silent."""
    if "others" not in prompt.places:
        return []
    near = [hit.id for hit in store.nearest(page.id, k=NEIGHBOURS + 1, within=page.dictionary) if hit.id != page.id]
    theirs = [
        one for other in store.evidence(near[:NEIGHBOURS], OF_EACH) for one in other.examples if one.band == "top"
    ]
    # The first of each neighbour before the second of any.
    return select_silent(page.examples, sorted(theirs, key=lambda one: one.rank))
