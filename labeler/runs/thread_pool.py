"""Many hands for one list of work: threads that can be interrupted, and never lose what is under way."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def each(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    done: Callable[[Result], None],
    *,
    threads: int,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Calls `work(item)` in `threads` threads, and in this thread `done(result)` for each as it comes.

    Items are drawn as they are needed, so their number costs no memory. When `work`, `done` or the items raise, or
    Ctrl-C comes, nothing further begins: `stop()` is called, what is under way is awaited and still handed to `done`,
    and then the first error is raised. A second Ctrl-C does not wait: the threads are left behind.
    """
    todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ended = threading.Event()

    def hand() -> None:
        while (item := todo.get()) is not _END:
            if ended.is_set():
                continue
            try:
                results.put((work(item), None))
            except BaseException as exc:
                results.put((_END, exc))

    # Daemons: a process that is told twice to end ends.
    hands = [threading.Thread(target=hand, name=f"labeler-{n}", daemon=True) for n in range(threads)]
    for one in hands:
        one.start()
    as_before = _on_interrupt(lambda: results.put((_END, KeyboardInterrupt())))
    finished = False
    try:
        _drive(iter(items), todo, results, done, 2 * threads)
        finished = True
    finally:
        try:
            if not finished:  # what is under way has been paid for, and is waited for
                ended.set()
                stop()
            for _ in hands:
                todo.put(_END)
            for one in hands:
                one.join()
            while not results.empty():
                result, error = results.get()
                if error is None:
                    done(result)
        finally:
            as_before()


def _drive(items: Iterator[Any], todo: Any, results: Any, done: Callable[[Any], None], ahead: int) -> None:
    """Puts items in `todo`, no more than `ahead` of the results; raises what work raised."""
    under_way, exhausted = 0, False
    while True:
        while not exhausted and under_way < ahead:
            item = next(items, _END)
            exhausted = item is _END
            if not exhausted:
                under_way += 1
                todo.put(item)
        if not under_way:
            return
        result, error = results.get()
        under_way -= 1
        if error is not None:
            raise error
        done(result)


def _on_interrupt(tell: Callable[[], None]) -> Callable[[], None]:
    """From now on the first Ctrl-C only tells, so that it breaks nothing off half-way; the second is as ever.

    Gives the way back. Only the main thread can be interrupted: elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def first(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        tell()

    before = signal.signal(signal.SIGINT, first) or signal.default_int_handler

    def back() -> None:
        signal.signal(signal.SIGINT, before)

    return back
