"""The content of one cell of a table: a text, a chat in any of the usual forms, or token ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy

from featurestore import BadRequest

# The first of these that exists is read when no column is named.
COLUMNS = ("text", "messages", "conversations", "input_ids", "tokens")
MASK = "attention_mask"
# Whose turn it is, in the words of ShareGPT's files.
ROLES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
}


class Tokens(NamedTuple):
    """Token ids (n,) of any integer type, and the tokenizer that the user names for them ("model": the model's own)."""

    ids: numpy.ndarray
    tokenizer: str
    stream: bool = False  # many documents in a row, to be split at the tokenizer's separators


Chat = list[dict[str, Any]]


def find_column(names: Sequence[str], wanted: str | None, where: str) -> str:
    """Returns the column to read: the one wanted, or the first of COLUMNS. Raises BadRequest if it does not exist."""
    if wanted is not None and wanted in names:
        return wanted
    default = next((name for name in COLUMNS if name in names), None) if wanted is None else None
    if default is None:
        what = (
            f"no column '{wanted}'" if wanted is not None else f"no column {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}"
        )
        columns = ", ".join(names) or "none"
        raise BadRequest(f"{where}: {what}; there are: {columns}. Name one after a colon, as in FILE:COLUMN")
    return default


def read_cell(value: Any, where: str, column: str, tokenizer: str | None, mask: Any = None) -> str | Chat | Tokens:
    """Returns the content of a cell by its type; of token ids those that `mask`, one number a token, does not hide.

    Raises BadRequest for a type that is no text, chat or tokens.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if not value:
            return ""
        if all(isinstance(item, dict) for item in value):
            return [_read_message(item, where, column) for item in value]
        if all(isinstance(item, int) and not isinstance(item, bool) for item in value):
            return _read_ids(value, where, column, tokenizer, mask)
    raise BadRequest(
        f"{where}: column '{column}' holds {type(value).__name__}, which is no text, list of messages or list of token "
        "ids"
    )


def parse_cell(text: str, column: str) -> Any:
    """Returns what a cell of CSV holds: lists of messages and of token ids are written as JSON there."""
    if column in COLUMNS[1:] and text.lstrip()[:1] == "[":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _read_ids(value: list[int], where: str, column: str, tokenizer: str | None, mask: Any) -> Tokens:
    whose = name_tokenizer(tokenizer, where, f"FILE:{column}:")
    wrong = next((n for n, item in enumerate(value) if not 0 <= item < 2**31), None)
    if wrong is not None:
        what = f"token {wrong} (counted from 0) of column '{column}' is {value[wrong]}"
        raise BadRequest(f"{where}: {what}, which is no token id")
    ids = numpy.array(value, dtype=numpy.int32)
    if mask is None:
        return Tokens(ids, whose)
    if not isinstance(mask, list) or len(mask) != len(ids):
        size = len(mask) if isinstance(mask, list) else type(mask).__name__
        raise BadRequest(f"{where}: {MASK} has {size} numbers, but there are {len(ids)} tokens")
    return Tokens(ids[numpy.array(mask, dtype=bool)], whose)


def _read_message(message: dict[str, Any], where: str, column: str) -> dict[str, Any]:
    """Returns a message with `role` and `content`, a text; further keys, such as tool_calls, are kept."""
    said_by = str(message.get("from"))
    if "role" not in message and "value" in message and said_by in {*ROLES, *ROLES.values(), "system"}:
        others = {key: value for key, value in message.items() if key not in ("from", "value")}
        message = {"role": ROLES.get(said_by, said_by), "content": message["value"], **others}
    if "role" not in message or not ("content" in message or message.get("tool_calls")):
        raise BadRequest(f"{where}: messages in column '{column}' have no role and content, but {list(message)}")
    return {**_without_nulls(message), "content": _join_parts(message.get("content"), where)}


def _without_nulls(message: dict[str, Any]) -> dict[str, Any]:
    # Tables have every column in every row, and templates take a key that is there for a call of a tool.
    return {key: value for key, value in message.items() if value is not None}


def _join_parts(content: Any, where: str) -> str:
    """Returns the text of a message: itself, its parts in a row, or nothing where there is none beside a tool's call.

    Raises BadRequest for parts that are no text, such as pictures.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        text = part.get("text", part.get("content")) if isinstance(part, dict) else part
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if not isinstance(text, str):
            raise BadRequest(f"{where}: a message has a part of type {kind!r}, which is no text")
        texts.append(text)
    return "".join(texts)


def name_tokenizer(tokenizer: str | None, where: str, write: str) -> str:
    """Returns the tokenizer that the user named for token ids. Raises BadRequest when none was named."""
    if tokenizer is None:
        raise BadRequest(
            f"{where} holds token ids: say which tokenizer made them, as in {write}openai-community/gpt2, "
            f"or {write}model if it was the model's own"
        )
    return tokenizer
