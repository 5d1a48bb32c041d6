"""The thread pool reads items as it needs them, and hands over what was under way."""

import itertools
import threading
import time

import pytest

from labeler.runs import thread_pool


def test_the_pool_draws_items_as_it_needs_them():
    drawn, done = itertools.count(), []
    most = [0]

    def items():
        for n in range(500):
            next(drawn)
            most[0] = max(most[0], n - len(done))
            yield n

    thread_pool.run_in_threads(items(), lambda n: n * n, done.append, threads=4)
    assert sorted(done) == [n * n for n in range(500)]
    assert most[0] <= 8


def test_the_pool_hands_over_what_was_under_way():
    done, began = [], threading.Semaphore(0)

    def work(n):
        if n == 5:
            began.acquire()
            raise ValueError("five")
        if n < 5:
            return n
        began.release()
        time.sleep(0.05)
        return n

    with pytest.raises(ValueError, match="five"):
        thread_pool.run_in_threads(range(100), work, done.append, threads=4)
    assert set(range(5)) < set(done)
    assert len(done) < 20
