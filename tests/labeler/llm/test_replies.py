"""Labels in replies of all sorts, and replies that hold none."""

import pytest

from labeler.llm import replies
from labeler.llm.completions import Answer


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('<think>maybe {"label": "no"}</think>{"label": "yes"}', "yes"),
        ('{"label": "a {brace} in it"} and more', "a {brace} in it"),
        ('Here: {not json} {"label": "x y"}', "x y"),
        ("Explanation: names of rivers", "names of rivers"),
        ('{"label": "Namen von Flüssen"}', "Namen von Flüssen"),
    ],
)
def test_tolerant_reading(reply, label):
    assert replies.parse_label(reply) == label


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer("<think>and so on and", finish="length"), "reply was cut off"),
        (Answer("names of", finish="length"), "reply was cut off"),
        (Answer('{"label": ["a", "b"]}'), "JSON without a label"),
        (Answer("[1, 2]\n" * 100), "reply too long for a label"),
    ],
)
def test_unreadable(answer, why):
    with pytest.raises(replies.UnreadableReply, match=why):
        replies.parse_label(answer)


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ('{"label": "closing brackets"}', "closing brackets"),
        ('```json\n{"label": "closing\\n brackets"}\n```', "closing brackets"),
        ("closing brackets", "closing brackets"),
        ('Label: "closing brackets"', "closing brackets"),
    ],
)
def test_replies_with_a_label(reply, label):
    assert replies.parse_label(reply) == label
