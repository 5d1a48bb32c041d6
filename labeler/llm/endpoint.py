"""One conversation with an OpenAI-compatible endpoint: ask(messages) -> Answer. Waits and retries as the endpoint asks.

Whoever asks for labels or scores does it through `Asker.ask` (labeler/llm/asker.py), which has this one's form and adds the
journal and the budget.
"""

from __future__ import annotations

import datetime
import email.utils
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from featurestore import BadRequest, FeatureStoreError, Unavailable
from labeler.llm.rate_limit import Pace, backoff

RETRIES = 6  # of one request that met 408, 409, 5xx, a broken connection or an unreadable answer
RETRIES_AT_FIRST = 2  # at an endpoint that never answered anything
PATIENCE = 600.0  # seconds that one request is refused for load before it is given up
TIMEOUT = 120.0  # seconds for one reply
MAX_REPLY = 200  # tokens
CONCURRENCY = 8
BUSY = frozenset({429, 502, 503, 504, 529})  # refused for load: everybody slows down
AGAIN = frozenset({408, 409, 500})  # and other 5xx: only this request is tried again

Messages = Sequence[dict[str, str]]


class Answer(NamedTuple):
    """A reply of a language model.

    `tokens_in` and `tokens_out` are the endpoint's own count, or an estimate where it gives none. `finish` is "stop",
    or "length" when the reply was cut off. `logprobs`, where asked for and offered, has for each token of the reply its
    text and the log-probabilities (natural) of the likeliest tokens at its place. `cached`: it came from the journal.
    """

    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    finish: str = "stop"
    logprobs: tuple[tuple[str, dict[str, float]], ...] | None = None
    cached: bool = False


class Settings(NamedTuple):
    """What a request says besides its messages. `schema` is a JSON schema {"name", "schema"} the reply shall follow,
    where the endpoint can; `logprobs` is how many of the likeliest tokens to report at each place, 0 for none."""

    schema: dict[str, Any] | None = None
    max_tokens: int = MAX_REPLY
    temperature: float = 0.0
    logprobs: int = 0


class Refused(BadRequest):
    """The endpoint refuses this one request, for its length perhaps; others may fare better."""


class Failed(Exception):
    """One try at a request that may be repeated. `busy`: the endpoint refused for load; `spoke`: it said something."""

    def __init__(self, error: FeatureStoreError, busy: bool = False, after: float | None = None, spoke: bool = True):
        super().__init__(str(error))
        self.error, self.busy, self.after, self.spoke = error, busy, after, spoke


class Endpoint:
    """An endpoint and a model it serves. Safe to share between threads."""

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        key_variable: str = "OPENAI_API_KEY",
        retries: int = RETRIES,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        key: str | None = None,
    ):
        """`key` is taken from the environment's `key_variable` unless given. Raises Unavailable when the openai package or the key is missing; a server named by URL needs no key."""
        try:
            import openai
        except ImportError:
            raise Unavailable("labelling with a model needs openai: pip install 'featurestore[label]'") from None
        if base_url is not None and not base_url.startswith(("http://", "https://")):
            raise BadRequest(f"endpoint: '{base_url}' is no URL: it begins with http:// or https://")
        if concurrency < 1:
            raise BadRequest(f"concurrency: {concurrency} is not a number of requests")
        key = key or os.environ.get(key_variable)
        if not key and base_url is None:
            raise Unavailable(f"no key for the OpenAI API: set {key_variable}, or name a server with --base-url")
        self.model = model
        self.base_url = base_url
        self.renewed = 0.0  # when it last came to answer, by time.monotonic
        self.retries = retries
        self.pace = Pace(concurrency)
        self._key_variable, self._has_key = key_variable, bool(key)
        self._spoke = False  # whether it ever answered anything
        self._openai: Any = openai
        # Retries are ours: they slow everybody down, not one request after the other.
        self.client = openai.OpenAI(api_key=key or "none", base_url=base_url, max_retries=0, timeout=timeout)
        self._completion: Any = openai.types.chat.ChatCompletion
        self._lacks: set[str] = set()  # what this endpoint refuses in a request, by the names of _PLAINER

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.base_url or "the OpenAI API"

    def ask(self, messages: Messages, **settings: Any) -> Answer:
        """The answer; `settings` are the fields of Settings (schema, max_tokens, temperature, logprobs).

        Waits for a turn, for as long as the endpoint asks after a refusal, and tries again after failures that pass.
        Raises Unavailable or BadRequest, saying what to do, when there is no answer to be had, and Stopped when the
        run is ending.
        """
        wanted = Settings(**settings)
        failures, waited_since = 0, None
        while True:
            with self.pace.turn() as began:
                try:
                    answer = self.once(messages, wanted)
                    self._spoke = True
                    self.pace.answered()
                    return answer
                except Failed as exc:
                    failed = exc
                    self._spoke = self._spoke or exc.spoke
                    if exc.busy:
                        self.pace.refused(began, exc.after)
                        waited_since = waited_since or began
            if failed.busy and self.retries and began - (waited_since or began) < PATIENCE:
                continue
            failures += 1
            # One that never said a word is more likely a slip of the pen than a server in trouble.
            if failures > (self.retries if self._spoke else min(self.retries, RETRIES_AT_FIRST)):
                raise failed.error
            self.pace.pause(backoff(failures))

    def move(self, base_url: str) -> None:
        """From now on it is asked there."""
        self.base_url, self.client = base_url, self.client.with_options(base_url=base_url)

    def comes_back(self, since: float) -> bool:
        """Whether it answers anew since a time, though it did not at that time."""
        return False

    def stop(self) -> None:
        """Begin no further request."""
        self.pace.stop()

    def once(self, messages: Messages, settings: Settings) -> Answer:
        """One request, without waiting or retrying but for settings the endpoint does not know. Raises Failed too."""
        while True:
            request = request_body(self.model, messages, settings, self._lacks)
            try:
                # As chat.completions.create does it, without its walk through the types of the request, a third of the time.
                completion = self.client.post("/chat/completions", body=request, cast_to=self._completion)
                return answer_of(completion, messages)
            except self._openai.BadRequestError as exc:
                lacked = _lacked(exc, request)
                if lacked is None:
                    raise self.explain(exc) from None
                self._lacks.add(lacked)
            except Exception as exc:
                raise self.explain(exc) from None

    def call(self, action: Callable[[Any], Any]) -> Any:
        """What `action(client)` gives, tried again after failures that pass. Raises as `ask` does."""
        failures = 0
        while True:
            try:
                return action(self.client)
            except Exception as exc:
                raised = self.explain(exc)
            failures += 1
            if not isinstance(raised, Failed):
                raise raised
            if failures > self.retries:
                raise raised.error
            self.pace.pause(max(raised.after or 0.0, backoff(failures)))

    def answer_in(self, body: dict[str, Any]) -> Answer:
        """The answer in a completion's JSON. Raises ValueError, or another error of something that is no completion."""
        return answer_of(self._completion.construct(**body), ())

    def explain(self, exc: Exception) -> Exception:
        """What a failure of the client means to a user: an error of ours, or Failed for what may pass."""
        of, said = self._openai, _said(exc)
        if isinstance(exc, of.AuthenticationError | of.PermissionDeniedError):
            if not self._has_key:
                return Unavailable(f"{self.name} wants a key: set {self._key_variable}, or name another variable")
            return Unavailable(f"{self.name} refuses the key in {self._key_variable}")
        if isinstance(exc, of.NotFoundError):
            where = "" if self.name.rstrip("/").endswith("/v1") or self.base_url is None else " (should it end in /v1?)"
            return BadRequest(f"{self.name} has no model '{self.model}'{where}: {said}")
        if isinstance(exc, of.RateLimitError):
            if "insufficient_quota" in str(exc):
                return Unavailable(f"{self.name} says the account's quota is used up: {said}")
            error = f"{self.name} keeps refusing for too many requests; lower --concurrency ({said})"
            return Failed(Unavailable(error), True, retry_after(exc.response.headers))
        if isinstance(exc, of.APIStatusError):
            error = f"{self.name} keeps failing with status {exc.status_code}: {said}"
            if exc.status_code in BUSY:
                return Failed(Unavailable(error), True, retry_after(exc.response.headers))
            if exc.status_code in AGAIN or exc.status_code >= 500:
                # `transformers serve` says no more than this of a model it cannot find.
                return Failed(Unavailable(f"{error} (is '{self.model}' a model it serves?)"))
            return Refused(f"{self.name} refuses the request: {said}")
        if isinstance(exc, of.APITimeoutError):
            return Failed(Unavailable(f"{self.name} takes longer than {self.client.timeout:g} s for an answer"), True)
        if isinstance(exc, of.APIConnectionError):
            return Failed(Unavailable(f"nothing answers at {self.name}: is the server running?"), spoke=False)
        if isinstance(exc, of.OpenAIError | ValueError | TypeError | AttributeError | KeyError):
            return Failed(Unavailable(f"{self.name} answers with something else than a completion: {said}"))
        return exc


# What endpoints refuse, and how a request does without: newer models of the OpenAI API, and older local servers.
_PLAINER: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "response_format": lambda body: {k: v for k, v in body.items() if k != "response_format"},
    "max_tokens": lambda body: (
        {k: v for k, v in body.items() if k != "max_tokens"} | {"max_completion_tokens": body["max_tokens"]}
    ),
    "temperature": lambda body: {k: v for k, v in body.items() if k != "temperature"},
    "logprobs": lambda body: {k: v for k, v in body.items() if k not in ("logprobs", "top_logprobs")},
}
_SAID_AS = {"json_schema": "response_format", "schema": "response_format", "grammar": "response_format"}


def request_body(
    model: str, messages: Messages, settings: Settings, lacks: set[str] | frozenset[str]
) -> dict[str, Any]:
    """The body of a chat completion, without what the endpoint `lacks`.

    Format: https://platform.openai.com/docs/api-reference/chat/create
    """
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
    for name in sorted(lacks & body.keys()):
        body = _PLAINER[name](body)
    return body


def answer_of(completion: Any, messages: Messages) -> Answer:
    """The answer in a completion. Raises ValueError when it has none: no choices, no message, an error in its place."""
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
        usage.prompt_tokens if counted else tokens_about(messages),
        (usage.completion_tokens or 0) if counted else len(text.encode()) // 3 + 1,
        choice.finish_reason or "stop",
        _logprobs(choice),
    )


def _logprobs(choice: Any) -> tuple[tuple[str, dict[str, float]], ...] | None:
    content = getattr(getattr(choice, "logprobs", None), "content", None)
    if not content:
        return None
    return tuple((one.token, {top.token: top.logprob for top in one.top_logprobs or ()}) for one in content)


def tokens_about(messages: Messages) -> int:
    """How many tokens messages have, more or less: a token in three bytes, and some around each message."""
    return sum(len(one["content"].encode()) // 3 + 8 for one in messages)


def tokens_most(messages: Messages) -> int:
    """More tokens than messages can have: a tokenizer of bytes needs one for each, and templates add some around them."""
    return sum(len(one["content"].encode()) + 16 for one in messages) + 128


def retry_after(headers: Any) -> float | None:
    """Seconds the endpoint asks to wait (RFC 9110, 10.2.3: a number or a date), or None."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if not value:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            try:
                at = email.utils.parsedate_to_datetime(value)
                return max(0.0, (at - datetime.datetime.now(datetime.UTC)).total_seconds())
            except (ValueError, TypeError):
                continue
    return None


def _lacked(exc: Any, request: dict[str, Any]) -> str | None:
    """The setting a refusal is about, if the request can do without it."""
    said = str(exc).lower()
    for word, name in {**{name: name for name in _PLAINER}, **_SAID_AS}.items():
        if word in said and name in request:
            return name
    return None


def _said(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
