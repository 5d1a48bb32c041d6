"""The text in a message of a model, whatever the endpoint put there: the border behind which replies are plain text.

Pure: knows nothing of connections or of what was asked.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Control characters that no text needs: C0 but tab and line breaks, DEL, C1 but the line break NEL.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_THINKING_BLOCK = re.compile(r"(redacted_)?(thinking|reasoning|thought|analysis|summary_text)", re.IGNORECASE)
MAX_DEPTH = 8  # of blocks in blocks


def clean_text(text: str) -> str:
    """Return the text without control characters; halves of surrogate pairs are joined, lone ones become U+FFFD."""
    if _SURROGATES.search(text):
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROLS.sub("", text)


def flatten_content(content: Any, depth: int = 0) -> str:
    """Return the text of a message's content: a string, None, or a list of blocks, of which thinking is left out.

    JSON that a server has parsed already becomes JSON again.
    """
    if content is None or depth > MAX_DEPTH:
        return ""
    if isinstance(content, str):
        return clean_text(content)
    if isinstance(content, list | tuple):
        return "".join(flatten_content(block, depth + 1) for block in content)
    if isinstance(content, bool | int | float):
        return "" if depth else json.dumps(content)
    kind = get_field(content, "type")
    if (isinstance(kind, str) and _THINKING_BLOCK.match(kind)) or get_field(content, "thought") is True:
        return ""
    for name in ("text", "content", "output_text", "value", "parts", "output"):
        inner = get_field(content, name)
        if isinstance(inner, str | list | tuple) or (isinstance(inner, dict) and kind is not None):
            return flatten_content(inner, depth + 1)
    if get_field(content, "function") is not None:
        return flatten_content(get_field(get_field(content, "function"), "arguments"), depth + 1)
    for name in ("json", "output_json", "input", "arguments", "parsed"):  # an answer that was parsed already
        inner = get_field(content, name)
        if kind is not None and isinstance(inner, str | dict):
            return flatten_content(inner, depth + 1)
    return (
        clean_text(json.dumps(content, default=str)) if content and isinstance(content, dict) and kind is None else ""
    )


def find_refusal(message: Any) -> str | None:
    """Return the text of a refusal that the endpoint marked as one, beside the content or as a block; else None."""
    refusal = get_field(message, "refusal")
    content = get_field(message, "content")
    for block in content if isinstance(content, list) else ():
        if get_field(block, "type") == "refusal":
            refusal = refusal or get_field(block, "refusal") or "refusal"
    return clean_text(refusal) if isinstance(refusal, str) and refusal.strip() else None


def find_tool_arguments(message: Any) -> str:
    """Return the arguments of the last tool call, where a server answers a schema in that way, or the object that it
    parsed; else ""."""
    calls = get_field(message, "tool_calls")
    arguments: Any = get_field(get_field(message, "function_call"), "arguments") or get_field(message, "parsed")
    for call in calls if isinstance(calls, list) else ():
        arguments = get_field(get_field(call, "function"), "arguments")
    return flatten_content(arguments) if isinstance(arguments, str | dict) else ""


def get_field(value: Any, name: str) -> Any:
    """Return a field of a JSON object or of an object of the openai package; None where it is not there."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
