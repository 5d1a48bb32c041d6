"""The first questions of a run, which say what the whole will cost before it goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from typing import NamedTuple, TypeVar

from labeler.llm.asker import Asker, Usage
from labeler.runs.projection import Projection, choose_size, project

SAMPLES = 3  # at most, while the limit of replies rises
Choice = TypeVar("Choice", bound=Sized)


class Approval(NamedTuple):
    """Who says whether a run goes on: `decide` is given what the whole will cost.

    A small run goes on without being asked about, unless `small_too`.
    """

    decide: Callable[[Projection], bool]
    small_too: bool = False


def ask_first(
    choice: Choice,
    split: Callable[[Choice, int], tuple[Choice, Choice]],
    ask: Callable[[Choice, list[Usage]], bool],
    asker: Asker,
    approval: Approval,
) -> tuple[Choice, bool]:
    """Ask about a sample of a choice. Returns the rest, and whether the run goes on.

    `ask` notes what each question cost, and returns false when the run has ended. While the limit of replies rises, the
    first questions are asked twice and those to come will not be: where that happened to many, another sample is taken.
    """
    total, size = len(choice), choose_size(len(choice), approval.small_too)
    if not size:
        return choice, True
    usages: list[Usage] = []
    typical: list[Usage] = []
    seconds = 0.0
    for _ in range(SAMPLES):
        sample, choice = split(choice, size)
        began = time.monotonic()
        if not ask(sample, usages):
            return choice, False
        seconds = (time.monotonic() - began) / max(1, len(sample))
        typical = [usage for usage in usages if not usage.answers or usage.limit >= asker.limits.floor]
        if 2 * len(typical) >= size or not len(choice):
            break
    if not len(choice) and not approval.small_too:
        return choice, True
    costs = [(usage.tokens_in, usage.tokens_out) for usage in typical or usages]
    paid = asker.budget.tokens_in, asker.budget.tokens_out
    # A question may be about several of a choice.
    left = round(len(choice) * len(usages) / max(1, total - len(choice)))
    projection = project(costs, paid, left, asker.budget)._replace(
        items=total,
        sampled=total - len(choice),
        cached=sum(usage.cached for usage in usages),
        seconds=round(seconds * len(choice), 1),
    )
    return choice, approval.decide(projection) or not len(choice)
