"""Limits of requests: costly ones wait in queues (lanes), and each key has a rate and a most number at once.

A request that waits holds a thread, so queues are short, and all lanes together leave threads for feature pages.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

from featurestore.errors import TooManyRequests, Unavailable
from featurestore.web.security.keys import Key

PATIENCE = (
    10.0  # seconds that a request waits in its lane; longer than a client may dawdle over an answer that holds it
)
BURST = 2.0  # seconds of a key's rate that may come at once


class Lane:
    """A queue: `at_once` requests run, `waiting` more may wait."""

    def __init__(self, name: str, at_once: int, waiting: int):
        self.name = name
        self.at_once = at_once
        self.waiting = waiting
        self.running = 0
        self.queued = 0
        self.refused = 0


class Lanes:
    """The lanes of a service with `threads` threads. Requests of another lane than these ("light") never wait."""

    def __init__(self, threads: int, patience: float = PATIENCE):
        self._changed = threading.Condition()
        self._patience = patience
        # At least one thread, and a quarter of many, is for what costs little.
        self._most = max(1, threads - max(1, threads // 4))
        share = max(1, threads // 4)
        self.lanes = {
            lane.name: lane
            for lane in (
                Lane("search", max(1, threads // 2), share),
                Lane("sql", share, max(1, share // 2)),
                Lane("activating", max(1, share // 2), max(1, share // 2)),
                Lane("write", 1, share),  # one commit after another
            )
        }

    def enter(self, name: str) -> Callable[[], None]:
        """Wait for a place in the lane, and return a function that gives the place back.

        Raises TooManyRequests where too many wait already, Unavailable after `patience` seconds.
        """
        lane = self.lanes.get(name)
        if lane is None:
            return _do_nothing
        with self._changed:
            if not self._has_place(lane):
                if lane.queued >= lane.waiting or self._count_held() >= self._most:
                    lane.refused += 1
                    raise _with_retry(TooManyRequests(f"too many requests wait for {name} already: ask again"), 1)
                lane.queued += 1
                try:
                    came = self._changed.wait_for(lambda: lane.running < lane.at_once, self._patience)
                finally:
                    lane.queued -= 1
                if not came:
                    lane.refused += 1
                    raise _with_retry(Unavailable(f"{name} is busy: nothing ended in {self._patience:g} s"), 5)
            lane.running += 1
        return functools.partial(self._leave, lane)

    def _has_place(self, lane: Lane) -> bool:
        return lane.running < lane.at_once and self._count_held() < self._most

    def _count_held(self) -> int:
        return sum(lane.running + lane.queued for lane in self.lanes.values())

    def _leave(self, lane: Lane) -> None:
        with self._changed:
            lane.running -= 1
            self._changed.notify_all()


class Quotas:
    """How many requests each key may still send, and how many of its requests are under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._lock = threading.Lock()
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # requests left, and when that was
        self._under_way: dict[str, int] = {}

    def enter(self, key: Key) -> Callable[[], None]:
        """Count a request of the key, and return a function to call when it ends. Raises TooManyRequests."""
        with self._lock:
            now = self._clock()
            most = max(1.0, key.rate * BURST)
            left, before = self._left.get(key.id, (most, now))
            left = min(most, left + (now - before) * key.rate)
            running = self._under_way.get(key.id, 0)
            if running >= key.at_once:
                raise _with_retry(
                    TooManyRequests(f"the key '{key.name}' has {running} requests under way, the most it may"), 1
                )
            if left < 1:
                wait = (1 - left) / key.rate
                raise _with_retry(TooManyRequests(f"the key '{key.name}' may ask {key.rate:g} times a second"), wait)
            self._left[key.id] = (left - 1, now)
            self._under_way[key.id] = running + 1
        return functools.partial(self._leave, key.id)

    def _leave(self, id: str) -> None:
        with self._lock:
            self._under_way[id] -= 1


def _with_retry(exc: TooManyRequests | Unavailable, seconds: float) -> TooManyRequests | Unavailable:
    """Return the error with the seconds after which asking again may help."""
    exc.retry_after = seconds
    return exc


def _do_nothing() -> None:
    pass
