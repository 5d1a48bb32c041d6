"""Probabilities and expectations from the tokens of a reply, against cases worked out by hand."""

import math

import pytest

from labeler.llm.completions import Answer, UnreadableReply
from labeler.scorers import likelihoods


def reply(*tokens):
    return Answer("", logprobs=tuple((token, {t: math.log(p) for t, p in likely.items()}) for token, likely in tokens))


def test_the_probability_of_one():
    answer = reply(("[", {}), ("1", {"1": 0.6, "0": 0.2}), (", ", {}), (" 0", {" 0": 0.9, "x": 0.1}), ("]", {}))
    assert likelihoods.read_probabilities(answer, [1, 0]) == pytest.approx([0.75, 0.0])


def test_no_probabilities_where_tokens_do_not_tell():
    assert likelihoods.read_probabilities(Answer("[1]"), [1]) is None
    assert likelihoods.read_probabilities(reply(("10", {"10": 1.0})), [1, 0]) is None, "two answers in one token"
    assert likelihoods.read_probabilities(reply(("1", {"1": 1.0})), [0]) is None, "another answer than was read"


def test_the_mean_of_likely_numbers():
    answer = reply(("7", {"7": 0.5, "9": 0.25, "11": 0.25}), (",", {}), ("0", {"0": 1.0}))
    assert likelihoods.compute_expectations(answer, [7, 0]) == pytest.approx([(7 * 0.5 + 9 * 0.25) / 0.75, 0.0])
    with pytest.raises(UnreadableReply, match="not one token each"):
        likelihoods.compute_expectations(answer, [70])
