"""Calls that a tool refuses: the answer names the argument, its value and what it takes, and no library."""

import anyio
import pytest
from mcp import Client

import featurestore
from featurestore.mcp.server import create_server

MISTAKES = [
    ("search", {}, "text: it is missing; say what to look for, in words"),
    ("search", {"text": "x", "limit": 3}, "unknown field 'limit', did you mean k? there are: text,"),
    ("search", {"text": "x", "page": 3}, "unknown field 'page', did you mean cursor?"),
    ("search", {"text": "x", "k": "ten"}, "k: 'ten' is not a whole number"),
    ("search", {"text": "x", "k": 0}, "k: 0 is not a number of at least 1"),
    ("search", {"text": ""}, "text: it is empty; give at least one"),
    ("search", {"text": "x" * 5000}, "text: it has 5,000 characters; 4,000 are taken at most: shorten it"),
    ("search", {"text": "x", "within": "0-res"}, "within: '0-res' is not a list; write [\"0-res\"]"),
    ("search", {"text": "x", "mode": "fuzzy"}, "mode: 'fuzzy' is not one of hybrid, keyword, semantic"),
    ("nearest", {"id": "tiny/0-res/3"}, "unknown field 'id', did you mean to?"),
    ("feature", {"feature": "tiny/0-res/3"}, "unknown field 'feature', did you mean id?"),
    ("feature", {"id": "0-res/3"}, "did you mean tiny/0-res/3?"),
    ("activating", {"text": "x", "dictionary": "tiny"}, "unknown field 'dictionary', did you mean within?"),
    ("contrast", {"texts": [], "against": ["x"]}, "texts: it is empty; give at least one"),
    ("compare", {"ids": ["tiny/0-res/3"]}, "ids: it has 1; give at least 2"),
    ("sql", {"query": "select 1"}, "unknown field 'query', did you mean sql?"),
    ("graph", {"name": "x"}, "unknown field 'name', did you mean graph?"),
]


def test_notes_name_no_argument_that_a_tool_does_not_have(tiny_store):
    async def ask():
        with featurestore.connect(tiny_store) as store:
            async with Client(create_server(store)) as client:
                return await client.call_tool("nearest", {"to": "tiny/0-res/3"})

    text = anyio.run(ask).content[0].text
    assert "left out: 2 dead and 2 always-on features" in text and "all=true" not in text


@pytest.fixture(scope="module")
def answers(tiny_store):
    """What the tools say of each call, in one session."""

    async def ask():
        with featurestore.connect(tiny_store) as store:
            async with Client(create_server(store)) as client:
                return [await client.call_tool(name, arguments) for name, arguments, _ in MISTAKES]

    return anyio.run(ask)


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_a_mistake_is_told_in_words_of_our_own(answers, number):
    answer = answers[number]
    text = answer.content[0].text
    assert answer.is_error and MISTAKES[number][2] in text
    assert "pydantic" not in text and "validation error" not in text
