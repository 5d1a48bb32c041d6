"""Chats written by a tokenizer's template: variables, the clock, and templates that refuse."""

import pytest

from featurestore import BadRequest
from ingest.corpus.chat_template import ChatTemplate, parse_variables
from tests.support import small_models

CHAT = [{"role": "user", "content": "hello"}]


def render(template, *variables):
    tokenizer = small_models.tokenizer()
    tokenizer.chat_template = template
    chat = ChatTemplate(tokenizer, parse_variables(variables))
    return chat.render(CHAT, "a chat"), chat.sentences()


@pytest.mark.parametrize(
    "call", ["strftime_now('%Y-%m-%d')", 'strftime_now ( "%Y-%m-%d" )', "strftime_now(\n'%Y-%m-%d')"]
)
def test_the_clock_stands_still_unless_told(call):
    text, notes = render("{{ " + call + " }} {{ messages[0].content }}")
    assert text == "2025-01-01 hello"
    assert len(notes) == 1 and "was told 2025-01-01" in notes[0]
    assert render("{{ " + call + " }}", "now=2024-07-26")[0] == "2024-07-26"


def test_a_template_that_names_the_clock_and_does_not_ask_it():
    text, notes = render(
        "{% if date is defined %}{{ date }}{% else %}{{ strftime_now('%Y') }}{% endif %}", "date=today"
    )
    assert (text, notes) == ("today", [])


def test_a_time_in_a_computed_form_is_refused():
    with pytest.raises(BadRequest, match="a chat: the tokenizer's chat template refuses it: it asks for the time"):
        render("{% set form = '%Y' %}{{ strftime_now(form) }}")
    with pytest.raises(BadRequest, match="in a form that it computes"):
        render("{{ strftime_now('%Y' ~ form) }}{{ messages[0]['content'] }}", "form=-%m")


def test_values_are_json_where_they_can_be():
    texts = ["a=true", "b=3", "c=26 Jul 2024", 'd=["x"]', "e=", "now=2024-07-26"]
    assert parse_variables(texts) == {
        "a": True, "b": 3, "c": "26 Jul 2024", "d": ["x"], "e": "", "now": "2024-07-26"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("date", "NAME=VALUE is wanted"), ("a b=1", "NAME=VALUE is wanted"), ("now=soon", "a date is wanted")],
)
def test_variables_that_cannot_be(text, words):
    with pytest.raises(BadRequest, match=words):
        parse_variables([text])


def test_errors_of_templates_are_told():
    with pytest.raises(BadRequest, match="a chat is a chat, but the model's tokenizer has no chat template"):
        render(None)
    with pytest.raises(BadRequest, match="refuses it: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")
