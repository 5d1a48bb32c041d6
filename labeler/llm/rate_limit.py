"""A rate limit: how many requests an endpoint gets at once, and when the next may begin. Knows nothing of questions.

The number is halved when the endpoint refuses for load and grows by one for each round of answers: additive increase,
multiplicative decrease, as TCP does (Chiu and Jain, 1989), so that several users of one endpoint end with equal shares.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator

FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds, when the endpoint does not say how long


class RunStopped(Exception):
    """The run is ending, so no further request begins."""


class RateLimit:
    """Turns at one endpoint, at most `most` at once, fewer after refusals. Safe to share between threads."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic):
        self.most = most
        self.limit = float(most)
        self.busy = 0
        self._clock = clock
        self._free = threading.Condition()
        self._not_before = 0.0
        self._cut_at = float("-inf")
        self._refusals = 0  # since the last answer
        self._stopped = False

    @contextlib.contextmanager
    def turn(self) -> Iterator[float]:
        """Wait for a turn and hold it; yields the time at which it began. Raises RunStopped after `stop`."""
        with self._free:
            while not self._stopped and (wait := self._seconds_to_wait()) != 0.0:
                self._free.wait(wait)
            if self._stopped:
                raise RunStopped
            self.busy += 1
        try:
            yield self._clock()
        finally:
            with self._free:
                self.busy -= 1
                self._free.notify()

    def _seconds_to_wait(self) -> float | None:
        """Seconds until a turn may begin: 0 for now, None for when another turn ends."""
        if self.busy >= max(1, int(self.limit)):
            return None
        return max(0.0, self._not_before - self._clock())

    def record_answer(self) -> None:
        """Note that the endpoint answered: one more turn after each round of answers."""
        with self._free:
            self._refusals = 0
            if self.limit < self.most:
                self.limit = min(self.most, self.limit + 1 / self.limit)
                self._free.notify()

    def record_refusal(self, began: float, after: float | None) -> None:
        """Note that the endpoint refused, for load, a request whose turn `began` then: half as many turns from now on.

        No turn begins for the next `after` seconds (None: for a time that doubles with each refusal). Requests that
        were under way together are refused together, which counts as one refusal.
        """
        with self._free:
            now = self._clock()
            if began >= self._cut_at:
                self.limit = max(1.0, min(self.limit, self.busy) / 2)
                self._cut_at = now
                self._refusals += 1
            wait = backoff(self._refusals) if after is None else after
            self._not_before = max(self._not_before, now + wait)

    def stop(self) -> None:
        """Begin no further turn."""
        with self._free:
            self._stopped = True
            self._free.notify_all()

    @property
    def load(self) -> float:
        """Share of the turns that are held; above 10 while none may begin."""
        with self._free:
            waits = self._not_before > self._clock()
            return self.busy / max(1, int(self.limit)) + (10.0 if waits else 0.0)

    def pause(self, seconds: float) -> None:
        """Wait before one request is tried again; others go on meanwhile. Raises RunStopped after `stop`."""
        until = self._clock() + seconds
        with self._free:
            while not self._stopped and (left := until - self._clock()) > 0:
                self._free.wait(left)
            if self._stopped:
                raise RunStopped


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubling, and random, so that many do not come back at once."""
    most = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** max(0, failures - 1))
    return most * random.uniform(0.5, 1.0)
