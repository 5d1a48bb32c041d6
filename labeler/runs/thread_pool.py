"""A thread pool for one list of work, which can be interrupted and loses nothing that is under way."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def run_in_threads(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    take: Callable[[Result], None],
    *,
    threads: int,
    stop: Callable[[], None] = lambda: None,
) -> None:
    """Call `work(item)` in `threads` threads, and `take(result)` in this thread for each result as it comes.

    Items are read as they are needed, so their number costs no memory. When `work`, `take` or the items raise, or
    Ctrl-C comes, nothing further begins: `stop()` is called, what is under way is waited for and still handed to
    `take`, and then the first error is raised. A second Ctrl-C does not wait: the threads are left behind.
    """
    todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
    results: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ended = threading.Event()

    def work_off() -> None:
        """Work on items until there are no more."""
        while (item := todo.get()) is not _END:
            if ended.is_set():
                continue
            try:
                results.put((work(item), None))
            except BaseException as exc:
                results.put((_END, exc))

    # Daemons: a process that is interrupted twice ends.
    pool = [threading.Thread(target=work_off, name=f"labeler-{n}", daemon=True) for n in range(threads)]
    for thread in pool:
        thread.start()
    restore_handler = _on_interrupt(lambda: results.put((_END, KeyboardInterrupt())))
    finished = False
    try:
        _feed(iter(items), todo, results, take, 2 * threads)
        finished = True
    finally:
        try:
            if not finished:  # what is under way has been paid for, and is waited for
                ended.set()
                stop()
            for _ in pool:
                todo.put(_END)
            for thread in pool:
                thread.join()
            while not results.empty():
                result, error = results.get()
                if error is None:
                    take(result)
        finally:
            restore_handler()


def _feed(
    items: Iterator[Item],
    todo: queue.SimpleQueue[Any],
    results: queue.SimpleQueue[Any],
    take: Callable[[Any], None],
    ahead: int,
) -> None:
    """Put items in `todo`, at most `ahead` of the results. Raises what work raised."""
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
        take(result)


def _on_interrupt(notify: Callable[[], None]) -> Callable[[], None]:
    """Let the first Ctrl-C only call `notify`, so that it breaks nothing off half-way; the second acts as before.

    Returns a function that restores the handler. Only the main thread can be interrupted: elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def handle_first(number: int, frame: Any) -> None:
        """Notify, and let the next Ctrl-C act as before."""
        signal.signal(signal.SIGINT, previous)
        notify()

    previous = signal.signal(signal.SIGINT, handle_first) or signal.default_int_handler

    def restore() -> None:
        """Put the previous handler back."""
        signal.signal(signal.SIGINT, previous)

    return restore
