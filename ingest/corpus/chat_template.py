"""Chats as the tokenizer's template writes them, with the user's variables and a clock that stands still."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from featurestore import BadRequest
from featurestore.extension.text import first_line
from ingest.corpus.cells import Chat

# The time that a template is told when it asks: with today's date, the same file would be another corpus each day.
FIXED = datetime.datetime(2025, 1, 1)
CLOCK = "now"  # the name of the variable that sets it


# Calls of the clock, and what they are replaced by until a chat is rendered: transformers passes no functions on.
_CALL = re.compile(r"""strftime_now\s*\(\s*(["'])((?:(?!\1).)*)\1\s*\)""", re.DOTALL)
_OTHER_CALL = re.compile(r"strftime_now\s*\(")
_MARKED = re.compile("\ue000(.*?)\ue001")


def _mark_format(match: re.Match[str]) -> str:
    return f"{match[1]}\ue000{match[2]}\ue001{match[1]}"


class ChatTemplate:
    """The chat template of a tokenizer, and the variables that the user gives it."""

    def __init__(self, tokenizer: Any, variables: Mapping[str, Any] | None = None):
        self._tokenizer = tokenizer
        self._variables = dict(variables or {})
        self._now = read_clock(self._variables.pop(CLOCK, FIXED))
        self.asked_for_the_clock = False

    def render(self, chat: Chat, name: str) -> str:
        """Return a chat as text. Raises BadRequest without a template, or if it refuses the chat."""
        if self._tokenizer.chat_template is None:
            raise BadRequest(
                f"{name} is a chat, but the model's tokenizer has no chat template: it was not trained on chats"
            )
        try:
            if "strftime_now" not in str(self._tokenizer.chat_template):
                return str(self._tokenizer.apply_chat_template(chat, tokenize=False, **self._variables))
            template = _CALL.sub(_mark_format, self._tokenizer.get_chat_template())
            if _OTHER_CALL.search(template):
                raise BadRequest("it asks for the time in a form that it computes, so that no fixed time can be told")
            text = self._tokenizer.apply_chat_template(chat, tokenize=False, chat_template=template, **self._variables)
            return _MARKED.sub(lambda match: self._tell(match[1]), str(text))
        # Templates are programs of the model's authors, which raise what they like.
        except Exception as exc:
            raise BadRequest(f"{name}: the tokenizer's chat template refuses it: {first_line(exc, 300)}") from None

    def _tell(self, form: str) -> str:
        self.asked_for_the_clock = True
        return self._now.strftime(form)

    def sentences(self) -> list[str]:
        """Return what was assumed, in sentences."""
        if not self.asked_for_the_clock:
            return []
        return [
            f"the chat template asks for the time and was told {self._now:%Y-%m-%d}, so that the corpus stays the "
            f"same; --template-var {CLOCK}=DATE tells it another"
        ]


def read_clock(value: Any) -> datetime.datetime:
    """Return a time. Raises BadRequest for a text that is no date."""
    if isinstance(value, datetime.datetime):
        return value
    try:
        return datetime.datetime.fromisoformat(str(value))
    except ValueError:
        raise BadRequest(
            f"template variable {CLOCK} is '{value}'; a date is wanted, as in {CLOCK}=2025-01-31"
        ) from None


def parse_variables(assignments: Sequence[str]) -> dict[str, Any]:
    """Return the variables of NAME=VALUE texts; true, false, null, numbers and lists are read as JSON.

    Raises BadRequest for a text without a name.
    """
    variables: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or not name.isidentifier():
            raise BadRequest(f"template variable '{assignment}': NAME=VALUE is wanted, as in date_string=26 Jul 2024")
        try:
            variables[name] = text if name == CLOCK else json.loads(text)
        except ValueError:
            variables[name] = text
    if CLOCK in variables:
        read_clock(variables[CLOCK])
    return variables
