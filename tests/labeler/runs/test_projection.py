"""What a run will cost, from its first questions: the interval holds what the whole then takes."""

import numpy
import pytest

from labeler.llm.budget import Budget, Prices, parse_limit
from labeler.runs.projection import build_record, choose_size, describe, describe_seconds, project


@pytest.mark.parametrize(
    ("items", "size"), [(1, 0), (40, 0), (41, 20), (200, 20), (640, 64), (1000, 100), (1_000_000, 100)]
)
def test_size_of_a_sample(items, size):
    assert choose_size(items) == size


@pytest.mark.parametrize(("items", "size"), [(1, 1), (9, 9), (40, 10), (41, 20)])
def test_size_of_a_sample_that_was_asked_for(items, size):
    assert choose_size(items, small_too=True) == size


def test_equal_costs_leave_nothing_open():
    """20 questions took 100 and 10 tokens each, 30 % of them asked twice before: 2,860 tokens; 180 more will follow."""
    projection = project([(100, 10)] * 20, (2600, 260), 180, Budget(None, Prices(1.0, 10.0)))
    assert projection.tokens == (2860 + 180 * 110,) * 3
    assert (projection.tokens_in, projection.tokens_out) == (2600 + 18_000, 260 + 1800)
    assert projection.money == pytest.approx(((20_600 + 20_600) / 1e6,) * 3)
    assert (projection.items, projection.sampled, projection.covered) == (200, 20, 1.0)


@pytest.mark.parametrize(("n", "sigma"), [(20, 0.3), (60, 0.8), (100, 1.2)])
def test_the_interval_holds_the_whole_of_runs_of_skewed_replies(n, sigma):
    """Of 100 runs of 1,000 questions with log-normal replies some 95 % cost what the interval allows."""
    rng = numpy.random.default_rng(5)
    held, widths = 0, []
    for _ in range(100):
        replies = rng.lognormal(5, sigma, 1000).astype(int)
        costs = [(400, int(reply)) for reply in replies]
        spent = 400 * n, int(replies[:n].sum())
        tokens = project(costs[:n], spent, 1000 - n, Budget()).tokens
        held += tokens.low <= 400_000 + replies.sum() <= tokens.high
        widths.append((tokens.high - tokens.low) / tokens.value)
    assert held >= 88
    assert numpy.median(widths) < 0.8, "and it is not so wide that it says nothing"


def test_what_a_budget_pays_for():
    costs, spent = [(100, 100)] * 20, (2000, 2000)
    tokens = project(costs, spent, 80, Budget(parse_limit("5ktokens", None)))
    assert tokens.covered == 0.25
    assert "; the budget pays for some 25% of that" in describe(tokens, "features")
    prices = Prices(1.0, 9.0)
    money = project(costs, spent, 80, Budget(parse_limit("0.05", prices), prices))
    assert money.covered == pytest.approx(0.5)
    assert project(costs, spent, 80, Budget(parse_limit("1Mtokens", None))).covered == 1.0


def test_words_and_record():
    costs = [(100, 10 + n % 3) for n in range(30)]
    projection = project(costs, (3000, 330), 570, Budget(None, Prices(1.0, 2.0)))._replace(seconds=130.0, cached=4)
    line = describe(projection, "features")
    assert line.startswith("after 30 of 600 features: about 66,600 tokens in all (66,4")
    assert " with 95 % confidence), 0.073 (0.073 to 0.074) at these prices, and some 2 minutes more" in line
    assert line.endswith("; 4 answers came from the journal, for nothing")
    record = build_record(projection)
    assert record["tokens"]["value"] == 66_600
    assert record["money"]["low"] <= record["money"]["value"] <= record["money"]["high"]
    whole = describe(project(costs, (3000, 330), 0, Budget()), "labels")
    assert whole == "after 30 of 30 labels: about 3,330 tokens in all", "nothing is left to be estimated"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "some 1 second"), (41.2, "some 41 seconds"), (720, "some 12 minutes"), (19_800, "some 5.5 hours")],
)
def test_times(seconds, text):
    assert describe_seconds(seconds) == text
