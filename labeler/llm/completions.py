"""A chat completion as values: the request's body, the answer in a response, and how many tokens they have.

Knows nothing of connections. Format: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple

from labeler.llm.reply_content import clean_text, find_refusal, find_tool_arguments, flatten_content, get_field

MAX_REPLY = 200  # tokens
RETRY_TOKENS = 4  # times the tokens, when a reply was cut off
MAX_LIMIT = 16_384  # tokens, beyond which no limit is raised
_CUT = frozenset({"length", "max_tokens", "max_output_tokens", "max_completion_tokens", "token_limit"})
_FILTERED = frozenset({"content_filter", "refusal", "safety", "prohibited_content", "blocklist", "recitation", "spii"})

Messages = Sequence[dict[str, str]]
Logprobs = tuple[tuple[str, dict[str, float]], ...]


class UnreadableReply(Exception):
    """The reply does not hold what was asked for.

    The message says why in a few words, so that reasons can be counted.
    """


class Answer(NamedTuple):
    """A reply of a language model, as plain text.

    `tokens_in` and `tokens_out` are the endpoint's own count, or an estimate where it gives none. `finish` is "stop",
    "length" when the reply was cut off, or "content_filter" when the endpoint marked it as a refusal. `logprobs`, where
    requested and offered, has for each token of the reply its text and the natural log-probabilities of the likeliest
    tokens at its place. `cached`: it came from the journal. `limit` is how many tokens the reply could have, 0 where
    that is not known; the limit of a question that was cut off is raised where it `may_grow`.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    finish: str = "stop"
    logprobs: Logprobs | None = None
    cached: bool = False
    limit: int = 0
    may_grow: bool = True


class RequestSettings(NamedTuple):
    """What a request says besides its messages.

    `schema` is {"name", "schema"}: a JSON schema for the reply, where the endpoint can follow one. `logprobs` is the
    number of likeliest tokens to report at each place, 0 for none. `extra_body` are further fields of the request.
    """

    schema: dict[str, Any] | None = None
    max_tokens: int = MAX_REPLY
    temperature: float = 0.0
    logprobs: int = 0
    extra_body: dict[str, Any] | None = None


class ReplyOptions(NamedTuple):
    """What a user wants of every reply: its most tokens, the temperature, and further fields of the request."""

    max_tokens: int | None = None
    temperature: float | None = None
    extra_body: dict[str, Any] | None = None


# Fields that newer models of the OpenAI API and older local servers refuse, and the request without each of them.
_WITHOUT: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "response_format": lambda body: {k: v for k, v in body.items() if k != "response_format"},
    "max_tokens": lambda body: (
        {k: v for k, v in body.items() if k != "max_tokens"} | {"max_completion_tokens": body["max_tokens"]}
    ),
    "temperature": lambda body: {k: v for k, v in body.items() if k != "temperature"},
    "logprobs": lambda body: {k: v for k, v in body.items() if k not in ("logprobs", "top_logprobs")},
}
_OTHER_NAMES = {"json_schema": "response_format", "schema": "response_format", "grammar": "response_format"}


def build_request(
    model: str, messages: Messages, settings: RequestSettings, unsupported: Set[str] = frozenset()
) -> dict[str, Any]:
    """The body of a request, without the fields that the endpoint does not support."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "temperature": settings.temperature,
        "max_tokens": settings.max_tokens,
    }
    if settings.schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"strict": True, **settings.schema}}
    if settings.logprobs:
        body |= {"logprobs": True, "top_logprobs": settings.logprobs}
    for name in sorted(unsupported & body.keys()):
        body = _WITHOUT[name](body)
    return body | (settings.extra_body or {})


def find_unsupported(message: str, body: dict[str, Any]) -> str | None:
    """The field that an endpoint's refusal is about, if the request has it and can do without it."""
    message = message.lower()
    for word, name in {**{name: name for name in _WITHOUT}, **_OTHER_NAMES}.items():
        if word in message and name in body:
            return name
    return None


def parse_completion(completion: Any, messages: Messages) -> Answer:
    """The answer in a completion of the openai package.

    Raises ValueError when it has none: no choices, no message, or an error in its place.
    """
    if isinstance(completion, str) or not getattr(completion, "choices", None):
        error = getattr(completion, "error", None)
        raise ValueError(str(error) if error else "no choices in it")
    choice = completion.choices[0]
    message = get_field(choice, "message")
    if message is None:
        raise ValueError("a choice without a message")
    text, refusal = flatten_content(get_field(message, "content")), find_refusal(message)
    text = text if text.strip() else refusal or find_tool_arguments(message)
    finish = str(get_field(choice, "finish_reason") or "stop").lower()
    usage = get_field(completion, "usage")
    tokens_in, tokens_out = _read_count(usage, "prompt_tokens"), _read_count(usage, "completion_tokens")
    return Answer(
        text,
        estimate_tokens(messages) if tokens_in is None else tokens_in,
        len(text.encode()) // 3 + 1 if tokens_out is None else tokens_out,
        "length" if finish in _CUT else "content_filter" if refusal or finish in _FILTERED else "stop",
        _parse_logprobs(choice),
    )


def _read_count(usage: Any, name: str) -> int | None:
    count = get_field(usage, name)
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31 else None


def _parse_logprobs(choice: Any) -> Logprobs | None:
    """The log-probabilities of a choice; None where there are none, or in another form than the API's."""
    content = get_field(get_field(choice, "logprobs"), "content")
    if not isinstance(content, list) or not content:
        return None
    try:
        return tuple(
            (
                clean_text(get_field(entry, "token")),
                {
                    clean_text(get_field(top, "token")): float(get_field(top, "logprob"))
                    for top in get_field(entry, "top_logprobs") or ()
                    if math.isfinite(get_field(top, "logprob"))
                },
            )
            for entry in content
        )
    except (TypeError, ValueError, AttributeError):
        return None


def estimate_tokens(messages: Messages) -> int:
    """Roughly the number of tokens in messages: one for three bytes, and some around each message."""
    return sum(len(message["content"].encode()) // 3 + 8 for message in messages)


def bound_tokens(messages: Messages) -> int:
    """An upper bound of the number of tokens in messages: one for each byte, and those that templates add."""
    return sum(len(message["content"].encode()) + 16 for message in messages) + 128
