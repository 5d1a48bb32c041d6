"""Answers of judges of all sorts, and replies that hold none."""

import contextlib

import pytest

from labeler.llm.completions import Answer, UnreadableReply
from labeler.replies.judgements import parse_choice, parse_numbers
from tests.labeler.replies.judge_shapes import ANSWERS, INTRUDERS, JudgeShape, answer_of


def read(shape: JudgeShape, parse, name, count):
    """What is in a shape, or the reason why nothing is."""
    try:
        return parse(answer_of(shape), name, count), None
    except UnreadableReply as exc:
        return None, str(exc)


@pytest.mark.parametrize("shape", ANSWERS, ids=range(len(ANSWERS)))
def test_answers_of_yes_or_no(shape):
    assert read(shape, parse_numbers, "answers", 3) == (shape.value, shape.reason)


@pytest.mark.parametrize("shape", INTRUDERS, ids=range(len(INTRUDERS)))
def test_the_intruder(shape):
    assert read(shape, parse_choice, "intruder", 4) == (shape.value, shape.reason)


@pytest.mark.parametrize(
    "reply",
    ['{"activations": [0, 10, 3]}', "[0, 10, 3]", "0, 10, 3", "1: 0\n2: 10\n3: 3", '{"activations": "0, 10, 3"}'],
)
def test_activations(reply):
    assert parse_numbers(Answer(reply), "activations", 3) == [0.0, 10.0, 3.0]


def test_the_set_is_whole():
    texts = [(shape.text, shape.finish) for shape in (*ANSWERS, *INTRUDERS)]
    assert len(texts) >= 100
    assert len({shape.text for shape in ANSWERS if shape.finish == "stop"}) == sum(
        shape.finish == "stop" for shape in ANSWERS
    )


@pytest.mark.parametrize(
    "reply",
    [
        "1 " * 100_000,
        "[" + "1," * 50_000,
        "Text" + " " * 19_000 + "x",
        "-" * 19_000,
        "* " * 9_000,
        "1:" + "*" * 19_000 + "x y",
        "Texts 1 to 4 are alike." + "\n" * 16_000 + "so, the end",
        "intruder:" + "\n" * 16_000 + "1 or 2",
        "{`" + "`" * 50_000 + "x",
        '{"answers": "b' + '", ' + " " * 3_000 + '!"',
        "{/*" * 20_000,
        '{"answers": "a"' + "\n" * 50_000 + "x",
    ],
    ids=range(12),
)
def test_long_replies_end(reply):
    """What would be tried in every way takes hours: the test ends, or it does not."""
    for parse in (parse_numbers, parse_choice):
        with contextlib.suppress(UnreadableReply):
            parse(Answer(reply), "answers", 3)
