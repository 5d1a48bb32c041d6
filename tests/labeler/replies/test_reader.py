"""Labels in replies of all sorts, and replies that hold none."""

import contextlib

import pytest
from openai.types.chat import ChatCompletion

from labeler.llm.completions import Answer, UnreadableReply, parse_completion
from labeler.replies import reader
from labeler.replies.thinking import strip_thinking
from tests.labeler.replies.reply_shapes import SHAPES, message


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
    assert reader.parse_label(reply) == label


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
    with pytest.raises(UnreadableReply, match=why):
        reader.parse_label(answer)


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
    assert reader.parse_label(reply) == label


def read(shape):
    """The label of a shape, or the reason why it has none, by way of a completion as the client makes it."""
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [message(shape)]}
    answer = parse_completion(ChatCompletion.construct(**body), ())
    try:
        return reader.parse_label(answer), None
    except UnreadableReply as exc:
        return None, str(exc)


@pytest.mark.parametrize("shape", SHAPES, ids=[f"{shape.kind}-{number}" for number, shape in enumerate(SHAPES)])
def test_each_shape_has_its_label_or_its_reason(shape):
    assert read(shape) == (shape.label, shape.reason)


def test_the_set_is_whole():
    assert len(SHAPES) >= 800
    assert len({(repr(shape.content), str(shape.beside), shape.finish) for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize(
    "reply",
    [
        "Label " + " " * 1900 + 'Score\nclosing "x" brackets   0.3',
        "Label" + " " * 1900 + '{x"y',
        "label" + "'" * 1900 + '{x"y',
        "<think" + "\n" * 100_000 + "x",
        "analysis" + "\n" * 100_000 + "x",
        "commas" + "<|im_start|>" * 5_000 + "assistant\ncommas",
        "commas" + "<|im_end|>" * 5_000,
        "<parameter=label>" * 5_000 + "</parameter",
        ("label" + " " * 1_900 + "x\n") * 50,
    ],
)
def test_replies_of_blanks_end(reply):
    """What would be tried in every way takes hours: the test ends, or it does not."""
    with contextlib.suppress(UnreadableReply):
        reader.parse_label(reply)


@pytest.mark.parametrize(
    "label",
    [
        "closing tag </steps> in XML recipes",
        "text between <step> and </step> in recipes",
        "<notes> elements of XML",
        "the token <|im_start|>",
        "<|im_end|> and <|im_start|>",
        "the tokens <|im_end|><|im_start|>",
        "&quot; entities in HTML",
        "names of marks such as [&amp;",
    ],
)
def test_labels_about_marks_are_whole(label):
    assert reader.parse_label(label) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("closing brackets" + "<|im_end|>" * 30, "closing brackets"),
        ("closing brackets<|im_end|>\n<|endoftext|>", "closing brackets"),
        ("closing brackets\n<|im_start|>user", "closing brackets"),
        ("closing brackets<|im_end|><|im_start|>user", "closing brackets"),
        ("the token <|im_start|><|im_end|>", "the token <|im_start|>"),
        ("| Label | Explanation |\n|---|---|\n| closing brackets | they close |", "closing brackets"),
        ("| Label | Score |\n|---|---|\n| closing brackets | 0.9 |", "closing brackets"),
        ("| Label | Confidence |\n|---|---|\n| closing brackets | high |", "closing brackets"),
        ("| Label | Why it fires |\n|---|---|\n| closing brackets | they close |", "closing brackets"),
        ("| Label | closing brackets |\n|---|---|\n| Confidence | high |", "closing brackets"),
        ("| Field | Value |\n|---|---|\n| Label | closing brackets |", "closing brackets"),
        ("- Label: >\n- Reason: fires on >", ">"),
        ("- label: >\n    closing\n    brackets\n- reason: they close", "closing brackets"),
        ("{&quot;label&quot;: &quot;closing brackets&quot;}", "closing brackets"),
    ],
)
def test_where_the_label_stands(reply, label):
    assert reader.parse_label(reply) == label


def test_marks_of_a_turn_within_a_reply_end():
    """What matches a mark in two ways takes twice as long with each of them: the test ends, or it does not."""
    text = "commas" + "<|im_start|>" * 30 + "assistant\ncommas"
    assert strip_thinking(text) == text
