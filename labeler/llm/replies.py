"""Replies of language models: the JSON or the line that one holds, and a second question where it holds none.

Knows nothing of features, labels' quality or scores.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from labeler.llm.completions import MAX_REPLY, Answer, Messages

MAX_LABEL = 300  # characters; a longer reply is no label
MAX_QUOTED_REPLY = 2000  # characters of an unreadable reply that the second question repeats
RETRY_TOKENS = 4  # times the tokens, when a reply was cut off
_REFUSAL = re.compile(r"^(i'm sorry|i am sorry|sorry,|i cannot|i can't|as an ai)", re.IGNORECASE)

Ask = Callable[..., Answer]  # Asker.ask, or a stand-in for it
Parsed = TypeVar("Parsed")


class UnreadableReply(Exception):
    """The reply does not hold what was asked for.

    The message says why in a few words, so that reasons can be counted.
    """


def ask_until_readable(
    ask: Ask,
    messages: Messages,
    parse: Callable[[Answer], Parsed],
    reminder: str,
    *,
    max_tokens: int = MAX_REPLY,
    **settings: Any,
) -> tuple[Parsed, Answer]:
    """Ask, and ask once more when `parse` cannot read the reply. Returns what `parse` returns, and the reply it read.

    After a reply that was cut off the same question is asked with four times the tokens: a model that thinks aloud may
    need them. After any other the conversation goes on with `reminder`, in which `{problem}` stands for what was wrong.
    Raises UnreadableReply when the second reply cannot be read either.
    """
    answer = ask(messages, max_tokens=max_tokens, **settings)
    try:
        return parse(answer), answer
    except UnreadableReply as exc:
        if answer.finish == "length":
            answer = ask(messages, max_tokens=RETRY_TOKENS * max_tokens, **settings)
        else:
            question = reminder.replace("{problem}", str(exc))
            answer = ask(continue_conversation(messages, answer, question), max_tokens=max_tokens, **settings)
        return parse(answer), answer


def continue_conversation(messages: Messages, answer: Answer, question: str) -> list[dict[str, str]]:
    """The conversation with the model's answer and another question."""
    reply = answer.text.strip()[:MAX_QUOTED_REPLY] or "(nothing)"
    return [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": question}]


def strip_thinking(text: str) -> str:
    """The reply without what the model thought aloud before it."""
    return re.sub(r"<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL).strip()


def find_json(text: str) -> dict[str, Any] | None:
    """The first complete JSON object in a text, or None."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, brace.start())
        except ValueError:
            continue
        return value if isinstance(value, dict) else None
    return None


def parse_label(answer: Answer | str) -> str:
    """The label in a reply: the one in its JSON, fenced or not, or else its only line. Raises UnreadableReply."""
    if isinstance(answer, str):
        answer = Answer(answer)
    text = strip_thinking(answer.text)
    if not text:
        raise UnreadableReply("reply was cut off" if answer.finish == "length" else "empty reply")
    value = find_json(text)
    if value is not None:
        label = value.get("label")
        if not isinstance(label, str):
            raise UnreadableReply("JSON without a label")
        text = label
    elif "{" in text or answer.finish == "length":
        raise UnreadableReply("reply was cut off")
    text = re.sub(r"^(label|explanation):\s*", "", " ".join(text.split()), flags=re.IGNORECASE).strip("\"'` ")
    if not text:
        raise UnreadableReply("empty label")
    if len(text) > MAX_LABEL:
        raise UnreadableReply("reply too long for a label")
    if _REFUSAL.match(text):
        raise UnreadableReply("refusal")
    return text


def parse_numbers(answer: Answer, name: str, count: int) -> list[float]:
    """`count` finite numbers: the list called `name` in a reply's JSON, or a bare list. Raises UnreadableReply."""
    text = strip_thinking(answer.text)
    value = find_json(text)
    bare = re.search(r"\[[\s\d.,]*\]", text)
    numbers: Any = None
    if value is not None:
        numbers = value.get(name)
    elif bare:
        numbers = (find_json(f'{{"numbers": {bare[0]}}}') or {}).get("numbers")
    if not isinstance(numbers, list):
        raise UnreadableReply(describe_problem(answer, f"no list of {name}"))
    if len(numbers) != count:
        raise UnreadableReply(f"another number of {name} than was asked for")
    if not all(isinstance(number, int | float) and math.isfinite(number) for number in numbers):
        raise UnreadableReply(f"{name} that are no numbers")
    return [float(number) for number in numbers]


def parse_choice(answer: Answer, name: str, count: int) -> int:
    """A number from 1 to `count`: the one called `name` in a reply's JSON, or the only one. Raises UnreadableReply."""
    text = strip_thinking(answer.text)
    value = find_json(text)
    bare = re.fullmatch(r"\D*(\d+)\D*", text)
    choice = value.get(name) if value is not None else int(bare[1]) if bare else None
    if not isinstance(choice, int) or isinstance(choice, bool) or not 1 <= choice <= count:
        raise UnreadableReply(describe_problem(answer, "names no text"))
    return choice


def describe_problem(answer: Answer, otherwise: str) -> str:
    """Why a reply cannot be read: cut off, empty, or `otherwise`."""
    if answer.finish == "length":
        return "reply was cut off"
    return otherwise if answer.text.strip() else "empty reply"
