"""What every run with a language model does: threads ask, one thread counts and writes, and an ended run can go on.

Knows nothing of labels or scores: a run is given the functions that read items, ask about one, and drop what is done.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from featurestore import FeatureStoreError, Progress, Unavailable
from featurestore.extension.text import first_line
from labeler.llm.asker import Asker, Usage
from labeler.llm.budget import Budget, BudgetSpent, format_money
from labeler.llm.completions import Messages
from labeler.llm.endpoint import RequestRefused
from labeler.llm.reply_limits import NeverReadable
from labeler.runs.first_sample import Approval, ask_first
from labeler.runs.projection import FEWEST
from labeler.runs.row_buffer import Row, RowBuffer
from labeler.runs.thread_pool import run_in_threads

CHUNK = 4096  # features that are read together, in the order they are stored in, whatever the order of the run
SAMPLE = 25  # features whose prompts are looked at to estimate a run's cost
REFUSALS = 5  # requests refused before any was answered: the fault is not the features'


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `failed` counts by reason; `skipped` was done before, or cannot be done.

    `paid` answers cost `tokens_in` and `tokens_out`, and `money` where prices were given; `cached` answers came from
    the journal. The run ended before it reached `left`, and `stopped` says why.
    """

    skipped: int = 0
    failed: dict[str, int] = {}
    paid: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    money: float | None = None
    left: int = 0
    stopped: str | None = None


def describe_defect(exc: Exception) -> str:
    """The reason for a feature that an unforeseen error is about. Raises errors that concern the whole run."""
    if isinstance(exc, FeatureStoreError | BudgetSpent | NeverReadable):
        raise exc
    return f"error of this program: {type(exc).__name__}: {first_line(exc, 80)}"


SHOWN = 3  # prompts that a dry run shows


class CostEstimate(NamedTuple):
    """Roughly what a run over `features` will cost, in tokens, and in money where prices are given.

    `prompts` are the first few of its conversations.
    """

    features: int
    skipped: int
    tokens_in: int
    tokens_out: int
    money: float | None
    prompts: tuple[Messages, ...] = ()

    @classmethod
    def of(
        cls,
        features: int,
        skipped: int,
        tokens_in: float,
        tokens_out: float,
        budget: Budget,
        prompts: Sequence[Messages] = (),
    ) -> CostEstimate:
        """The estimate for so many tokens, with their price, and the first three prompts."""
        tokens = round(tokens_in), round(tokens_out)
        money = None if budget.prices is None else budget.prices.of(*tokens)
        return cls(features, skipped, *tokens, money, tuple(prompts[:SHOWN]))


Choice = TypeVar("Choice", bound=Sized)
Item = TypeVar("Item")


class Outcome(NamedTuple):
    """What came of one item. `settled` are the features or labels that it was about, as `Work.remove` knows them.

    `failed` counts by reason those without rows, `counts` is added to the run's. `refused`: the endpoint refused.
    """

    settled: Sequence[Any]
    rows: Sequence[Row]
    failed: collections.Counter[str]
    counts: collections.Counter[str]
    refused: RequestRefused | None = None


@dataclasses.dataclass(frozen=True)
class Work(Generic[Choice, Item]):
    """What a run does with a choice. `noun` is what its rows are called in messages."""

    description: str
    noun: str
    read: Callable[[Choice], Iterator[Item]]  # the items to ask about, read as they are needed
    ask: Callable[[Item], Outcome | None]  # in many threads; None when answers are pending, or the run was stopped
    remove: Callable[[Choice, Sequence[Any]], Choice]  # the choice without what is settled
    describe_problems: Callable[[Tally], str]  # in a few words, beside the progress
    split: Callable[[Choice, int], tuple[Choice, Choice]]  # about so many items from all its parts, and the rest


class Tally:
    """What a run has done so far."""

    def __init__(self, asker: Asker, total: int):
        self.total = total
        self.failed: collections.Counter[str] = collections.Counter()
        self.counts: collections.Counter[str] = collections.Counter()
        self.settled = 0
        self.stopped: str | None = None
        self._asker = asker
        self._refusals = 0
        self._refusal: RequestRefused | None = None

    def add(self, outcome: Outcome) -> None:
        """Count an outcome. Raises RequestRefused when the endpoint refuses everything."""
        self.settled += len(outcome.settled)
        self.failed.update(outcome.failed)
        self.counts.update(outcome.counts)
        if outcome.refused is not None:
            self._refusals, self._refusal = self._refusals + 1, outcome.refused
            self.failed[outcome.refused.reason] += len(outcome.settled)
            if self._refusals >= REFUSALS:
                self.check_refusals()

    def check_refusals(self) -> None:
        """Raises the endpoint's refusal when it has answered nothing yet."""
        if self._refusal is not None and not self._asker.budget.paid and not self._asker.cached:
            raise self._refusal

    def report_fields(self, total: int) -> dict[str, Any]:
        """The fields of a RunReport that are the same for every run, of `total` that were to be done."""
        budget = self._asker.budget
        return {
            "failed": dict(self.failed),
            "paid": budget.paid,
            "cached": self._asker.cached,
            "tokens_in": budget.tokens_in,
            "tokens_out": budget.tokens_out,
            "money": budget.money,
            "left": total - self.settled,
            "stopped": self.stopped,
        }


def run(
    work: Work[Choice, Item],
    choice: Choice,
    asker: Asker,
    rows: RowBuffer,
    progress: Progress,
    approval: Approval | None = None,
) -> Tally:
    """Ask about everything in the choice, through the Batch API in as many rounds as it takes. Returns what was done.

    With an `approval` a sample of the choice is asked about first, and the rest only when what the whole will cost is
    approved. A run whose answers come in rounds has no sample.

    Rows are committed from time to time, and all of them when the run ends. A spent budget ends it, and the tally says
    so. Raises Unavailable when the endpoint is down or refuses the key, and RequestRefused when it refuses everything;
    rows that were made until then are kept.
    """
    tally = Tally(asker, len(choice))
    try:
        asker.gather(progress)  # what an earlier run was waiting for
        if approval is not None and not asker.in_rounds:

            def ask_sample(sample: Choice, usages: list[Usage]) -> bool:
                """Ask about a sample; returns whether the run may go on."""
                _run_round(work, sample, asker, rows, progress, tally, usages)
                return tally.stopped is None

            choice, approved = ask_first(choice, work.split, ask_sample, asker, approval)
            if tally.stopped is None and not approved:
                tally.stopped = "it stopped after its first sample, as you asked; run it without --estimate to go on"
            if tally.stopped or not len(choice):
                return tally
        while True:
            settled = _run_round(work, choice, asker, rows, progress, tally)
            if not asker.gather(progress):
                return tally
            choice = work.remove(choice, settled)
    except Unavailable as exc:
        kept = f"; {rows.written:,} {work.noun} are kept, run it again to go on" if rows.written else ""
        raise Unavailable(f"{exc}{kept}") from None


def _run_round(
    work: Work[Choice, Item],
    choice: Choice,
    asker: Asker,
    rows: RowBuffer,
    progress: Progress,
    tally: Tally,
    usages: list[Usage] | None = None,
) -> list[Any]:
    """Ask once about everything in the choice. Returns what is settled, where another round may follow.

    What each item cost is added to `usages`.
    """
    settled: list[Any] = []
    stage = progress(work.description, len(choice))

    def take(outcome: Outcome | None) -> None:
        """Count an outcome, and commit rows when it is time."""
        if outcome is None:
            return
        if asker.in_rounds:
            settled.extend(outcome.settled)
        tally.add(outcome)
        rows.add(outcome.rows)
        if rows.due:
            _write(rows, asker)
        stage(len(outcome.settled), f"{work.describe_problems(tally)}, {_describe_spending(asker, tally)}")

    def ask(item: Item) -> Outcome | None:
        """Ask about an item, and note what it cost."""
        with asker.measure() as usage:
            outcome = work.ask(item)
        if usages is not None:
            usages.append(usage)
        return outcome

    tally.stopped = None
    # A few more threads than requests at once: they have the next prompts ready.
    threads = asker.concurrency + max(1, min(16, asker.concurrency // 4))
    try:
        run_in_threads(work.read(choice), ask, take, threads=max(1, min(threads, len(choice))), stop=asker.stop)
    except (BudgetSpent, NeverReadable) as exc:
        tally.stopped = str(exc)
    finally:
        _write(rows, asker)
    tally.check_refusals()
    return settled


def _write(rows: RowBuffer, asker: Asker) -> None:
    """Commit the rows; the answers they are made of are forced to the disk before."""
    if rows.pending:
        asker.sync()
    rows.write()


def _describe_spending(asker: Asker, tally: Tally) -> str:
    """What was spent, and what the whole run will take if it goes on like this."""
    budget, ratio = asker.budget, tally.total / max(1, tally.settled)
    tokens = budget.tokens_in + budget.tokens_out
    ahead = not asker.in_rounds and tally.settled >= FEWEST and ratio > 1
    spent = f"{tokens / 1e3:,.0f}k tokens" + (f" of some {ratio * tokens / 1e3:,.0f}k" if ahead else "")
    if budget.money is None:
        return spent
    whole = f" of some {format_money(ratio * budget.money)}" if ahead else ""
    return f"{spent}, {format_money(budget.money)}{whole} spent"
