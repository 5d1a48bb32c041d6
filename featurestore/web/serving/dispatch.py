"""Which thread answers which request: one thread as long as it makes progress, further ones when it is blocked.

Python runs one thread at a time. Threads that make pages at the same time hand the interpreter to each other whenever
one of them reads, sends or computes outside of it, some 30 times a page. That takes longer than the page itself
(docs/http.md has figures).
"""

from __future__ import annotations

import math
import threading
import time
from typing import Any

from waitress.task import ThreadedTaskDispatcher

BLOCKED = 0.02  # seconds with one request after which the next one is given to another thread
_current = threading.local()


class Dispatcher(ThreadedTaskDispatcher):  # type: ignore[misc]  # waitress has no types
    """Waitress's threads; a second one begins only when the first is blocked (a disk, a long task) or steps aside."""

    def __init__(self, threads: int) -> None:
        super().__init__()
        # The last thread to become idle is woken first: the processor still has its data in its caches.
        self._idle: list[_WorkerThread] = []
        self._began: dict[_WorkerThread, float] = {}  # when each thread at work began its request
        self._busy = threading.Event()
        self.set_thread_count(threads)
        threading.Thread(target=self._watch, name="dispatcher", daemon=True).start()

    def add_task(self, task: Any) -> None:
        """Queue a task."""
        with self.lock:
            self.queue.append(task)
            self._wake()
        self._busy.set()

    def set_thread_count(self, count: int) -> None:
        """Start threads, or have some end when they are next idle."""
        super().set_thread_count(count)
        with self.lock:
            for worker in self._idle[: self.stop_count]:
                worker.woken.notify()
            del self._idle[: self.stop_count]
        self._busy.set()

    def handler_thread(self, thread_no: int) -> None:
        """Take tasks from the queue until there are threads to stop; the body of each thread."""
        worker = _current.worker = _WorkerThread(self, thread_no)
        while (task := self._take_task(worker)) is not None:
            try:
                task.service()
            except BaseException:
                self.logger.exception("Exception when servicing %r", task)

    def step_aside(self, worker: _WorkerThread) -> None:
        """Let the next request begin although this thread's request is not finished."""
        with self.lock:
            self._began[worker] = -math.inf
            self._wake()

    def _take_task(self, worker: _WorkerThread) -> Any:
        """Wait for a task and return it; None when the thread is to end."""
        with self.lock:
            self._began.pop(worker, None)
            while not self.stop_count and (not self.queue or self._makes_progress()):
                self._idle.append(worker)
                worker.woken.wait()
                self._began.pop(worker, None)
            if self.stop_count:
                self.stop_count -= 1
                self.threads.discard(worker.number)
                self.thread_exit_cv.notify()
                return None
            self._began[worker] = time.monotonic()
            return self.queue.popleft()

    def _makes_progress(self) -> bool:
        """Return whether a thread is at work that will soon take the next task."""
        now = time.monotonic()
        return any(now - began < BLOCKED for began in self._began.values())

    def _wake(self) -> None:
        """Wake an idle thread for the first task of the queue, unless a thread at work will soon take it."""
        if self.queue and self._idle and not self._makes_progress():
            worker = self._idle.pop()
            self._began[worker] = time.monotonic()
            worker.woken.notify()

    def _watch(self) -> None:
        """Wake threads for tasks that wait behind a blocked one; the body of a thread, idle without requests."""
        while True:
            self._busy.wait()
            time.sleep(BLOCKED)
            with self.lock:
                self._wake()
                if not self.threads:
                    return
                if not self.queue and not self._began and not self.stop_count:
                    self._busy.clear()


class _WorkerThread:
    """One thread of a dispatcher, and how it is woken."""

    def __init__(self, dispatcher: Dispatcher, number: int):
        self.dispatcher = dispatcher
        self.number = number
        self.woken = threading.Condition(dispatcher.lock)


def step_aside() -> None:
    """Declare that this thread's request takes long, or leaves the interpreter to others: the next one need not wait.

    Does nothing in a thread that is not a dispatcher's.
    """
    worker = getattr(_current, "worker", None)
    if worker is not None:
        worker.dispatcher.step_aside(worker)
