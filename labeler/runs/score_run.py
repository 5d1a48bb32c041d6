"""Scoring a store's labels with a language model: choose labels, ask about each; answers are in the journal."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow

from featurestore import BadRequest, Feature, Progress
from labeler import prompts
from labeler.explainers.llm_explainer import MissingEvidence
from labeler.llm.asker import Asker, Waits
from labeler.llm.budget import Budget
from labeler.llm.endpoint import Endpoint, Refused, tokens_about
from labeler.llm.rate_limit import Stopped
from labeler.prompts import Prompt
from labeler.runs.base import CHUNK, SAMPLE, Estimate, Report, Run
from labeler.runs.row_buffer import Rows
from labeler.scorers import sample as score_sample
from labeler.scorers.examples import TEXTS, Examples
from labeler.scorers.judge import Judge
from labeler.scorers.methods import METHODS
from labeler.scorers.sample import Target
from labeler.selection import choose_dictionaries

JUDGED = ("detection", "fuzzing")  # the methods unless others are named


class Scored(Report, frozen=True, kw_only=True):
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


class Job(NamedTuple):
    """What a run is to do: which labels, by which methods.

    Labels of `explainer`, or the best of each feature, of features for which `where` (SQL over the view features) holds,
    in `order`. With `sample` so many of them, drawn by chance. `texts` of each kind for one label. With `threshold` no
    more is asked about a label once its intervals are on one side of it. Labels that the judge scored before are left
    out unless `redo`.
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
    def of(cls, methods: Sequence[str] = JUDGED, files: Sequence[str] = (), **chosen: Any) -> Job:
        """A job by these methods; `files` are prompts to use in the place of those that come with the package.

        Raises BadRequest or NotFound.
        """
        for name in methods:
            if name not in METHODS:
                raise BadRequest(f"method: '{name}' is not one of {', '.join([*METHODS, 'embedding'])}")
        found = {name: prompts.load(name, judge=True) for name in methods}
        for file in files:
            loaded = prompts.load(file, judge=True)
            if loaded.name not in found:
                raise BadRequest(f"{file} is a prompt for {loaded.name}, which is none of the methods of this run")
            found[loaded.name] = loaded
        return cls(found, **chosen)

    @property
    def sampled(self) -> bool:
        """Whether the labels stand for all of their dictionaries'."""
        return self.where is None and self.limit is None

    def choose(self, store: Any, judge: str) -> pyarrow.Table:
        """The labels, see score_sample.labels. Raises BadRequest or NotFound."""
        names = choose_dictionaries(store, self.dictionaries)
        used = [prompt.id for prompt in self.prompts.values()]
        found = score_sample.labels(store, names, self.explainer, self.where, self.order, self.limit, judge, used)
        return found if self.sample is None else score_sample.draw(found, self.sample)

    def todo(self, target: Target) -> list[str]:
        """The methods by which a label is still to be scored."""
        return [name for name in self.prompts if self.redo or name not in target.done]


def estimate(store: Any, job: Job, chosen: pyarrow.Table, budget: Budget) -> Estimate:
    """What a run will cost at most, more or less, from the questions about a few labels; the journal is not looked at."""
    count = chosen.num_rows
    some = chosen.take(list(range(0, count, max(1, count // SAMPLE)))) if count else chosen
    sizes, replies = [], []
    skipped = sum(not job.todo(target) for target in score_sample.targets(chosen))
    for page, examples, those in pages(store, some):
        for target in those:
            questions = []
            for name in job.todo(target):
                try:
                    material = examples.material(page, job.texts)
                    questions += METHODS[name].questions(target.label, material, job.prompts[name], page.id)
                except MissingEvidence:
                    continue
            sizes.append(sum(tokens_about(one.messages) for one in questions))
            replies.append(sum(one.about_out for one in questions))
    share = count / max(1, len(sizes))
    return Estimate.of(count - skipped, skipped, sum(sizes) * share, sum(replies) * share, budget)


def by_judge(
    store: Any,
    asker: Asker | Endpoint,
    job: Job | None = None,
    *,
    chosen: pyarrow.Table | None = None,
    progress: Progress,
    **wanted: Any,
) -> Scored:
    """Score labels with a language model; keywords are those of Job.of, where no job is given.

    A label's scores are written when all its questions are answered, in batches; every answer is in the asker's journal
    before that, so a killed run pays for none twice. A spent budget ends the run and the report says so. Raises
    Unavailable when the endpoint is down or refuses the key, with what was answered kept.
    """
    if not isinstance(asker, Asker):
        asker = Asker([asker])
    job = job or Job.of(**wanted)
    table = job.choose(store, asker.model) if chosen is None else chosen
    todo = [bool(job.todo(target)) for target in score_sample.targets(table)]
    scoring = _Scoring(store, asker, job)
    scoring.go(table.filter(pyarrow.array(todo, pyarrow.bool_())), f"scoring with {asker.model}", progress)
    counts = scoring.counts
    return Scored(
        judge=asker.model,
        labels=counts["labels"],
        scores=scoring.rows.written,
        skipped=len(todo) - sum(todo),
        unanswered=counts["unanswered"],
        stopped_early=counts["stopped"],
        without_hard=counts["without hard"],
        **scoring.spent(sum(todo)),
    )


class _Scores(NamedTuple):
    """The scores of a feature's labels, or why there are none."""

    of: list[Target]
    rows: list[dict[str, Any]]
    failed: collections.Counter[str]
    refused: Refused | None = None


class _Scoring(Run[pyarrow.Table, tuple[Feature, Examples, list[Target]], _Scores]):
    made = "scores"

    def __init__(self, store: Any, asker: Asker, job: Job):
        super().__init__(store, asker, Rows(store, "scores", "score"))
        self.job = job
        self.judge = Judge(asker, job.prompts, job.threshold, job.sampled)
        self.counts: collections.Counter[str] = collections.Counter()
        self.settled: set[int] = set()  # rows of what was chosen

    def items(self, chosen: pyarrow.Table) -> Iterator[tuple[Feature, Examples, list[Target]]]:
        return pages(self.store, chosen)

    def one(self, item: tuple[Feature, Examples, list[Target]]) -> _Scores | None:
        page, examples, those = item
        found = _Scores(those, [], collections.Counter())
        waits = False
        try:
            material = examples.material(page, self.job.texts)
            for target in those:
                for name in self.job.todo(target):
                    try:
                        found.rows.extend(self.judge.score(name, target, material))
                    except MissingEvidence as exc:
                        found.failed[f"{name}: {exc}"] += 1
                    except Waits:  # those of other methods may wait together with these
                        waits = True
        except MissingEvidence as exc:
            found.failed[str(exc)] += len(those)
        except Refused as exc:
            return found._replace(refused=exc)
        except Stopped:
            return None
        return None if waits else found

    def done(self, result: _Scores) -> None:
        self.settled.update(target.row for target in result.of)
        self.count(len(result.of), result.refused)
        self.failed.update(result.failed)
        labels = {(row["label"], row["explainer"]) for row in result.rows}
        self.counts["labels"] += len(labels)
        self.counts["stopped"] += sum(row["stopped"] for row in result.rows)
        self.counts["without hard"] += len(labels) if not any(r["negatives"] == "hard" for r in result.rows) else 0
        self.counts["unanswered"] += sum(row["failures"] for row in result.rows)
        self.rows.add(result.rows)

    def rest(self, chosen: pyarrow.Table) -> pyarrow.Table:
        left = [row not in self.settled for row in range(chosen.num_rows)]
        self.settled.clear()
        return chosen.filter(pyarrow.array(left, pyarrow.bool_()))

    def troubles(self) -> str:
        return f"{self.counts['unanswered']:,} unanswered"


def pages(store: Any, table: pyarrow.Table) -> Iterator[tuple[Feature, Examples, list[Target]]]:
    """The features' pages with the labels to score, and the texts of their dictionaries.

    Of every few thousand in order, those come first that lie first, which are read together.
    """
    of: dict[str, Examples] = {}
    for first in range(0, table.num_rows, CHUNK):
        some = sorted(
            score_sample.targets(table.slice(first, CHUNK), first), key=lambda one: (one.dictionary, one.feature)
        )
        by_id = {id: list(group) for id, group in itertools.groupby(some, key=lambda one: one.id)}
        for page in store.evidence(list(by_id)):
            if page.dictionary not in of:
                of[page.dictionary] = Examples(store, page.dictionary)
            yield page, of[page.dictionary], by_id[page.id]
