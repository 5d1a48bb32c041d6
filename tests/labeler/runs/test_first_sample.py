"""The first questions of a run say what it will cost, and whether it goes on is decided then."""

import pytest

from labeler.llm.asker import Usage
from labeler.llm.budget import Budget
from labeler.llm.reply_limits import ReplyLimits
from labeler.runs.first_sample import Approval, ask_first


class Asker:
    """Replies take 800 tokens; a smaller limit cuts them off."""

    def __init__(self, needed=0):
        self.limits, self.budget, self.needed = ReplyLimits(), Budget(), needed

    def ask(self, sample, usages):
        """Ask about each of a sample."""
        for _ in sample:
            usage = Usage()
            for limit in (200, 800):
                if limit < self.limits.choose(200):
                    continue
                usage.limit = usage.limit or limit
                usage.answers += 1
                usage.tokens_in += 1000
                usage.tokens_out += min(limit, self.needed)
                self.limits.record(limit, cut=limit < self.needed)
                if limit >= self.needed:
                    break
            self.budget.tokens_in += usage.tokens_in
            self.budget.tokens_out += usage.tokens_out
            usages.append(usage)
        return True


def split(choice, count):
    return choice[:count], choice[count:]


def project_run(asker, total, **fields):
    """The projection of a run over so many, the rest, and whether the run goes on."""
    projections = []
    rest, approved = ask_first(
        range(total), split, asker.ask, asker, Approval(lambda given: projections.append(given) or False, **fields)
    )
    return projections, rest, approved


def test_a_sample_is_asked_and_the_rest_waits_for_the_decision():
    (projection,), rest, approved = project_run(Asker(needed=100), 300)
    assert (projection.items, projection.sampled, len(rest), approved) == (300, 30, 270, False)
    assert projection.tokens == (300 * 1100,) * 3
    assert ask_first(range(300), split, Asker().ask, Asker(), Approval(lambda projection: True))[1]


def test_questions_asked_twice_while_the_limit_rose_are_paid_but_do_not_count_for_those_to_come():
    """Three of the first questions are cut off at 200 tokens; all others begin with 800."""
    (projection,), _, _ = project_run(Asker(needed=700), 300)
    assert projection.tokens.value == 3 * (1000 + 200) + 300 * 1700


@pytest.mark.parametrize(("small_too", "asked"), [(False, 0), (True, 1)])
def test_a_small_run_is_asked_about_only_when_wanted(small_too, asked):
    projections, rest, approved = project_run(Asker(needed=100), 40, small_too=small_too)
    assert (len(projections), len(rest), approved) == (asked, 40 - 10 * asked, not asked)


def test_nothing_is_left_of_a_run_that_is_its_own_sample():
    (projection,), rest, approved = project_run(Asker(needed=100), 7, small_too=True)
    assert (projection.items, projection.sampled, len(rest), approved) == (7, 7, 0, True)


def test_a_sample_that_ends_the_run_leaves_nothing_to_decide():
    rest, approved = ask_first(range(300), split, lambda sample, usages: False, Asker(), Approval(lambda given: True))
    assert (len(rest), approved) == (270, False)


def test_answers_of_the_journal_are_counted_as_if_they_were_paid():
    """The questions to come may not be in it."""

    def ask(sample, usages):
        usages += [Usage(answers=1, cached=1, tokens_in=90, tokens_out=10, limit=200) for _ in sample]
        return True

    projections = []
    ask_first(range(200), split, ask, Asker(), Approval(lambda given: projections.append(given) or True))
    assert (projections[0].cached, projections[0].tokens.value) == (20, 180 * 100)
