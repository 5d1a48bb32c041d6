"""ask(messages) -> Answer for everybody who asks much: from the journal where it is known, within a budget, at one of several endpoints."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from featurestore import BadRequest, Unavailable
from labeler.budget import Budget
from labeler.journal import Journal, key_of
from labeler.llm import Answer, Endpoint, Messages, Settings, tokens_most

REST = 60.0  # seconds that an endpoint which failed is left alone while another answers


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
        self._resting: dict[int, float] = {}

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once."""
        return sum(one.pace.most for one in self.endpoints)

    def ask(self, messages: Messages, about: str | None = None, **settings: Any) -> Answer:
        """The answer to a conversation; `settings` are the fields of Settings: schema, max_tokens, temperature, logprobs.

        `about` is noted in the journal, for people: a feature's id. Raises Unavailable, BadRequest, Spent or Stopped.
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

    def sync(self) -> None:
        """Force the journal to the disk."""
        if self.journal:
            self.journal.sync()

    def stop(self) -> None:
        """Begin no further request; who waits for a turn gets Stopped."""
        for one in self.endpoints:
            one.stop()

    def _ask_one(self, messages: Messages, settings: Settings) -> Answer:
        if len(self.endpoints) == 1:
            return self.endpoints[0].ask(messages, **settings._asdict())
        while True:
            chosen = self._least_loaded()
            try:
                return self.endpoints[chosen].ask(messages, **settings._asdict())
            except Unavailable:
                with self._lock:
                    self._resting[chosen] = time.monotonic() + REST
                    awake = [n for n in range(len(self.endpoints)) if self._resting.get(n, 0.0) <= time.monotonic()]
                if not awake:
                    raise

    def _least_loaded(self) -> int:
        now = time.monotonic()
        with self._lock:
            awake = [n for n in range(len(self.endpoints)) if self._resting.get(n, 0.0) <= now]
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
