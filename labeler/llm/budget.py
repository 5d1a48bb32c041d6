"""What a run may spend, in tokens or money, and what it has spent. Knows nothing of what is asked."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import NamedTuple

from featurestore import BadRequest


class Prices(NamedTuple):
    """Money for a million tokens, in the currency that budgets are in."""

    tokens_in: float
    tokens_out: float

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return what so many tokens cost."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1e6


def format_money(money: float) -> str:
    """Return an amount of money for people: with cents, or below 1 with two significant digits."""
    return f"{money:,.2f}" if money >= 1 or not money else f"{money:.2g}"


class BudgetSpent(Exception):
    """The budget does not allow another request. The message says how large it was and how to go on."""


class Limit(NamedTuple):
    """The most that a run may spend: `amount` tokens, or `amount` of money when `money`."""

    amount: float
    money: bool

    def __str__(self) -> str:
        return format_money(self.amount) if self.money else f"{self.amount:,.0f} tokens"


def parse_limit(text: str, prices: Prices | None) -> Limit:
    """Return the limit in a text: `2.50` is money and needs prices, `800k tokens` and `2Mtokens` are tokens.

    Raises BadRequest.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([kM]?)\s*(tokens?))?\s*", text)
    if match is None:
        raise BadRequest(f"budget: '{text}' is no amount: write money, as in 2.50, or tokens, as in 800ktokens")
    amount = float(match[1]) * {"k": 1e3, "M": 1e6}.get(match[2] or "", 1.0)
    if match[3] is None and prices is None and amount:
        raise BadRequest(
            f"budget: {text} is money, which needs --price-in and --price-out (for a million tokens); "
            f"for tokens write {text}tokens"
        )
    return Limit(amount, match[3] is None)


class Budget:
    """What has been spent and what is reserved. Safe to share between threads."""

    def __init__(self, limit: Limit | None = None, prices: Prices | None = None):
        self.limit, self.prices = limit, prices
        self.tokens_in = self.tokens_out = self.paid = 0
        self._reserved = 0.0
        self._under_way = 0
        self._settled = threading.Condition()

    @property
    def money(self) -> float | None:
        """The money spent; None without prices."""
        return None if self.prices is None else self.prices.of(self.tokens_in, self.tokens_out)

    @contextlib.contextmanager
    def reserve(self, most_in: int, most_out: int, wait: bool = True) -> Iterator[Spending]:
        """Reserve the most tokens that a request may cost, so that the limit holds however long its answer is.

        With `wait` it waits while reservations of other requests may be released. Raises BudgetSpent when too little is
        left.
        """
        amount = self._amount(most_in, most_out)
        with self._settled:
            while self.limit and self._amount(self.tokens_in, self.tokens_out) + self._reserved + amount > (
                self.limit.amount
            ):
                if not (wait and self._under_way):
                    raise BudgetSpent(self._describe_shortage(amount))
                self._settled.wait()
            self._reserved += amount
            self._under_way += 1
        spending = Spending()
        try:
            yield spending
        finally:
            with self._settled:
                self._reserved -= amount
                self._under_way -= 1
                if spending.tokens is not None:
                    self.tokens_in += spending.tokens[0]
                    self.tokens_out += spending.tokens[1]
                    self.paid += 1
                self._settled.notify_all()

    def _amount(self, tokens_in: float, tokens_out: float) -> float:
        if self.limit is None or not self.limit.money:
            return tokens_in + tokens_out
        return self.prices.of(tokens_in, tokens_out) if self.prices else tokens_in + tokens_out

    def _describe_shortage(self, amount: float) -> str:
        spent = f"{self.tokens_in + self.tokens_out:,} tokens" + (f", {format_money(self.money)}" if self.money else "")
        if not self.limit or not self.limit.amount:
            return "the budget is 0, so nothing was asked; run it again with a larger --budget"
        if not self.paid:
            needed = Limit(amount, self.limit.money)
            return (
                f"the budget of {self.limit} is not enough for one request, which may take {needed}: nothing was asked"
            )
        return (
            f"the budget of {self.limit} might not be enough for another request ({spent} spent); "
            "run it again to go on with a new one"
        )


class Spending:
    """What one request cost: nothing until `tokens` (in, out) is set."""

    tokens: tuple[int, int] | None = None
