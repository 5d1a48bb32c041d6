"""Which thread answers: one as long as it goes on, others when it is held up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from featurestore.web.serving import dispatch
from featurestore.web.serving.dispatch import Dispatcher


class Task:
    """What waitress queues: done once, by some thread."""

    def __init__(self, work: Callable[[], object]):
        self._work = work
        self.by: list[int] = []
        self.done = threading.Event()

    def service(self) -> None:
        self.by.append(threading.get_ident())
        try:
            self._work()
        finally:
            self.done.set()

    def cancel(self) -> None:
        self.done.set()


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    made = Dispatcher(4)
    yield made
    assert not made.threads or made.shutdown(timeout=10)


def test_requests_that_go_on_have_one_thread(dispatcher: Dispatcher) -> None:
    tasks = [Task(lambda: time.sleep(0.001)) for _ in range(200)]  # another thread could begin meanwhile
    for task in tasks:
        dispatcher.add_task(task)
    assert all(task.done.wait(30) for task in tasks)
    by = [task.by[0] for task in tasks]
    # One that the system keeps from running counts as held up: now and then another begins.
    assert max(by.count(one) for one in set(by)) > 100


def test_one_that_is_held_up_keeps_nobody_waiting(dispatcher: Dispatcher) -> None:
    go_on = threading.Event()
    held = [Task(go_on.wait) for _ in range(3)]
    for task in held:
        dispatcher.add_task(task)
    quick = Task(lambda: None)
    dispatcher.add_task(quick)
    assert quick.done.wait(30)
    assert len({task.by[0] for task in held}) == 3  # each of the three began, on a thread of its own
    go_on.set()
    assert all(task.done.wait(30) for task in held)


def test_one_that_steps_aside_keeps_nobody_waiting(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BLOCKED", 3600.0)
    go_on = threading.Event()

    def costly() -> None:
        dispatch.step_aside()
        go_on.wait(30)

    first, second = Task(costly), Task(lambda: None)
    dispatcher.add_task(first)
    dispatcher.add_task(second)
    assert second.done.wait(10)
    assert not first.done.is_set()
    go_on.set()
    assert first.done.wait(30)


def test_everything_is_done_once(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "BLOCKED", 0.001)
    draw = random.Random(0)

    def some() -> None:
        if draw.random() < 0.2:
            dispatch.step_aside()
        time.sleep(draw.choice((0, 0, 0.0005, 0.003)))

    tasks = [Task(some) for _ in range(2000)]

    def give(mine: list[Task]) -> None:
        for task in mine:
            dispatcher.add_task(task)

    givers = [threading.Thread(target=give, args=(tasks[n::4],)) for n in range(4)]
    for giver in givers:
        giver.start()
    assert all(task.done.wait(60) for task in tasks)
    assert all(len(task.by) == 1 for task in tasks)


def test_one_that_fails_leaves_its_thread_to_the_next(dispatcher: Dispatcher, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("this one fails")

    tasks = [Task(fails), Task(lambda: None)]
    for task in tasks:
        dispatcher.add_task(task)
    assert all(task.done.wait(30) for task in tasks)
    assert "this one fails" in caplog.text


def test_it_ends(dispatcher: Dispatcher) -> None:
    go_on = threading.Event()
    under_way = Task(lambda: go_on.wait(30))
    dispatcher.add_task(under_way)
    threading.Timer(0.2, go_on.set).start()
    dispatcher.shutdown(timeout=30)
    assert under_way.done.is_set()
    assert not dispatcher.threads


def test_elsewhere_nobody_steps_aside() -> None:
    dispatch.step_aside()
