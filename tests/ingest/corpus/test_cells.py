"""What a cell of a table holds: texts, chats and token ids."""

import pytest

from featurestore import BadRequest
from ingest.corpus.cells import Tokens, find_column, parse_cell, read_cell


def read(value, mask=None, tokenizer="model"):
    return read_cell(value, "row 3", "text", tokenizer, mask)


@pytest.mark.parametrize(
    ("value", "content"),
    [
        (None, ""),
        ([], ""),
        ("text", "text"),
        ([{"from": "gpt", "value": "x"}], [{"role": "assistant", "content": "x"}]),
        ([{"from": "system", "value": "x"}], [{"role": "system", "content": "x"}]),
        ([{"role": "user", "content": None, "tool_calls": [1]}], [{"role": "user", "content": "", "tool_calls": [1]}]),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}], [{"role": "user", "content": "ab"}]),
    ],
)
def test_texts_and_chats(value, content):
    assert read(value) == content


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (7, "column 'text' holds int"),
        ([1, True], "column 'text' holds list"),
        ([1, -2], r"token 1 \(counted from 0\) of column 'text' is -2"),
        ([2**31], "which is no token id"),
        ([{"from": "narrator", "value": "x"}], "have no role and content"),
        ([{"role": "user"}], "have no role and content"),
        ([{"role": "user", "content": [{"type": "image", "url": "x"}]}], "a part of type 'image', which is no text"),
    ],
)
def test_what_is_no_content(value, words):
    with pytest.raises(BadRequest, match=f"row 3.*{words}"):
        read(value)


def test_token_ids_and_masks():
    content = read([5, 6, 7], [0, 1, 1])
    assert isinstance(content, Tokens) and content.ids.tolist() == [6, 7]
    assert read([5, 6, 7]).ids.tolist() == [5, 6, 7]
    with pytest.raises(BadRequest, match="attention_mask has 2 numbers, but there are 3 tokens"):
        read([5, 6, 7], [1, 1])
    with pytest.raises(BadRequest, match="say which tokenizer made them"):
        read([5], tokenizer=None)


def test_columns():
    assert find_column(["id", "messages", "text"], None, "f") == "text"
    assert find_column(["id", "body"], "body", "f") == "body"
    for wanted in (None, "words"):
        with pytest.raises(BadRequest, match="there are: id, body"):
            find_column(["id", "body"], wanted, "f")


def test_cells_of_csv():
    assert parse_cell("[1, 2]", "input_ids") == [1, 2]
    assert parse_cell("[1, 2", "input_ids") == "[1, 2"
    assert parse_cell("[1, 2]", "text") == "[1, 2]"
