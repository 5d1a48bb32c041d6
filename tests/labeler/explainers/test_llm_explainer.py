"""A second question where the first reply is vague, foreign or unreadable; texts on which a feature is silent."""

import json

import pytest

import featurestore
from labeler import prompts
from labeler.explainers import llm_explainer
from labeler.llm.completions import Answer, UnreadableReply


@pytest.fixture
def page(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened.feature("tiny/0-res/3")


def ask_of(*replies):
    """Answers one reply after the other; keeps what was asked."""
    asked = []

    def ask(messages, **settings):
        asked.append((messages, settings))
        reply = replies[len(asked) - 1]
        return reply if isinstance(reply, Answer) else Answer(reply)

    return ask, asked


def test_silent_are_texts_that_overlap_none_of_its_own(page):
    other = page.examples[0]
    assert llm_explainer.select_silent(page.examples, [other]) == []
    apart = type(other)(**{name: getattr(other, name) for name in other.__struct_fields__} | {"document": 99})
    behind = type(other)(
        **{name: getattr(other, name) for name in other.__struct_fields__} | {"start": other.start + len(other.tokens)}
    )
    assert llm_explainer.select_silent([other], [other, apart, behind]) == [apart, behind]


def test_a_vague_label_is_asked_about_once(page):
    ask, asked = ask_of('{"label": "various topics"}', '{"label": "self in signatures"}')
    found = llm_explainer.explain(page, prompts.load(), ask)
    assert found == ("self in signatures", 3, None)
    talk = asked[1][0]
    assert [one["role"] for one in talk] == ["system", "user", "assistant", "user"]
    assert "says too little" in talk[3]["content"]
    ask, asked = ask_of('{"label": "various topics"}', '{"label": "many things"}', "never asked")
    assert llm_explainer.explain(page, prompts.load(), ask) == ("many things", 3, "vague")
    ask, _ = ask_of('{"label": "various topics"}', "")
    assert llm_explainer.explain(page, prompts.load(), ask) == ("various topics", 3, "vague")


@pytest.mark.parametrize("label", ["异常处理代码", "имена исключений", "the 名前 of 例外クラスの名前"])
def test_a_label_in_another_script_is_asked_about_once(page, label):
    ask, asked = ask_of(json.dumps({"label": label}), '{"label": "names of exceptions"}')
    assert llm_explainer.explain(page, prompts.load(), ask) == ("names of exceptions", 3, None)
    assert "language of the instructions" in asked[1][0][3]["content"]
    ask, _ = ask_of(json.dumps({"label": label}), json.dumps({"label": label}))
    assert llm_explainer.explain(page, prompts.load(), ask).flaw == "foreign"


def test_a_reply_that_was_cut_off_gets_more_room(page):
    ask, asked = ask_of(Answer('{"label": "sel', finish="length"), '{"label": "self"}')
    assert llm_explainer.explain(page, prompts.load(), ask).label == "self"
    assert asked[0][0] == asked[1][0]
    assert asked[1][1]["max_tokens"] > 200


def test_an_unreadable_reply_is_asked_about_once(page):
    ask, asked = ask_of('{"labels": []}', 'Sure: {"label": "self"}')
    assert llm_explainer.explain(page, prompts.load(), ask).label == "self"
    assert asked[0][1]["schema"] == llm_explainer.SCHEMA
    ask, asked = ask_of("", "")
    with pytest.raises(UnreadableReply, match="empty reply"):
        llm_explainer.explain(page, prompts.load(), ask)
    assert len(asked) == 2
