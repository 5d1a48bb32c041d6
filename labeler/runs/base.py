"""What every run that asks a language model is: threads ask, one thread counts and writes, and whatever ends it, it can go on."""

from __future__ import annotations

import collections
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from featurestore import Progress, Unavailable
from labeler.llm.asker import Asker
from labeler.llm.budget import Budget, Spent, shown
from labeler.llm.endpoint import Refused
from labeler.runs import thread_pool
from labeler.runs.row_buffer import Rows

CHUNK = 4096  # features read in the order they lie in, whatever the order asked for
SAMPLE = 25  # features whose prompts tell what a run will cost
REFUSALS = 5  # requests refused before any was answered: the fault is not the feature's


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did. `failed` counts by reason; `skipped` was done before, or cannot be.

    `paid` answers cost `tokens_in` and `tokens_out`, and `money` where prices were given; `cached` ones came from the
    journal. `left` were not come to, and `stopped` says why.
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


class Estimate(NamedTuple):
    """What so many features will cost, more or less; `money` where prices are given."""

    features: int
    skipped: int
    tokens_in: int
    tokens_out: int
    money: float | None

    @classmethod
    def of(cls, features: int, skipped: int, tokens_in: float, tokens_out: float, budget: Budget) -> Estimate:
        """With the money that these tokens cost."""
        spent = round(tokens_in), round(tokens_out)
        return cls(features, skipped, *spent, None if budget.prices is None else budget.prices.of(*spent))


class Sized(Protocol):
    """What was chosen."""

    def __len__(self) -> int: ...


Chosen = TypeVar("Chosen", bound=Sized)
Item = TypeVar("Item")
Result = TypeVar("Result")


class Run(ABC, Generic[Chosen, Item, Result]):
    """One run. Rows it makes are committed by the way, and all that are at hand when it ends."""

    made: ClassVar[str]  # what the rows are, in messages

    def __init__(self, store: Any, asker: Asker, rows: Rows):
        self.store, self.asker, self.rows = store, asker, rows
        self.failed: collections.Counter[str] = collections.Counter()
        self.come_to = 0
        self.stopped: str | None = None
        self._refused = 0

    @abstractmethod
    def items(self, chosen: Chosen) -> Iterator[Item]:
        """What there is to ask about, drawn as it is needed."""

    @abstractmethod
    def one(self, item: Item) -> Result | None:
        """Ask about one; None when its answers are not there yet, or the run ended first. In many threads at once."""

    @abstractmethod
    def done(self, result: Result) -> None:
        """Count a result and take its rows."""

    @abstractmethod
    def rest(self, chosen: Chosen) -> Chosen:
        """What `done` has not been called for yet."""

    @abstractmethod
    def troubles(self) -> str:
        """What went wrong so far, in a few words."""

    def go(self, chosen: Chosen, doing: str, progress: Progress) -> None:
        """Ask about all that was chosen; of a batch, in as many rounds as it takes.

        Raises Unavailable when the endpoint is down or refuses the key, and Refused when it refuses everything; what was
        answered is kept.
        """
        try:
            self.asker.gather(progress)  # what a run before this one was waiting for
            while True:
                self._round(chosen, doing, progress)
                if not self.asker.gather(progress):
                    return
                chosen = self.rest(chosen)
        except Unavailable as exc:
            written = self.rows.written
            kept = f"; {written:,} {self.made} are kept, run it again to go on" if written else ""
            raise Unavailable(f"{exc}{kept}") from None

    def _round(self, chosen: Chosen, doing: str, progress: Progress) -> None:
        self.stopped = None
        # A few more hands than requests at once: they have the next prompts ready.
        hands = self.asker.concurrency + max(1, min(16, self.asker.concurrency // 4))
        self._stage, self._steps = progress(doing, len(chosen)), 0
        try:
            threads = max(1, min(hands, len(chosen)))
            thread_pool.each(self.items(chosen), self.one, self._done, threads=threads, stop=self.asker.stop)
        except Spent as exc:
            self.stopped = str(exc)
        finally:
            self.write()
        if self._refused and self._unanswered():
            raise self._refusal

    def _done(self, result: Result | None) -> None:
        if result is None:
            return
        self.done(result)
        if self.rows.due:
            self.write()
        steps, self._steps = self._steps, 0
        self._stage(steps, self.said())

    def count(self, n: int, refused: Refused | None = None) -> None:
        """So many are done with; none of them was answered if the endpoint `refused`. Raises that when it refuses all."""
        self.come_to += n
        self._steps += n
        if refused is None:
            return
        self._refused, self._refusal = self._refused + 1, refused
        self.failed["refused by the endpoint"] += n
        if self._refused >= REFUSALS and self._unanswered():
            raise refused

    def _unanswered(self) -> bool:
        return not self.asker.budget.paid and not self.asker.cached

    def write(self) -> None:
        """Commit the rows at hand; the answers they are made of are on the disk before."""
        if self.rows.held:
            self.asker.sync()
        self.rows.write()

    def said(self) -> str:
        """The run so far, in a few words."""
        spent = self.asker.budget
        parts = [self.troubles(), f"{(spent.tokens_in + spent.tokens_out) / 1e3:,.0f}k tokens"]
        if spent.money is not None:
            parts.append(f"{shown(spent.money)} spent")
        return ", ".join(parts)

    def spent(self, total: int) -> dict[str, Any]:
        """The fields of a report that are the same for every run, of so many that were to be done."""
        account = self.asker.budget
        return {
            "failed": dict(self.failed),
            "paid": account.paid,
            "cached": self.asker.cached,
            "tokens_in": account.tokens_in,
            "tokens_out": account.tokens_out,
            "money": account.money,
            "left": total - self.come_to,
            "stopped": self.stopped,
        }
