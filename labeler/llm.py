"""One conversation with an OpenAI-compatible endpoint: ask(messages) -> reply. Retries and waits as the endpoint asks."""

from __future__ import annotations

import os
from typing import Any

from featurestore import BadRequest, Unavailable

RETRIES = (
    6  # of a request that met 408, 409, 429, 5xx or a broken connection; the client backs off and minds Retry-After
)
TIMEOUT = 120.0  # seconds for one reply
MAX_REPLY = 200  # tokens


class Endpoint:
    """An endpoint and a model it serves. Safe to share between threads."""

    def __init__(
        self, model: str, base_url: str | None = None, key_variable: str = "OPENAI_API_KEY", retries: int = RETRIES
    ):
        """Raises Unavailable when the openai package or the key is missing; a server on this machine needs no key."""
        try:
            import openai
        except ImportError:
            raise Unavailable("labelling with a model needs openai: pip install 'featurestore[label]'") from None
        key = os.environ.get(key_variable)
        if not key and base_url is None:
            raise Unavailable(f"no key for the OpenAI API: set {key_variable}, or name a server with --base-url")
        self.model = model
        self.base_url = base_url
        self._key_variable = key_variable
        self._openai: Any = openai
        self._client = openai.OpenAI(api_key=key or "none", base_url=base_url, max_retries=retries, timeout=TIMEOUT)

    def ask(self, messages: list[dict[str, str]]) -> str:
        """The reply's text. Raises Unavailable or BadRequest, saying what to do, when there is none to be had."""
        where = self.base_url or "the OpenAI API"
        try:
            answer = self._client.chat.completions.create(
                model=self.model,
                messages=messages,  # type: ignore[arg-type]
                temperature=0.0,
                max_tokens=MAX_REPLY,
            )
        except (self._openai.AuthenticationError, self._openai.PermissionDeniedError):
            raise Unavailable(f"{where} refuses the key in {self._key_variable}") from None
        except self._openai.NotFoundError as exc:
            raise BadRequest(f"{where} has no model '{self.model}': {_said(exc)}") from None
        except self._openai.RateLimitError as exc:
            raise Unavailable(
                f"{where} keeps refusing for too many requests; lower --concurrency ({_said(exc)})"
            ) from None
        except self._openai.BadRequestError as exc:
            raise BadRequest(f"{where} refuses the request: {_said(exc)}") from None
        except self._openai.APIStatusError as exc:
            raise Unavailable(f"{where} keeps failing with status {exc.status_code}: {_said(exc)}") from None
        except self._openai.APIConnectionError:
            raise Unavailable(f"nothing answers at {where}: is the server running?") from None
        except self._openai.OpenAIError as exc:
            raise Unavailable(f"{where} answers with something else than a completion: {_said(exc)}") from None
        if not getattr(answer, "choices", None):
            return ""
        return answer.choices[0].message.content or ""


def _said(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
