"""Labelling a store: choose features, explain each, write labels in batches; answers outlive the run in the journal."""

from __future__ import annotations

import collections
import datetime
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import pyarrow

import featurestore
from featurestore import BadRequest, Example, Feature, FeatureStore, Unavailable
from labeler import crew, prompts, tokens
from labeler.asking import Asker
from labeler.budget import Budget, Spent
from labeler.budget import shown as money_shown
from labeler.choice import Choice, choose
from labeler.explain import EXAMPLES, Explained, Lacking, Unreadable, explain, messages, silent
from labeler.llm import Answer, Endpoint, Refused, tokens_about
from labeler.pace import Stopped
from labeler.prompts import Prompt

BATCH, SECONDS = 2000, 60.0  # labels of one commit, or the time it holds, when a language model makes them
NEIGHBOURS, OF_EACH = 5, 3  # whose texts the contrastive prompt shows, and how many of each
CHUNK = 4096  # features read in the order they lie in, whatever the order asked for
SAMPLE = 25  # features whose prompts tell what a run will cost
ABOUT_OUT = 30  # tokens of a label in JSON
REFUSALS = 5  # requests refused before any was answered: the fault is not the feature's
TOP_SHARE = 0.5  # of a feature's mass, what its strongest examples get; sampled ones have the rest

Progress = Callable[[str, int], AbstractContextManager[Any]]


class Report(NamedTuple):
    """What a run did. `failed` counts by reason; `skipped` had a label by this explainer already, or is dead.

    `flawed` labels, by flaw, are among the labelled: vague or foreign after a second question. `paid` answers cost `tokens_in` and `tokens_out`, and `money` where prices
    were given; `cached` ones came from the journal. `left` features were not come to, and `stopped` says why.
    """

    explainer: str
    labelled: int
    skipped: int
    failed: dict[str, int]
    flawed: dict[str, int] = {}  # noqa: RUF012 - nobody writes to a report
    paid: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = None
    left: int = 0
    stopped: str | None = None


class Estimate(NamedTuple):
    """What labelling so many features will cost, more or less; `money` where prices are given."""

    features: int
    skipped: int
    tokens_in: int
    tokens_out: int
    money: float | None


def by_tokens(store: Any, dictionaries: Sequence[str], progress: Progress) -> Report:
    """Label every feature with examples that are not held out from token statistics; the others are skipped and counted."""
    labelled = skipped = 0
    for dictionary in dictionaries:
        rows = [
            {"feature": feature, "label": text, "examples": examples}
            for feature, text, examples in _token_labels(store, dictionary, progress)
        ]
        total = store.dictionary(dictionary).d_sae
        labelled, skipped = labelled + len(rows), skipped + total - len(rows)
        if rows:
            _write(store, {dictionary: [row | {"prompt": tokens.PROMPT} for row in rows]}, "tokens")
    return Report("tokens", labelled, skipped, {})


def _token_labels(store: Any, dictionary: str, progress: Progress) -> Iterator[tuple[int, str, int]]:
    name = dictionary.replace("'", "''")
    of_corpus = _token_shares(store, name)
    promoted = {
        row["feature"]: tokens.standing_out([(one["token"], one["value"]) for one in row["top_logits"] or []])
        for row in store.sql(f"SELECT feature, top_logits FROM stored.features WHERE dictionary = '{name}'").to_pylist()
    }
    seen: dict[int, tokens.Seen] = {}
    counts: dict[int, int] = {}
    with progress(f"reading examples of {dictionary}", len(promoted)) as bar:
        for feature, firings in _firings(store, name):
            seen[feature] = tokens.see(firings)
            counts[feature] = len(firings)
            bar.advance(1)
    common = tokens.background(of_corpus, seen.values())
    for feature, one in seen.items():
        yield feature, tokens.label(one, common, promoted.get(feature, [])), counts[feature]


def _token_shares(store: Any, name: str) -> dict[str, float]:
    """Share of each token (text, outer spaces dropped) among the tokens of the dictionary's corpus."""
    rows = store.sql(
        f"""
        WITH mine AS (SELECT corpus, tokenizer FROM stored.dictionaries WHERE dictionary = '{name}'),
             counted AS (
                 SELECT t, count(*) AS n
                 FROM (SELECT unnest(tokens) AS t FROM stored.tokens WHERE corpus IN (SELECT corpus FROM mine))
                 GROUP BY t)
        SELECT z.pieces[t + 1] AS piece, n FROM counted, stored.tokenizers z
        WHERE z.tokenizer IN (SELECT tokenizer FROM mine)
        """
    )
    total = sum(rows["n"].to_pylist()) or 1
    shares: dict[str, float] = collections.defaultdict(float)
    for piece, n in zip(rows["piece"].to_pylist(), rows["n"].to_pylist(), strict=True):
        shares[piece.strip(" ") or piece] += n / total
    return shares


def _firings(store: Any, name: str) -> Iterator[tuple[int, list[tokens.Firing]]]:
    mine = f"(SELECT corpus FROM stored.dictionaries WHERE dictionary = '{name}')"
    table = store.sql(
        f"""
        SELECT feature, band = 'top' AS top, coalesce(weight, 1) * abs(activation) AS mass,
               position - start AS peak, e.document, start, e.length
        FROM stored.examples e JOIN stored.documents d ON d.corpus = e.corpus AND d.document = e.document
        WHERE dictionary = '{name}' AND NOT held_out ORDER BY feature
        """
    )
    # Windows are cut here: a join would copy a whole document, a novel say, for each of its examples.
    runs = store.sql(f"SELECT document, run, tokens FROM stored.tokens WHERE corpus IN {mine} ORDER BY document, run")
    corpus = runs["tokens"].combine_chunks()
    stream = corpus.flatten().to_numpy()
    first = runs["run"].to_numpy() == 0
    begins = dict(
        zip(runs["document"].to_numpy()[first].tolist(), corpus.offsets.to_numpy()[:-1][first].tolist(), strict=True)
    )
    pieces = store.sql(
        "SELECT pieces FROM stored.tokenizers WHERE tokenizer IN "
        f"(SELECT tokenizer FROM stored.dictionaries WHERE dictionary = '{name}')"
    )["pieces"].to_pylist()
    if not pieces:
        return
    text = pieces[0]
    for batch in _groups(table):
        totals = {top: sum(mass for _, at_top, mass, *_ in batch if at_top == top) or 1.0 for top in (True, False)}
        both = len({top for _, top, *_ in batch}) == 2
        firings = []
        for _, top, mass, peak, document, start, length in batch:
            at = begins[document] + start
            ids = stream[at : at + length].tolist()
            share = (TOP_SHARE if top else 1 - TOP_SHARE) if both else 1.0
            before = "".join([text[id] for id in ids[:peak]])
            after = "".join([text[id] for id in ids[peak + 1 : peak + 8]])
            firings.append(tokens.Firing(share * mass / totals[top], text[ids[peak]], before, after))
        yield batch[0][0], firings


def _groups(table: pyarrow.Table) -> Iterator[list[tuple[int, bool, float, int, int, int, int]]]:
    columns = [column.to_pylist() for column in table.columns]
    for _, group in itertools.groupby(zip(*columns, strict=True), key=lambda row: row[0]):
        yield list(group)


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
            sizes.append(tokens_about(messages(page, job.prompt, _others(store, page, job.prompt))))
        except Lacking:
            sizes.append(0)
    tokens_in = round(sum(sizes) / max(1, len(sizes)) * len(chosen))
    tokens_out = ABOUT_OUT * len(chosen)
    money = None if budget.prices is None else budget.prices.of(tokens_in, tokens_out)
    return Estimate(len(chosen), chosen.skipped, tokens_in, tokens_out, money)


def by_model(
    store: Any,
    asker: Asker | Endpoint,
    job: Job | None = None,
    *,
    choice: Choice | None = None,
    progress: Progress,
    **chosen: Any,
) -> Report:
    """Label features with a language model; keywords are those of Job.of, where no job is given.

    Answers are in the asker's journal before they are used, and labels are written every 2,000, so a killed run repeats
    no answer that it had. Replies that hold no label are counted by reason and never stored. A spent budget ends the run
    and the report says so. Raises Unavailable when the endpoint is down or refuses the key, with what was answered kept.
    """
    if not isinstance(asker, Asker):
        asker = Asker([asker])
    job = job or Job.of(asker.model, **chosen)
    return _Run(store, asker, job).go(choice or job.choose(store), progress)


class _Run:
    """One run: threads explain, this thread counts and writes."""

    def __init__(self, store: Any, asker: Asker, job: Job):
        self.store, self.asker, self.job = store, asker, job
        self.failed: collections.Counter[str] = collections.Counter()
        self.flawed: collections.Counter[str] = collections.Counter()
        self.labelled = self.held = self.refused = self.come_to = 0
        self.rows: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
        self.written_at = time.monotonic()
        self.stopped: str | None = None

    def go(self, chosen: Choice, progress: Progress) -> Report:
        threads = self.asker.concurrency
        # A few more hands than requests at once: they have the next prompts ready.
        threads += max(1, min(16, threads // 4))
        with progress(f"labelling with {self.job.explainer}", len(chosen)) as self.bar:
            try:
                pages = _pages(self.store, chosen, self.job.prompt)
                threads = max(1, min(threads, len(chosen)))
                crew.each(pages, self.one, self.done, threads=threads, stop=self.asker.stop)
            except Spent as exc:
                self.stopped = str(exc)
            except Unavailable as exc:
                self.write()
                kept = f"; {self.labelled:,} labels are kept, run it again to go on" if self.labelled else ""
                raise Unavailable(f"{exc}{kept}") from None
            finally:
                self.write()
        if self.refused and not self.asker.budget.paid and not self.asker.cached:
            raise self.refusal
        return self.report(chosen)

    def report(self, chosen: Choice) -> Report:
        spent = self.asker.budget
        return Report(
            self.job.explainer,
            self.labelled,
            chosen.skipped,
            dict(self.failed),
            dict(self.flawed),
            spent.paid,
            self.asker.cached,
            spent.tokens_in,
            spent.tokens_out,
            spent.money,
            len(chosen) - self.come_to,
            self.stopped,
        )

    def one(self, page: Feature) -> tuple[str, Explained | str | Refused | None, list[Answer]]:
        """The feature's label, or why it has none; None when the run ended first; and the answers it took.

        In many threads at once.
        """
        answers: list[Answer] = []

        def ask(*question: Any, **settings: Any) -> Answer:
            answers.append(self.asker.ask(*question, **settings))
            return answers[-1]

        try:
            others = _others(self.store, page, self.job.prompt)
            return page.id, explain(page, self.job.prompt, ask, others), answers
        except (Lacking, Unreadable) as exc:
            return page.id, str(exc), answers
        except Refused as exc:
            return page.id, exc, answers
        except Stopped:
            return page.id, None, answers

    def done(self, result: tuple[str, Explained | str | Refused | None, list[Answer]]) -> None:
        id, found, answers = result
        if found is None:
            return
        self.come_to += 1
        self.bar.advance(1)
        if isinstance(found, Refused):
            self.refused, self.refusal = self.refused + 1, found
            self.failed["refused by the endpoint"] += 1
            if self.refused >= REFUSALS and not self.asker.budget.paid and not self.asker.cached:
                raise found
        elif isinstance(found, str):
            self.failed[found] += 1
        else:
            parsed = featurestore.FeatureId.parse(id)
            # A flaw is said where it is said how the label was made.
            made = self.job.prompt.id + (f"+{found.flaw}" if found.flaw else "")
            prices = self.asker.budget.prices
            tokens = (sum(one.tokens_in for one in answers), sum(one.tokens_out for one in answers))
            cost: dict[str, Any] = {"tokens_in": tokens[0], "tokens_out": tokens[1]}
            cost["money"] = None if prices is None else prices.of(*tokens)
            row = {"feature": parsed.feature, "label": found.label, "examples": found.examples, "prompt": made} | cost
            self.rows[parsed.dictionary].append(row)
            self.flawed.update([found.flaw] if found.flaw else [])
            self.held += 1
        if self.held >= BATCH or (self.held and time.monotonic() - self.written_at > SECONDS):
            self.write()
        if hasattr(self.bar, "say"):
            self.bar.say(self.said())

    def write(self) -> None:
        """Commit the labels at hand."""
        if self.held:
            self.asker.sync()
            _write(self.store, self.rows, self.job.explainer)
            self.labelled, self.held = self.labelled + self.held, 0
            self.rows.clear()
        self.written_at = time.monotonic()

    def said(self) -> str:
        """The run so far, in a few words."""
        spent = self.asker.budget
        parts = [f"{sum(self.failed.values()):,} failed", f"{(spent.tokens_in + spent.tokens_out) / 1e3:,.0f}k tokens"]
        if spent.money is not None:
            parts.append(f"{money_shown(spent.money)} spent")
        return ", ".join(parts)


def _pages(store: Any, ids: Choice, prompt: Prompt) -> Iterator[Feature]:
    """The features' pages. Of every few thousand in order, those come first that lie first, which are read together."""
    # Some of the strongest are held out, so more are read than are shown.
    examples = None if "others" in prompt.places else 3 * EXAMPLES
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
    return silent(page.examples, sorted(theirs, key=lambda one: one.rank))


def choose_dictionaries(store: FeatureStore, asked: Sequence[str]) -> list[str]:
    """The asked dictionaries, or all. Raises NotFound, or BadRequest when there is none."""
    names = [store.dictionary(id).dictionary for id in asked] or [d.dictionary for d in store.dictionaries()]
    if not names:
        raise BadRequest("the store has no dictionary yet: harvest or import one first")
    return names


def _write(store: Any, rows: dict[str, list[dict[str, Any]]], explainer: str) -> None:
    """Labels of several dictionaries, in one commit."""
    tool = f"featurestore {featurestore.__version__}"
    now = datetime.datetime.now(datetime.UTC)
    known = store.sql("FROM stored.labels LIMIT 0").schema
    with store.writer(f"{tool} label") as writer:
        for dictionary, those in rows.items():
            common = {"dictionary": dictionary, "explainer": explainer, "tool": tool, "created_at": now}
            writer.add(
                "labels", pyarrow.Table.from_pylist([row | common for row in those], schema=known), key=dictionary
            )
