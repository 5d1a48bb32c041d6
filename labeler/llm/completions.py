"""A chat completion as values: the request's body, the answer in a response, and how many tokens they have.

Knows nothing of connections. Format: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any, NamedTuple

MAX_REPLY = 200  # tokens

Messages = Sequence[dict[str, str]]
Logprobs = tuple[tuple[str, dict[str, float]], ...]


class Answer(NamedTuple):
    """A reply of a language model.

    `tokens_in` and `tokens_out` are the endpoint's own count, or an estimate where it gives none. `finish` is "stop",
    or "length" when the reply was cut off. `logprobs`, where requested and offered, has for each token of the reply its
    text and the natural log-probabilities of the likeliest tokens at its place. `cached`: it came from the journal.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    finish: str = "stop"
    logprobs: Logprobs | None = None
    cached: bool = False


class RequestSettings(NamedTuple):
    """What a request says besides its messages.

    `schema` is {"name", "schema"}: a JSON schema for the reply, where the endpoint can follow one. `logprobs` is the
    number of likeliest tokens to report at each place, 0 for none.
    """

    schema: dict[str, Any] | None = None
    max_tokens: int = MAX_REPLY
    temperature: float = 0.0
    logprobs: int = 0


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
    return body


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
    if choice.message is None:
        raise ValueError("a choice without a message")
    text = choice.message.content or ""
    usage = completion.usage
    counted = usage is not None and isinstance(usage.prompt_tokens, int)
    return Answer(
        text,
        usage.prompt_tokens if counted else estimate_tokens(messages),
        (usage.completion_tokens or 0) if counted else len(text.encode()) // 3 + 1,
        choice.finish_reason or "stop",
        _parse_logprobs(choice),
    )


def _parse_logprobs(choice: Any) -> Logprobs | None:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return None
    return tuple((entry.token, {top.token: top.logprob for top in entry.top_logprobs or ()}) for entry in content)


def estimate_tokens(messages: Messages) -> int:
    """Roughly the number of tokens in messages: one for three bytes, and some around each message."""
    return sum(len(message["content"].encode()) // 3 + 8 for message in messages)


def bound_tokens(messages: Messages) -> int:
    """An upper bound of the number of tokens in messages: one for each byte, and those that templates add."""
    return sum(len(message["content"].encode()) + 16 for message in messages) + 128
