"""A run counts what comes of its items, goes on in rounds, and ends when an endpoint refuses everything."""

import collections
import contextlib

import pytest

from featurestore.progress import no_progress
from labeler.llm.budget import Budget
from labeler.llm.endpoint import RequestRefused
from labeler.runs import base


class Rows:
    """A row buffer without a store."""

    written, due, pending = 0, False, 0

    def __init__(self):
        self.rows = []

    def add(self, rows):
        self.rows += rows

    def write(self):
        self.written = len(self.rows)


class Asker:
    """Answers come in `rounds`."""

    concurrency, cached, in_rounds = 2, 0, True

    def __init__(self, rounds=1):
        self.rounds, self.budget = rounds, Budget()

    def gather(self, progress):
        self.rounds -= 1
        return self.rounds > 0

    def stop(self):
        pass

    @contextlib.contextmanager
    def measure(self):
        yield None


def work(ask):
    return base.Work(
        "asking",
        "labels",
        iter,
        ask,
        lambda choice, settled: [item for item in choice if item not in settled],
        lambda tally: "",
        lambda choice, count: (choice[:count], choice[count:]),
    )


def outcome(item, **changed):
    return base.Outcome([item], [{"n": item}], collections.Counter(), collections.Counter())._replace(**changed)


def test_what_is_pending_comes_in_the_next_round():
    asked, rows = collections.Counter(), Rows()

    def ask(item):
        asked[item] += 1
        return None if item % 2 and asked[item] == 1 else outcome(item)

    tally = base.run(work(ask), list(range(10)), Asker(rounds=3), rows, no_progress)
    assert sorted(row["n"] for row in rows.rows) == list(range(10))
    assert asked == {item: 1 + item % 2 for item in range(10)}, "settled items are not asked about again"
    assert (tally.settled, rows.written, tally.report_fields(12)["left"]) == (10, 10, 2)


def test_an_endpoint_that_refuses_everything_ends_the_run():
    def refuse(item):
        return outcome(item, rows=[], refused=RequestRefused("too long"))

    with pytest.raises(RequestRefused, match="too long"):
        base.run(work(refuse), list(range(100)), Asker(), Rows(), no_progress)


def test_some_refusals_are_counted():
    asker = Asker()
    asker.cached = 1  # it answers others

    def ask(item):
        return outcome(item, rows=[], refused=RequestRefused("too long")) if item < 7 else outcome(item)

    tally = base.run(work(ask), list(range(10)), asker, Rows(), no_progress)
    assert tally.failed == {"refused by the endpoint": 7}
