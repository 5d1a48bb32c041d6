"""The rate limit: halved after refusals, grown after answers, stopped at the end of a run."""

import pytest

from labeler.llm import rate_limit


def test_a_rate_limit_halves_once_a_round_and_grows_by_one_a_round():
    now = [0.0]
    turns = rate_limit.RateLimit(8, clock=lambda: now[0])
    with turns.turn() as first, turns.turn() as second:
        now[0] = 1.0
        turns.record_refusal(first, 5.0)
        turns.record_refusal(second, 2.0)
        assert turns.limit == 1.0, "two were under way: half of them, once"
        assert turns._seconds_to_wait() == pytest.approx(None) if turns.busy else True
    assert turns._seconds_to_wait() == 5.0
    now[0] = 6.0
    assert turns._seconds_to_wait() == 0.0
    for _ in range(3):
        turns.record_answer()
    assert turns.limit == pytest.approx(1 + 1 + 1 / 2 + 1 / 2.5)
    for _ in range(100):
        turns.record_answer()
    assert turns.limit == 8


def test_a_stopped_rate_limit_begins_nothing():
    turns = rate_limit.RateLimit(1)
    turns.stop()
    with pytest.raises(rate_limit.RunStopped), turns.turn():
        pass
    with pytest.raises(rate_limit.RunStopped):
        turns.pause(100)
