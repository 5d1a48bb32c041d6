"""Which thread answers which request: one at a time as long as it goes on, others when it is held up.

Python runs one thread at a time. Threads that make pages at once hand the interpreter to each other whenever one of them reads,
sends or computes outside of it, some 30 times a page, which takes longer than the page itself (docs/http.md has figures).
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from waitress.task import ThreadedTaskDispatcher

HELD_UP = 0.02  # seconds with one request after which the next no longer waits for its thread
_here = threading.local()


class Dispatcher(ThreadedTaskDispatcher):
    """Waitress's threads, of which a second begins only when the first is held up, by a disk or by much to do, or steps aside."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        # The last to rest is woken first: the processor still has what it works with at hand.
        self._idle: list[_Seat] = []
        self._since: dict[_Seat, float] = {}  # when each thread at work began its request
        self._busy = threading.Event()
        self.set_thread_count(threads)
        threading.Thread(target=self._watch, name="held-up", daemon=True).start()

    def add_task(self, task: Any) -> None:
        """Queue a task."""
        with self.lock:
            self.queue.append(task)
            self._staff()
        self._busy.set()

    def set_thread_count(self, count: int) -> None:
        """Start threads, or tell some to end when they next rest."""
        super().set_thread_count(count)
        with self.lock:
            for seat in self._idle[: self.stop_count]:
                seat.woken.notify()
            del self._idle[: self.stop_count]
        self._busy.set()

    def handler_thread(self, thread_no: int) -> None:
        """The work of one thread."""
        seat = _here.seat = _Seat(self, thread_no)
        while (task := self._next(seat)) is not None:
            try:
                task.service()
            except BaseException:
                self.logger.exception("Exception when servicing %r", task)

    def step_aside(self, seat: _Seat) -> None:
        """Let the next request begin."""
        with self.lock:
            self._since[seat] = -math.inf
            self._staff()

    def _next(self, seat: _Seat) -> Any:
        """The next task for a thread, which rests until there is one; None when it is to end."""
        with self.lock:
            self._since.pop(seat, None)
            while not self.stop_count and (not self.queue or self._moving()):
                self._idle.append(seat)
                seat.woken.wait()
                self._since.pop(seat, None)
            if self.stop_count:
                self.stop_count -= 1
                self.threads.discard(seat.number)
                self.thread_exit_cv.notify()
                return None
            self._since[seat] = time.monotonic()
            return self.queue.popleft()

    def _moving(self) -> bool:
        """Whether a thread is at work that will soon come to the next task."""
        now = time.monotonic()
        return any(now - since < HELD_UP for since in self._since.values())

    def _staff(self) -> None:
        """Wake a thread for the first of the queue where no other will come to it."""
        if self.queue and self._idle and not self._moving():
            seat = self._idle.pop()
            self._since[seat] = time.monotonic()
            seat.woken.notify()

    def _watch(self) -> None:
        """See who is held up. A thread that rests while nothing is asked."""
        while True:
            self._busy.wait()
            time.sleep(HELD_UP)
            with self.lock:
                self._staff()
                if not self.threads:
                    return
                if not self.queue and not self._since and not self.stop_count:
                    self._busy.clear()


class _Seat:
    """One thread's place, and how it is woken."""

    def __init__(self, dispatcher: Dispatcher, number: int):
        self.dispatcher = dispatcher
        self.number = number
        self.woken = threading.Condition(dispatcher.lock)


def aside() -> None:
    """Say that this thread's request takes long, or leaves the interpreter to others: the next need not wait for it.

    Nothing where the thread is none of a Dispatcher's.
    """
    seat = getattr(_here, "seat", None)
    if seat is not None:
        seat.dispatcher.step_aside(seat)
