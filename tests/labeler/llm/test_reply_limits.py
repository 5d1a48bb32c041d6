"""The tokens of a reply rise for all questions when many replies are cut off; a model nobody can read is noticed."""

import pytest

from labeler.llm.asker import Asker
from labeler.llm.completions import Answer, ReplyOptions, UnreadableReply
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.llm.reply_limits import MOST_UNREADABLE, NeverReadable, Readability, ReplyLimits
from labeler.replies.reader import ask_until_readable, parse_label
from tests.labeler.scripted_llm import Server, say

NEEDED = 700  # tokens that the thinking model of these tests writes before its answer


def think_aloud(number, body):
    """A reply that is cut off when it may not have `NEEDED` tokens."""
    status, headers, content = say('<think>Words of a kind.</think>{"label": "dates"}')
    if body["max_tokens"] < NEEDED:
        content["choices"][0] |= {"finish_reason": "length", "message": {"role": "assistant", "content": "<think>Wo"}}
    return status, headers, content


def ask_for_label(asker, question):
    messages = [{"role": "user", "content": question}]
    return ask_until_readable(asker.ask, messages, parse_label, None)[0]


def test_a_model_that_thinks_is_asked_with_enough_tokens_from_the_fourth_question_on(tmp_path):
    """Three questions of 200 tokens are cut off and asked again; the rest begin with 800."""
    with Server(think_aloud) as server, Journal(tmp_path / "j") as journal:
        asker = Asker([Endpoint("m", server.url)], journal)
        assert {ask_for_label(asker, f"question {n}") for n in range(10)} == {"dates"}
        assert [request["max_tokens"] for request in server.requests] == [200, 800] * 3 + [800] * 7
        again = Asker([Endpoint("m", server.url)], journal)
        assert {ask_for_label(again, f"question {n}") for n in range(10)} == {"dates"}
        assert len(server.requests) == 13, "the journal knows the answers, whatever their limit was"


@pytest.mark.parametrize(("tokens", "readable"), [(NEEDED, True), (NEEDED - 1, False)])
def test_a_limit_that_a_user_set_is_kept(tokens, readable):
    with Server(think_aloud) as server:
        asker = Asker([Endpoint("m", server.url)], options=ReplyOptions(max_tokens=tokens))
        for number in range(5):
            if readable:
                assert ask_for_label(asker, f"question {number}") == "dates"
            else:
                with pytest.raises(UnreadableReply, match="cut off"):
                    ask_for_label(asker, f"question {number}")
        assert [request["max_tokens"] for request in server.requests] == [tokens] * 5


def test_some_replies_that_are_cut_off_raise_no_limit():
    limits = ReplyLimits()
    for number in range(60):
        limits.record(200, cut=number % 10 == 0)
    assert limits.choose(200) == 200
    assert limits.list_limits(200) == [200, 800, 3200, 12800]


def test_limits_rise_more_than_once_and_end():
    limits = ReplyLimits()
    chosen = []
    for _ in range(30):
        chosen.append(limits.choose(200))
        limits.record(chosen[-1], cut=True)
    assert list(dict.fromkeys(chosen)) == [200, 800, 3200, 12800]


def test_a_model_that_is_never_readable_is_noticed():
    readability = Readability()
    for _ in range(MOST_UNREADABLE - 1):
        readability.record([Answer("x")], "empty reply")
    readability.check()
    readability.record([Answer("x", cached=True)], "empty reply")
    readability.check()  # an earlier run asked for that one
    readability.record([Answer("x")], "empty reply")
    with pytest.raises(NeverReadable, match=f"none of {MOST_UNREADABLE} questions .* empty reply"):
        readability.check()
    readability.record([Answer("x")], None)
    readability.check()
