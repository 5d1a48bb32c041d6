"""ask(messages) -> Answer for everybody who asks much: from the journal where it is known, within a budget, at one of several endpoints."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from featurestore import BadRequest, Progress, Unavailable
from labeler.llm.budget import Budget
from labeler.llm.endpoint import Answer, Endpoint, Messages, Settings, tokens_most
from labeler.llm.journal import Journal, key_of

REST = 60.0  # seconds that an endpoint which failed is left alone while another answers


class Waits(Exception):
    """The answer is asked for, and comes with those that `gather` waits for."""


class Asker:
    """Asks a model that one or several endpoints serve. Safe to share between threads.

    An answer is in the journal before anybody uses it, and is never asked for again. What is asked for twice at a time
    is asked once. `cached` and `budget` count what came from the journal and what was paid.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        journal: Journal | None = None,
        budget: Budget | None = None,
        take: int = 1,
    ):
        """`take` tells answers to the same prompts apart: those of take 1 are no answers to take 2.

        Raises BadRequest when the endpoints serve different models.
        """
        if len({one.model for one in endpoints}) != 1:
            raise BadRequest("the endpoints of one run serve one model")
        self.endpoints = list(endpoints)
        self.model = endpoints[0].model
        self.journal = journal
        self.budget = budget or Budget()
        self.take = take
        self.cached = 0
        self._lock = threading.Lock()
        self._flying: dict[str, list[Any]] = {}  # a lock, and how many hold it or wait for it
        self._failed: dict[int, float] = {}  # when, by number of endpoint

    in_rounds = False  # whether answers come together, in `gather`

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        return sum(one.pace.most for one in self.endpoints)

    def ask(self, messages: Messages, about: str | None = None, **settings: Any) -> Answer:
        """The answer to a conversation; `settings` are the fields of Settings: schema, max_tokens, temperature, logprobs.

        `about` is noted in the journal, for people: a feature's id. Raises Unavailable, BadRequest, Spent, Stopped or
        Waits.
        """
        wanted = Settings(**settings)
        key = self.key(messages, wanted)
        with self._alone(key):
            known = self.known(key)
            if known is not None:
                with self._lock:
                    self.cached += 1
                return known
            with self.budget.reserved(tokens_most(messages), wanted.max_tokens) as spending:
                answer = self._ask_one(messages, wanted)
                spending.tokens = (answer.tokens_in, answer.tokens_out)
                self.keep(key, answer, about)
            return answer

    def key(self, messages: Messages, settings: Settings) -> str:
        """What the journal knows a request by: a hash of model, messages and settings, whichever endpoint answers."""
        further = {"take": self.take} if self.take > 1 else {}
        return key_of({"model": self.model, "messages": list(messages), **settings._asdict(), **further})

    def known(self, key: str) -> Answer | None:
        """The journal's answer."""
        found = self.journal.get(key) if self.journal else None
        if found is None or "text" not in found:
            return None
        logprobs = found.get("logprobs")
        return Answer(
            found["text"],
            found["tokens_in"],
            found["tokens_out"],
            found["finish"],
            None if logprobs is None else tuple((token, tops) for token, tops in logprobs),
            True,
        )

    def keep(self, key: str, answer: Answer, about: str | None) -> None:
        """Put an answer in the journal."""
        if self.journal is None:
            return
        content = answer._asdict() | {"model": self.model}
        del content["cached"]
        if answer.logprobs is None:
            del content["logprobs"]
        self.journal.put(key, content | ({"about": about} if about else {}))

    def gather(self, progress: Progress) -> bool:
        """Wait for the answers that were asked for and are not there yet. Whether there were any."""
        return False

    def cost(self, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        """What so many tokens cost, by the names of the store's columns."""
        prices = self.budget.prices
        money = None if prices is None else prices.of(tokens_in, tokens_out)
        return {"tokens_in": tokens_in, "tokens_out": tokens_out, "money": money}

    def sync(self) -> None:
        """Force the journal to the disk."""
        if self.journal:
            self.journal.sync()

    def stop(self) -> None:
        """Begin no further request; who waits for a turn gets Stopped."""
        for one in self.endpoints:
            one.stop()

    def _ask_one(self, messages: Messages, settings: Settings) -> Answer:
        while True:
            chosen, began = self._least_loaded(), time.monotonic()
            try:
                return self.endpoints[chosen].ask(messages, **settings._asdict())
            except Unavailable:
                with self._lock:
                    self._failed[chosen] = time.monotonic()
                    awake = self._awake()
                if not awake and not self.endpoints[chosen].comes_back(began):
                    raise

    def _awake(self) -> list[int]:
        """Endpoints that are not left alone: those that never failed, or long ago, or have come to answer since."""
        now, failed = time.monotonic(), self._failed
        return [
            n
            for n, one in enumerate(self.endpoints)
            if one.renewed <= now and (n not in failed or now > failed[n] + REST or one.renewed > failed[n])
        ]

    def _least_loaded(self) -> int:
        if len(self.endpoints) == 1:
            return 0
        with self._lock:
            awake = self._awake()
        return min(awake or range(len(self.endpoints)), key=lambda n: self.endpoints[n].pace.load)

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """One at a time for one key: the second finds the first one's answer in the journal."""
        if self.journal is None:
            yield
            return
        with self._lock:
            mine = self._flying.setdefault(key, [threading.Lock(), 0])
            mine[1] += 1
        try:
            with mine[0]:
                yield
        finally:
            with self._lock:
                mine[1] -= 1
                if not mine[1]:
                    del self._flying[key]
