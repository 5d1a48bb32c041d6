"""One conversation with an OpenAI-compatible endpoint: ask(messages) -> Answer. Waits and retries as the endpoint asks.

Labels and scores are asked for through `Asker.ask` (labeler/llm/asker.py), which takes the same arguments and adds the
journal and the budget.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from featurestore import BadRequest, FeatureStoreError, Unavailable
from featurestore.extension.retry_after import parse_retry_after
from featurestore.extension.text import first_line
from labeler.llm.completions import (
    Answer,
    Messages,
    RequestSettings,
    build_request,
    find_unsupported,
    parse_completion,
)
from labeler.llm.rate_limit import RateLimit, backoff

RETRIES = 6  # of one request after 408, 409, 5xx, a broken connection or an answer that is no completion
RETRIES_AT_FIRST = 2  # at an endpoint that has not responded yet
PATIENCE = 600.0  # seconds for which one request may be refused for load before it fails
TIMEOUT = 120.0  # seconds for one reply
CONCURRENCY = 8
BUSY = frozenset({429, 502, 503, 504, 529})  # refused for load: all requests slow down
AGAIN = frozenset({408, 409, 500})  # and other 5xx: only this request is tried again


class RequestRefused(BadRequest):
    """The endpoint refuses this one request, for its length perhaps; others may be answered."""

    reason = "refused by the endpoint"  # for counting


class NoCompletion(RequestRefused):
    """The endpoint keeps answering this one request with something else than a completion."""

    reason = "answers that are no completions"


class PassingFailure(Exception):
    """One try failed, and the request may be repeated; `error` is raised when it is not.

    `busy`: the endpoint refused for load. `after`: seconds that it asks to wait. `spoke`: it responded at all.
    """

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
        """`key` is taken from the environment's `key_variable` unless given.

        Raises Unavailable when the openai package or the key is missing (a server named by URL needs no key), and
        BadRequest for a URL or a concurrency that cannot be one.
        """
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
        self.renewed = 0.0  # when its server was last started, in seconds of time.monotonic
        self.retries = retries
        self.rate_limit = RateLimit(concurrency)
        self._key_variable, self._has_key = key_variable, bool(key)
        self._spoke = False  # whether it has responded yet
        self._openai: Any = openai
        # We retry ourselves, so that a refusal slows all requests down, not one after the other.
        self.client = openai.OpenAI(api_key=key or "none", base_url=base_url, max_retries=0, timeout=timeout)
        self._completion: Any = openai.types.chat.ChatCompletion
        self._unsupported: set[str] = set()  # fields of a request that it refuses
        self._follows_schemas = False  # whether it has answered a request with a schema

    @property
    def name(self) -> str:
        """Its name in messages to people."""
        return self.base_url or "the OpenAI API"

    def ask(self, messages: Messages, **settings: Any) -> Answer:
        """The answer; `settings` are the fields of RequestSettings (schema, max_tokens, temperature, logprobs).

        Waits for a turn, and after a refusal as long as the endpoint asks, and tries again after failures that may
        pass. Raises Unavailable or BadRequest, whose message says what to do, and RunStopped when the run is ending.
        """
        wanted = RequestSettings(**settings)
        failures = 0
        waiting_since: float | None = None
        while True:
            with self.rate_limit.turn() as began:
                try:
                    answer = self.ask_once(messages, wanted)
                    self._spoke = True
                    self.rate_limit.record_answer()
                    return answer
                except PassingFailure as exc:
                    failure = exc
                    self._spoke = self._spoke or exc.spoke
                    if exc.busy:
                        self.rate_limit.record_refusal(began, exc.after)
                        waiting_since = waiting_since or began
            if failure.busy and self.retries and began - (waiting_since or began) < PATIENCE:
                continue
            failures += 1
            # An address that never responded is more likely mistyped than a server in trouble.
            if failures > (self.retries if self._spoke else min(self.retries, RETRIES_AT_FIRST)):
                raise failure.error
            self.rate_limit.pause(backoff(failures))

    def move(self, base_url: str) -> None:
        """Ask at another URL from now on."""
        self.base_url, self.client = base_url, self.client.with_options(base_url=base_url)

    def comes_back(self, since: float) -> bool:
        """Whether a server has been started since that time; waits for one that is being started."""
        return False

    def stop(self) -> None:
        """Begin no further request."""
        self.rate_limit.stop()

    def ask_once(self, messages: Messages, settings: RequestSettings) -> Answer:
        """The answer, without waiting; repeats the request only without fields that the endpoint does not support.

        A refusal that names no field may be about the schema, while no request with one was answered: the request is
        repeated without it. Raises PassingFailure, Unavailable or BadRequest.
        """
        refusal: Exception | None = None
        while True:
            request = build_request(self.model, messages, settings, self._unsupported)
            try:
                # As chat.completions.create does, without its check of the request's types, a third of its time.
                completion = self.client.post("/chat/completions", body=request, cast_to=self._completion)
                answer = parse_completion(completion, messages)
                if refusal is not None:
                    self._unsupported.add("response_format")
                self._follows_schemas = self._follows_schemas or "response_format" in request
                return answer
            except (self._openai.BadRequestError, self._openai.UnprocessableEntityError) as exc:
                field = find_unsupported(str(exc), request)
                if field is not None:
                    self._unsupported.add(field)
                elif "response_format" in request and not self._follows_schemas and refusal is None:
                    refusal, settings = exc, settings._replace(schema=None)
                else:
                    raise self.translate(refusal or exc) from None
            except Exception as exc:
                raise self.translate(exc) from None

    def call(self, action: Callable[[Any], Any]) -> Any:
        """Return `action(client)`, tried again after failures that may pass. Raises as `ask` does."""
        failures = 0
        while True:
            try:
                return action(self.client)
            except Exception as exc:
                failure = self.translate(exc)
            failures += 1
            if not isinstance(failure, PassingFailure):
                raise failure
            if failures > self.retries:
                raise failure.error
            self.rate_limit.pause(max(failure.after or 0.0, backoff(failures)))

    def parse_body(self, body: dict[str, Any]) -> Answer:
        """The answer in a completion's JSON.

        Raises ValueError, KeyError, TypeError or AttributeError for other JSON.
        """
        return parse_completion(self._completion.construct(**body), ())

    def translate(self, exc: Exception) -> Exception:
        """What a failure of the client means to a user: an error of ours, or PassingFailure for what may pass."""
        of, line = self._openai, first_line(exc)
        if isinstance(exc, of.AuthenticationError | of.PermissionDeniedError):
            if not self._has_key:
                return Unavailable(f"{self.name} wants a key: set {self._key_variable}, or name another variable")
            return Unavailable(f"{self.name} refuses the key in {self._key_variable}")
        if isinstance(exc, of.NotFoundError):
            hint = "" if self.name.rstrip("/").endswith("/v1") or self.base_url is None else " (should it end in /v1?)"
            return BadRequest(f"{self.name} has no model '{self.model}'{hint}: {line}")
        if isinstance(exc, of.RateLimitError) and "insufficient_quota" in str(exc):
            return Unavailable(f"{self.name} says the account's quota is used up: {line}")
        if isinstance(exc, of.APIStatusError):
            return self._translate_status(exc, line)
        if isinstance(exc, of.APITimeoutError):
            error = f"{self.name} takes longer than {self.client.timeout:g} s for an answer"
            return PassingFailure(Unavailable(error), True)
        if isinstance(exc, of.APIConnectionError):
            error = f"nothing answers at {self.name}: is the server running?"
            return PassingFailure(Unavailable(error), spoke=False)
        if isinstance(exc, of.OpenAIError | ValueError | TypeError | AttributeError | LookupError | RecursionError):
            return PassingFailure(NoCompletion(f"{self.name} answers with something else than a completion: {line}"))
        return exc

    def _translate_status(self, exc: Any, line: str) -> Exception:
        """What a status of 400 or above means to a user."""
        error = f"{self.name} keeps failing with status {exc.status_code}: {line}"
        if exc.status_code == 429:
            error = f"{self.name} keeps refusing for too many requests; lower --concurrency ({line})"
        if exc.status_code in BUSY:
            return PassingFailure(Unavailable(error), True, _read_pause(exc.response.headers))
        if exc.status_code in AGAIN or exc.status_code >= 500:
            # `transformers serve` says no more than this of a model it cannot find.
            return PassingFailure(Unavailable(f"{error} (is '{self.model}' a model it serves?)"))
        return RequestRefused(f"{self.name} refuses the request: {line}")


def _read_pause(headers: Any) -> float | None:
    """Returns the seconds that the endpoint asks to wait; None where it does not say."""
    milliseconds = parse_retry_after(headers.get("retry-after-ms") or "")
    if milliseconds is not None:
        return milliseconds / 1000
    return parse_retry_after(headers.get("retry-after") or "")
