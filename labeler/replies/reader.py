"""Replies of language models: which part of one is the answer, and a second question where it holds none.

One reader for labels and, with judgements.py, for every judge. Knows nothing of features or of scores.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from labeler.llm.completions import MAX_LIMIT, MAX_REPLY, RETRY_TOKENS, Answer, Messages, UnreadableReply
from labeler.replies.broken_label import find_broken_label
from labeler.replies.label_lines import (
    EMPTY_LABEL,
    FOREIGN_NAMES,
    PLACEHOLDER,
    find_answers,
    finish_label,
    is_placeholder,
    read_plain_label,
    unwrap,
)
from labeler.replies.loose_json import FoundObject, collect_values, find_objects, parse_value
from labeler.replies.thinking import THOUGHT_HEADING, strip_thinking

MAX_QUOTED_REPLY = 2000  # characters of an unreadable reply that the second question repeats
RAISES = 2  # how often one question gets more tokens
CUT, EMPTY, NO_LABEL, DIFFERING = "reply was cut off", "empty reply", "JSON without a label", "answers that differ"
_BEGUN_OBJECT = re.compile(r"""\A\{\s*(?:["'“]|\w+\s*:|\Z)|\{\s*["'“]?label["'”]?\s*:""", re.IGNORECASE)
_ESCAPED_JSON = re.compile(r"[{\[]\s*&quot;")  # as a page has it

Ask = Callable[..., Answer]  # Asker.ask, or a stand-in for it
Parsed = TypeVar("Parsed")


def ask_until_readable(
    ask: Ask,
    messages: Messages,
    parse: Callable[[Answer], Parsed],
    reminder: str | None,
    *,
    max_tokens: int = MAX_REPLY,
    **settings: Any,
) -> tuple[Parsed, Answer]:
    """Ask, and ask once more when `parse` cannot read the reply. Returns what `parse` returns, and the reply it read.

    After a reply that was cut off the same question is asked with four times the tokens, at most twice: a model that
    thinks aloud may need them. After any other the conversation goes on with `reminder`, in which `{problem}` stands
    for what was wrong, unless that is None. Raises UnreadableReply when the last reply cannot be read either.
    """
    raises, reminded = 0, False
    while True:
        answer = ask(messages, max_tokens=max_tokens, **settings)
        try:
            return _parse_safely(parse, answer), answer
        except UnreadableReply as exc:
            larger = RETRY_TOKENS * max(max_tokens, answer.limit)
            if answer.finish == "length":
                if raises == RAISES or not answer.may_grow or larger > MAX_LIMIT:
                    raise
                raises, max_tokens = raises + 1, larger
            elif reminded or reminder is None:
                raise
            else:
                reminded = True
                messages = continue_conversation(messages, answer, reminder.replace("{problem}", str(exc)))


def _parse_safely(parse: Callable[[Answer], Parsed], answer: Answer) -> Parsed:
    """Whatever goes wrong in reading one reply is that reply's failure, not the run's."""
    try:
        return parse(answer)
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as exc:
        raise UnreadableReply(f"reply that breaks its reader ({type(exc).__name__})") from exc


def continue_conversation(messages: Messages, answer: Answer, question: str) -> list[dict[str, str]]:
    """The conversation with the model's answer, without its thinking, and another question."""
    reply = strip_thinking(answer.text)[:MAX_QUOTED_REPLY] or "(nothing)"
    return [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": question}]


def parse_label(answer: Answer | str) -> str:
    """The label in a reply: that of the last JSON object with one, or else the only line. Raises UnreadableReply."""
    if isinstance(answer, str):
        answer = Answer(answer)
    text = read_text(answer)
    objects = find_answer_objects(text, answer)
    values = [value for found in objects for value in collect_values(found.value, "label")]
    values = values or [
        value for found in objects for name in FOREIGN_NAMES for value in collect_values(found.value, name)
    ]
    values = [value[0] if isinstance(value, list) and len(value) == 1 else value for value in values]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if texts:
        labels = [finish_label(value, of_json=True) for value in texts if not is_placeholder(value)]
        if not labels:
            raise UnreadableReply(PLACEHOLDER)
        return agree([*find_answers(text[objects[-1].end :]), *labels])
    if values:
        raise UnreadableReply(EMPTY_LABEL if isinstance(values[-1], str) else NO_LABEL)
    broken = find_broken_label(unwrap(text)) if answer.finish != "length" else None
    if broken and not is_placeholder(broken):
        return finish_label(broken, of_json=True)
    _refuse_other_json(text, objects, answer)
    return read_plain_label(text)


def _refuse_other_json(text: str, objects: Sequence[FoundObject], answer: Answer) -> None:
    """Raises UnreadableReply for other JSON, for broken JSON, and for a reply that was cut off."""
    bare = unwrap(text)
    if (objects and not objects[0].start) or (re.search(r"(\A|[:：`]\s*)\{", bare) and find_objects(bare)):
        raise UnreadableReply(CUT if answer.finish == "length" else NO_LABEL)
    if answer.finish == "length":
        raise UnreadableReply(CUT)
    if _BEGUN_OBJECT.search(bare):
        raise UnreadableReply(CUT if bare.count("{") > bare.count("}") else "broken JSON")
    whole, value = parse_value(bare) if bare else (False, None)
    if whole and not isinstance(value, str):
        raise UnreadableReply(NO_LABEL)


def read_text(answer: Answer) -> str:
    """The reply without thinking. Raises UnreadableReply when nothing is left, or when it is marked as a refusal."""
    if answer.finish == "content_filter":
        raise UnreadableReply("refusal")
    text = strip_thinking(answer.text)
    if '"' not in text and _ESCAPED_JSON.search(text):
        text = html.unescape(text)
    if not text or (answer.finish == "length" and THOUGHT_HEADING.match(text)):
        raise UnreadableReply(CUT if answer.finish == "length" else EMPTY)
    return text


def find_answer_objects(text: str, answer: Answer) -> list[FoundObject]:
    """The objects in a reply; where it is a string of JSON that holds JSON, those in the string."""
    whole, value = parse_value(text) if text[0] == '"' else (False, None)
    if whole and isinstance(value, str) and "{" in value:
        return find_objects(value, ended=answer.finish != "length")
    return find_objects(text, ended=answer.finish != "length")


def agree(answers: Sequence[Parsed]) -> Parsed:
    """The last of the answers. Raises UnreadableReply when one differs from it: a draft, or a second thought."""
    if any(answer != answers[-1] for answer in answers):
        raise UnreadableReply(DIFFERING)
    return answers[-1]


def describe_problem(answer: Answer, otherwise: str) -> str:
    """Why a reply cannot be read: cut off, empty, or `otherwise`."""
    if answer.finish == "length":
        return CUT
    return otherwise if answer.text.strip() else EMPTY
