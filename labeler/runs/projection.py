"""What a whole run will cost, from what its first features cost: with an interval, since replies differ in length.

Knows nothing of prompts or of endpoints.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from labeler.llm.budget import Budget, format_money
from labeler.scorers.statistics import student

FEWEST, MOST = 20, 100  # items of a sample
FEWEST_OF_SMALL = 10
SMALL = 40  # of a run of so few items a sample is taken only when the user asked for it
RESAMPLES = 2000
MOST_RATIO = 8.0  # standard errors that an interval reaches at most
Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]


class Amount(NamedTuple):
    """An expected amount and the bounds of its interval of 95 %."""

    value: float
    low: float
    high: float

    def add(self, spent: float) -> Amount:
        """Return the amount with what was spent already."""
        return Amount(self.value + spent, self.low + spent, self.high + spent)


class Projection(NamedTuple):
    """What a run over `items` will cost, after `sampled` of them: tokens of both kinds together, and money with prices.

    `tokens_in` and `tokens_out` are the expected tokens of prompts and of replies, thinking included. `cached` of the
    sample's answers came from the journal and cost nothing; the others are taken to be paid, whatever is in it. The run
    takes `seconds` more.
    """

    items: int
    sampled: int
    tokens: Amount
    tokens_in: int
    tokens_out: int
    money: Amount | None
    covered: float  # the share of the run that the budget is expected to pay for
    cached: int = 0
    seconds: float = 0.0


def choose_size(items: int, small_too: bool = False) -> int:
    """The number of items that a first sample of a run takes: a tenth, from 20 to 100.

    A small run has no sample, or ten items when `small_too`.
    """
    if items <= SMALL:
        return min(items, FEWEST_OF_SMALL) if small_too else 0
    return min(MOST, max(FEWEST, items // 10))


def project(costs: Sequence[tuple[int, int]], spent: tuple[int, int], left: int, budget: Budget) -> Projection:
    """The cost of a whole run, when so much was `spent` (tokens in and out) and `left` questions are to come.

    `costs` are the tokens in and out of questions like those to come.
    """
    table = numpy.array(costs, float).reshape(-1, 2)
    means = table.mean(axis=0) if len(table) else numpy.zeros(2)
    tokens_in, tokens_out = (round(paid + left * float(mean)) for paid, mean in zip(spent, means, strict=True))
    tokens = _project_sum(table.sum(axis=1), left).add(sum(spent))
    prices, money = budget.prices, None
    if prices is not None:
        money = _project_sum(numpy.array([prices.of(*row) for row in table]), left).add(prices.of(*spent))
    limit = budget.limit
    needed = None if limit is None else money if limit.money else tokens
    covered = 1.0 if needed is None or limit is None or not needed.value else min(1.0, limit.amount / needed.value)
    return Projection(len(costs) + left, len(costs), tokens, tokens_in, tokens_out, money, covered)


def _project_sum(costs: Floats, left: int) -> Amount:
    """The sum over `left` further items like these.

    Lengths of replies are skewed: a few long ones are much of the sum, and Student's interval would end too low. The
    bootstrap of Student's t (Efron 1981) takes its ends from the sample itself; the spread of the further items is
    added.
    """
    n = len(costs)
    mean = float(costs.mean()) if n else 0.0
    deviation = float(costs.std(ddof=1)) if n > 1 else 0.0
    if not left or deviation == 0.0:
        return Amount(left * mean, left * mean, left * mean)
    picked = costs[numpy.random.default_rng(0).integers(0, n, (RESAMPLES, n))]
    deviations = picked.std(axis=1, ddof=1)
    spread = deviations > 0
    ratios = (picked.mean(axis=1)[spread] - mean) / (deviations[spread] / math.sqrt(n))
    lowest, highest = map(float, numpy.quantile(ratios, (0.025, 0.975)))
    lowest, highest = min(lowest, -student(n - 1)), max(highest, 1.0)
    error = deviation * math.sqrt(left**2 / n + left)
    return Amount(left * mean, max(0.0, left * mean - highest * error), left * mean - max(lowest, -MOST_RATIO) * error)


def describe(projection: Projection, noun: str) -> str:
    """One line for people."""
    tokens, money = projection.tokens, projection.money
    left = projection.items - projection.sampled
    return (
        f"after {projection.sampled:,} of {projection.items:,} {noun}: about {tokens.value:,.0f} tokens in all"
        + (f" ({tokens.low:,.0f} to {tokens.high:,.0f} with 95 % confidence)" if left else "")
        + ("" if money is None else f", {_describe_money(money, left)}")
        + (f", and {describe_seconds(projection.seconds)} more" if left else "")
        + (f"; {projection.cached:,} answers came from the journal, for nothing" if projection.cached else "")
        + (f"; the budget pays for some {projection.covered:.0%} of that" if projection.covered < 1 else "")
    )


def _describe_money(money: Amount, left: int) -> str:
    interval = f" ({format_money(money.low)} to {format_money(money.high)})" if left else ""
    return f"{format_money(money.value)}{interval} at these prices"


def describe_seconds(seconds: float) -> str:
    """A time for people: "some 40 seconds", "some 12 minutes", "some 5.5 hours"."""
    if seconds < 100:
        return f"some {max(1, round(seconds)):,} second{'' if round(seconds) <= 1 else 's'}"
    return f"some {seconds / 60:,.0f} minutes" if seconds < 6000 else f"some {seconds / 3600:,.1f} hours"


def build_record(projection: Projection) -> dict[str, Any]:
    """A projection as an object for programs."""
    fields, money = projection._asdict(), projection.money
    return fields | {"tokens": projection.tokens._asdict(), "money": None if money is None else money._asdict()}
