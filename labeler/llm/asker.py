"""ask(messages) -> Answer: from the journal where it is known, within a budget, from one of several endpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from featurestore import BadRequest, Progress, Unavailable
from labeler.llm.budget import Budget
from labeler.llm.completions import Answer, Logprobs, Messages, ReplyOptions, RequestSettings, bound_tokens
from labeler.llm.endpoint import Endpoint, NoCompletion
from labeler.llm.journal import Journal, hash_request
from labeler.llm.reply_content import flatten_content
from labeler.llm.reply_limits import Readability, ReplyLimits

REST = 60.0  # seconds for which an endpoint that failed gets no requests while another answers


class AnswerPending(Exception):
    """The question has been noted; its answer comes with those that `gather` waits for."""


@dataclasses.dataclass
class Usage:
    """The answers to some questions: their tokens, the limit under which the first was asked, and how many of them came
    from the journal.
    """

    answers: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    limit: int = 0


@dataclasses.dataclass
class _KeyLock:
    """A lock for one question, and the number of threads that hold it or wait for it."""

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    users: int = 0


class Asker:
    """Asks a model that one or several endpoints serve. Safe to share between threads.

    An answer is in the journal before it is used, and is never asked for again. A question that several threads ask at
    a time is asked once. `cached` counts answers from the journal, `budget` those that were paid.
    """

    in_rounds = False  # whether answers come together, in `gather`

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        journal: Journal | None = None,
        budget: Budget | None = None,
        take: int = 1,
        options: ReplyOptions | None = None,
    ):
        """Answers of one `take` do not count as answers of another: a higher one asks the same questions anew.

        `options` hold for every question. Without a number of tokens in them the limit of replies rises when many are
        cut off.

        Raises BadRequest when the endpoints serve different models.
        """
        if len({endpoint.model for endpoint in endpoints}) != 1:
            raise BadRequest("the endpoints of one run serve one model")
        self.endpoints = list(endpoints)
        self.model = endpoints[0].model
        self.journal = journal
        self.budget = budget or Budget()
        self.take = take
        self.options = options or ReplyOptions()
        self.limits = ReplyLimits(self.options.max_tokens)
        self.readability = Readability()
        self.cached = 0
        self._lock = threading.Lock()
        self._measured = threading.local()
        self._key_locks: dict[str, _KeyLock] = {}
        self._failed_at: dict[int, float] = {}  # by number of endpoint, in seconds of time.monotonic

    @property
    def concurrency(self) -> int:
        """Number of requests that may be under way at once."""
        return sum(endpoint.rate_limit.most for endpoint in self.endpoints)

    def ask(self, messages: Messages, about: str | None = None, **settings: Any) -> Answer:
        """The answer to a conversation.

        `settings` are the fields of RequestSettings: schema, max_tokens, temperature, logprobs. `about` is noted in the
        journal for people: a feature's id. Raises Unavailable, BadRequest, BudgetSpent, RunStopped or AnswerPending.
        """
        wanted = self.complete_settings(settings)
        with self._hold_key(self.hash(messages, wanted)):
            answer = self.find_known(messages, wanted)
            if answer is not None:
                with self._lock:
                    self.cached += 1
                self._note_usage(answer, answer.limit)
                return answer
            chosen = wanted._replace(max_tokens=self.limits.choose(wanted.max_tokens))
            with self.budget.reserve(bound_tokens(messages), chosen.max_tokens) as spending:
                answer = self._ask_endpoints(messages, chosen)
                spending.tokens = (answer.tokens_in, answer.tokens_out)
                self.keep(self.hash(messages, chosen), answer, about)
            self._note_usage(answer, chosen.max_tokens)
            self.limits.record(chosen.max_tokens, answer.finish == "length")
            return self._note_limit(answer, chosen.max_tokens)

    @contextlib.contextmanager
    def measure(self) -> Iterator[Usage]:
        """Yields a count of the answers that this thread gets inside."""
        usage = self._measured.usage = Usage()
        try:
            yield usage
        finally:
            self._measured.usage = None

    def _note_usage(self, answer: Answer, limit: int) -> None:
        usage: Usage | None = getattr(self._measured, "usage", None)
        if usage is not None:
            usage.limit = usage.limit or limit
            usage.answers += 1
            usage.cached += answer.cached
            usage.tokens_in += answer.tokens_in
            usage.tokens_out += answer.tokens_out

    def complete_settings(self, settings: dict[str, Any]) -> RequestSettings:
        """The settings of a question, with the options that hold for every one."""
        options = self.options._asdict()
        return RequestSettings(**settings | {name: value for name, value in options.items() if value is not None})

    def find_known(self, messages: Messages, wanted: RequestSettings) -> Answer | None:
        """The journal's answer to a question, asked under this limit or else under a higher one; or None."""
        for limit in self.limits.list_limits(wanted.max_tokens):
            answer = self.find_answer(self.hash(messages, wanted._replace(max_tokens=limit)))
            if answer is not None:
                return self._note_limit(answer, limit)
        return None

    def _note_limit(self, answer: Answer, limit: int) -> Answer:
        return answer._replace(limit=limit, may_grow=self.limits.fixed is None)

    def hash(self, messages: Messages, settings: RequestSettings) -> str:
        """The journal's key of a request: a hash of model, messages and settings, whichever endpoint answers."""
        further = {"take": self.take} if self.take > 1 else {}
        fields = settings._asdict()
        if settings.extra_body is None:
            del fields["extra_body"]
        return hash_request({"model": self.model, "messages": list(messages), **fields, **further})

    def find_answer(self, key: str) -> Answer | None:
        """The journal's answer, or None. Lines of other versions and tools are read as far as they can be."""
        line = self.journal.get(key) if self.journal else None
        if line is None or not isinstance(line.get("text"), str | list):
            return None
        counts = [line.get(name) for name in ("tokens_in", "tokens_out")]
        tokens_in, tokens_out = (count if isinstance(count, int) and count >= 0 else 0 for count in counts)
        finish, logprobs = line.get("finish"), _read_logprobs(line.get("logprobs"))
        text = flatten_content(line["text"])
        return Answer(text, tokens_in, tokens_out, finish if isinstance(finish, str) else "stop", logprobs, True)

    def keep(self, key: str, answer: Answer, about: str | None) -> None:
        """Put an answer in the journal."""
        if self.journal is None:
            return
        content = answer._asdict() | {"model": self.model}
        for name in ("cached", "limit", "may_grow"):
            del content[name]
        if answer.logprobs is None:
            del content["logprobs"]
        self.journal.put(key, content | ({"about": about} if about else {}))

    def gather(self, progress: Progress) -> bool:
        """Wait for the pending answers. Returns whether there were any."""
        return False

    def price(self, tokens_in: int, tokens_out: int) -> dict[str, Any]:
        """What so many tokens cost, by the names of the store's columns: tokens_in, tokens_out, money."""
        prices = self.budget.prices
        money = None if prices is None else prices.of(tokens_in, tokens_out)
        return {"tokens_in": tokens_in, "tokens_out": tokens_out, "money": money}

    def sync(self) -> None:
        """Force the journal to the disk."""
        if self.journal:
            self.journal.sync()

    def stop(self) -> None:
        """Begin no further request; threads that wait for a turn get RunStopped."""
        for endpoint in self.endpoints:
            endpoint.stop()

    def _ask_endpoints(self, messages: Messages, settings: RequestSettings) -> Answer:
        while True:
            number, began = self._find_least_loaded(), time.monotonic()
            try:
                return self.endpoints[number].ask(messages, **settings._asdict())
            except (Unavailable, NoCompletion):
                with self._lock:
                    self._failed_at[number] = time.monotonic()
                    available = self._list_available()
                if not available and not self.endpoints[number].comes_back(began):
                    raise

    def _list_available(self) -> list[int]:
        """Endpoints that get requests: those that never failed, or long ago, or were restarted since."""
        now, failed_at = time.monotonic(), self._failed_at
        return [
            n
            for n, endpoint in enumerate(self.endpoints)
            if endpoint.renewed <= now
            and (n not in failed_at or now > failed_at[n] + REST or endpoint.renewed > failed_at[n])
        ]

    def _find_least_loaded(self) -> int:
        if len(self.endpoints) == 1:
            return 0
        with self._lock:
            available = self._list_available()
        return min(available or range(len(self.endpoints)), key=lambda n: self.endpoints[n].rate_limit.load)

    @contextlib.contextmanager
    def _hold_key(self, key: str) -> Iterator[None]:
        """Let one thread at a time ask one question: the next finds the answer in the journal."""
        if self.journal is None:
            yield
            return
        with self._lock:
            key_lock = self._key_locks.setdefault(key, _KeyLock())
            key_lock.users += 1
        try:
            with key_lock.lock:
                yield
        finally:
            with self._lock:
                key_lock.users -= 1
                if not key_lock.users:
                    del self._key_locks[key]


def _read_logprobs(value: Any) -> Logprobs | None:
    """The log-probabilities in a line of the journal; None where there are none, or in another form."""
    try:
        return value and tuple(
            (str(token), {str(other): float(logprob) for other, logprob in likely.items()}) for token, likely in value
        )
    except (TypeError, ValueError, AttributeError):
        return None
