"""Many hands for one list of work: threads that can be interrupted, and never lose what is under way."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
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
    source = iter(items)
    under_way = 0
    exhausted = False
    try:
        while True:
            while not exhausted and under_way < 2 * threads:
                item = next(source, _END)
                if item is _END:
                    exhausted = True
                else:
                    under_way += 1
                    todo.put(item)
            if not under_way:
                break
            result, error = results.get()
            under_way -= 1
            if error is not None:
                raise error
            done(result)
    finally:
        # After an error or Ctrl-C too: what is under way has been paid for.
        if under_way:
            ended.set()
            stop()
        for _ in hands:
            todo.put(_END)
        for one in hands:
            one.join()
        while not results.empty():
            result, error = results.get()
            if error is None and result is not _END:
                done(result)
