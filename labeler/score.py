"""Scoring a store's labels with a language model: choose labels, ask, write scores in batches; answers are in the journal."""

from __future__ import annotations

import collections
import datetime
import itertools
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow

import featurestore
from featurestore import BadRequest, Feature, Unavailable
from labeler import crew, prompts, score_sample
from labeler.asking import Asker
from labeler.budget import Budget, Spent
from labeler.budget import shown as money_shown
from labeler.explain import LONGER, Lacking, Unreadable, further
from labeler.llm import Answer, Endpoint, Refused, tokens_about
from labeler.pace import Stopped
from labeler.prompts import Prompt
from labeler.run import CHUNK, REFUSALS, SAMPLE, SECONDS, Estimate, Progress, choose_dictionaries
from labeler.score_examples import TEXTS, Examples, Material
from labeler.score_judges import METHODS, NOT_READ, TOGETHER, Judgement, Question, Result
from labeler.score_sample import Target
from labeler.score_statistics import deviations

BATCH = 2000  # scores of one commit
JUDGED = ("detection", "fuzzing")  # the methods unless others are named
TOOL = f"featurestore {featurestore.__version__}"


class Report(NamedTuple):
    """What a run did: `labels` scored with `scores`; `skipped` had theirs; `failed` counts by reason.

    `unanswered` judgements were asked for and not given: they are counted in the scores. `without_hard` labels have no
    hard negatives: no decoder vectors, no index, or no texts. The rest as of run.Report.
    """

    judge: str
    labels: int
    scores: int
    skipped: int
    failed: dict[str, int]
    unanswered: int = 0
    stopped_early: int = 0
    without_hard: int = 0
    paid: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = None
    left: int = 0
    stopped: str | None = None


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
                except Lacking:
                    continue
            sizes.append(sum(tokens_about(one.messages) for one in questions))
            replies.append(sum(one.about_out for one in questions))
    tokens_in = round(sum(sizes) / max(1, len(sizes)) * count)
    tokens_out = round(sum(replies) / max(1, len(replies)) * count)
    money = None if budget.prices is None else budget.prices.of(tokens_in, tokens_out)
    return Estimate(count - skipped, skipped, tokens_in, tokens_out, money)


def by_judge(
    store: Any,
    asker: Asker | Endpoint,
    job: Job | None = None,
    *,
    chosen: pyarrow.Table | None = None,
    progress: Progress,
    **wanted: Any,
) -> Report:
    """Score labels with a language model; keywords are those of Job.of, where no job is given.

    A label's scores are written when all its questions are answered, in batches; every answer is in the asker's journal
    before that, so a killed run pays for none twice. A spent budget ends the run and the report says so. Raises
    Unavailable when the endpoint is down or refuses the key, with what was answered kept.
    """
    if not isinstance(asker, Asker):
        asker = Asker([asker])
    job = job or Job.of(**wanted)
    table = job.choose(store, asker.model) if chosen is None else chosen
    return _Run(store, asker, job).go(table, progress)


class Scored(NamedTuple):
    """The scores of a feature's labels, or why there are none."""

    rows: list[dict[str, Any]]
    labels: int
    failed: collections.Counter[str]
    refused: Refused | None = None


class _Run:
    """One run: threads ask, this thread counts and writes."""

    def __init__(self, store: Any, asker: Asker, job: Job):
        self.store, self.asker, self.job = store, asker, job
        self.failed: collections.Counter[str] = collections.Counter()
        self.counts: collections.Counter[str] = collections.Counter()
        self.scores = Scores(store)
        self.refused = 0
        self.stopped: str | None = None

    def go(self, table: pyarrow.Table, progress: Progress) -> Report:
        threads = max(1, min(self.asker.concurrency, table.num_rows))
        skipped = sum(not self.job.todo(target) for target in score_sample.targets(table))
        self.total = table.num_rows - skipped
        with progress(f"scoring with {self.asker.model}", self.total) as self.bar:
            try:
                items = (
                    (page, examples, some)
                    for page, examples, those in pages(self.store, table)
                    if (some := [one for one in those if self.job.todo(one)])
                )
                crew.each(items, self.one, self.done, threads=threads, stop=self.asker.stop)
            except Spent as exc:
                self.stopped = str(exc)
            except Unavailable as exc:
                self.write()
                kept = (
                    f"; {self.scores.written:,} scores are kept, run it again to go on" if self.scores.written else ""
                )
                raise Unavailable(f"{exc}{kept}") from None
            finally:
                self.write()
        spent, counts = self.asker.budget, self.counts
        return Report(
            self.asker.model,
            counts["labels"],
            self.scores.written,
            skipped,
            dict(self.failed),
            counts["unanswered"],
            counts["stopped"],
            counts["without hard"],
            spent.paid,
            self.asker.cached,
            spent.tokens_in,
            spent.tokens_out,
            spent.money,
            self.total - counts["come to"],
            self.stopped,
        )

    def one(self, item: tuple[Feature, Examples, list[Target]]) -> Scored | None:
        """The scores of a feature's labels; None when the run ended first. In many threads at once."""
        page, examples, those = item
        failed: collections.Counter[str] = collections.Counter()
        rows: list[dict[str, Any]] = []
        try:
            material = examples.material(page, self.job.texts)
            for target in those:
                for name in self.job.todo(target):
                    try:
                        rows += self.by(name, target, material)
                    except Lacking as exc:
                        failed[f"{name}: {exc}"] += 1
        except Lacking as exc:
            failed[str(exc)] += len(those)
        except Refused as exc:
            return Scored(rows, len(those), failed, exc)
        except Stopped:
            return None
        return Scored(rows, len(those), failed)

    def by(self, name: str, target: Target, material: Material) -> list[dict[str, Any]]:
        """The scores of one label by one method. Raises Lacking, and Refused when every question was."""
        method, prompt = METHODS[name], self.job.prompts[name]
        # What is asked depends on the feature, not on the label: labels are compared on the same texts.
        questions = method.questions(target.label, material, prompt, target.id)
        if not questions:
            raise Lacking("no texts to tell them from")
        step = max(1, TOGETHER // 2 // len(questions[0].kinds))
        looks = math.ceil(len(questions) / step) if self.job.threshold is not None else 1
        z = deviations(looks)
        judged: list[Judgement] = []
        missed: list[str] = []
        answers: list[Answer] = []
        refused: list[Refused] = []
        stopped = False
        for asked, question in enumerate(questions, 1):
            try:
                judged += self.ask(name, question, target.id, answers)
            except Unreadable:
                missed += question.kinds
            except Refused as exc:
                refused.append(exc)
                missed += question.kinds
            if asked % step == 0 and asked < len(questions) and self.decided(method.results(judged, missed, z)):
                stopped = True
                break
        if len(refused) == len(questions):
            raise refused[0]
        results = method.results(judged, missed, z)
        return self.rows(name, target, material, results, answers, stopped)

    def ask(self, name: str, question: Question, about: str, answers: list[Answer]) -> list[Judgement]:
        """A question's judgements; asked once more when the reply cannot be read. Raises Unreadable and Refused."""
        read = METHODS[name].read
        settings = {"schema": question.schema, "max_tokens": question.max_tokens, "logprobs": question.logprobs}
        answers.append(self.asker.ask(question.messages, about=about, **settings))
        try:
            return read(question, answers[-1])
        except Unreadable as exc:
            if answers[-1].finish == "length":
                again = {**settings, "max_tokens": LONGER * question.max_tokens}
                answers.append(self.asker.ask(question.messages, about=about, **again))
            else:
                talk = further(question.messages, answers[-1], NOT_READ.format(problem=exc))
                answers.append(self.asker.ask(talk, about=about, **settings))
            return read(question, answers[-1])

    def decided(self, results: Sequence[Result]) -> bool:
        """Whether every interval lies on one side of the threshold."""
        threshold = self.job.threshold
        if threshold is None or not results:
            return False
        ends = [one.estimate for one in results]
        return all(one is not None and (one.low > threshold or one.high < threshold) for one in ends)

    def rows(
        self,
        name: str,
        target: Target,
        material: Material,
        results: Sequence[Result],
        answers: Sequence[Answer],
        stopped: bool,
    ) -> list[dict[str, Any]]:
        """Rows of stored.scores. What the answers cost is shared between them."""
        prices = self.asker.budget.prices
        made = []
        for at, one in enumerate(results):
            tokens = [
                sum(getattr(answer, kind) for answer in answers) // len(results)
                + (at == 0) * (sum(getattr(answer, kind) for answer in answers) % len(results))
                for kind in ("tokens_in", "tokens_out")
            ]
            cost = {
                "tokens_in": tokens[0],
                "tokens_out": tokens[1],
                "money": None if prices is None else prices.of(*tokens),
            }
            judged = {"judge": self.asker.model, "prompt": self.job.prompts[name].id, "stopped": stopped}
            baseline = METHODS[name].baseline
            made.append(row_of(target, name, one, baseline, material.examples, self.job.sampled) | judged | cost)
        return made

    def done(self, result: Scored | None) -> None:
        if result is None:
            return
        self.counts["come to"] += result.labels
        self.bar.advance(result.labels)
        self.failed.update(result.failed)
        if result.refused is not None:
            self.refused += 1
            self.failed["refused by the endpoint"] += result.labels
            if self.refused >= REFUSALS and not self.asker.budget.paid and not self.asker.cached:
                raise result.refused
        labels = {(row["label"], row["explainer"]) for row in result.rows}
        self.counts["labels"] += len(labels)
        self.counts["stopped"] += sum(row["stopped"] for row in result.rows)
        self.counts["without hard"] += len(labels) if not any(r["negatives"] == "hard" for r in result.rows) else 0
        self.counts["unanswered"] += sum(row["failures"] for row in result.rows)
        self.scores.add(result.rows)
        if self.scores.due:
            self.write()
        if hasattr(self.bar, "say"):
            self.bar.say(self.said())

    def write(self) -> None:
        """Commit the scores at hand."""
        if self.scores.held:
            self.asker.sync()
            self.scores.write()

    def said(self) -> str:
        """The run so far, in a few words."""
        spent = self.asker.budget
        parts = [
            f"{self.counts['unanswered']:,} unanswered",
            f"{(spent.tokens_in + spent.tokens_out) / 1e3:,.0f}k tokens",
        ]
        if spent.money is not None:
            parts.append(f"{money_shown(spent.money)} spent")
        return ", ".join(parts)


def row_of(
    target: Target, method: str, result: Result, baseline: float, examples: str, sampled: bool
) -> dict[str, Any]:
    """A result as a row of stored.scores, without what is said of its judge and its cost."""
    one = result.estimate
    return {
        "dictionary": target.dictionary,
        "feature": target.feature,
        "label": target.label,
        "explainer": target.explainer,
        "method": method,
        "negatives": result.negatives,
        "value": one and one.value,
        "low": one and one.low,
        "high": one and one.high,
        "baseline": baseline,
        "auc": result.auc,
        "n": result.n,
        "failures": result.failures,
        "examples": examples,
        "sampled": sampled,
        "stopped": False,
        "tool": TOOL,
        "created_at": datetime.datetime.now(datetime.UTC),
    }


class Scores:
    """Rows on their way to stored.scores: committed when there are many, or after a while."""

    def __init__(self, store: Any):
        self._store = store
        self._schema = store.sql("FROM stored.scores LIMIT 0").schema
        self._rows: list[dict[str, Any]] = []
        self._written_at = time.monotonic()
        self.written = 0

    @property
    def held(self) -> int:
        """Rows not committed yet."""
        return len(self._rows)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return self.held >= BATCH or (self.held > 0 and time.monotonic() - self._written_at > SECONDS)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take rows, to be committed later."""
        self._rows += rows

    def write(self) -> None:
        """Commit, in one step."""
        by_dictionary = collections.defaultdict(list)
        for row in self._rows:
            by_dictionary[row["dictionary"]].append(row)
        with self._store.writer(f"{TOOL} score") as writer:
            for dictionary, rows in by_dictionary.items():
                writer.add("scores", pyarrow.Table.from_pylist(rows, schema=self._schema), key=dictionary)
        self.written += self.held
        self._rows, self._written_at = [], time.monotonic()


def pages(store: Any, table: pyarrow.Table) -> Iterator[tuple[Feature, Examples, list[Target]]]:
    """The features' pages with the labels to score, and the texts of their dictionaries.

    Of every few thousand in order, those come first that lie first, which are read together.
    """
    of: dict[str, Examples] = {}
    for first in range(0, table.num_rows, CHUNK):
        some = sorted(score_sample.targets(table.slice(first, CHUNK)), key=lambda one: (one.dictionary, one.feature))
        by_id = {id: list(group) for id, group in itertools.groupby(some, key=lambda one: one.id)}
        for page in store.evidence(list(by_id)):
            if page.dictionary not in of:
                of[page.dictionary] = Examples(store, page.dictionary)
            yield page, of[page.dictionary], by_id[page.id]
