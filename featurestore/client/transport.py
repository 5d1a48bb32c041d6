"""Requests to a service: what is sent again and when, whose errors are whose, and bodies read as they come."""

from __future__ import annotations

import datetime
import email.utils
import io
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
import msgspec

from featurestore.errors import BadRequest, FeatureStoreError, Unavailable, error_of

T = TypeVar("T")
# What a test, or who embeds a service, may put in the place of the network.
Wire = httpx2.BaseTransport
ARROW = "application/vnd.apache.arrow.stream"
JSON = {"Content-Type": "application/json"}
# A busy or restarting service is asked again after pauses of 0.2, 0.4, 0.8 ... seconds, or those that it names.
FIRST_PAUSE = 0.2
MOST_PAUSE = 10.0  # who has to wait longer is told so instead
GATEWAYS = (502, 503, 504)


class Transport:
    """Requests below one URL. Safe to share between threads."""

    def __init__(self, url: str, wire: Wire | None, timeout: float, retries: int):
        """Raises BadRequest when `url` is none. `timeout` (s) is for each wait; `retries` are tries after the first."""
        if retries < 0:
            raise BadRequest(f"retries: {retries} is not a number of tries")
        url, key = _without_key(url)
        self.location = url.rstrip("/")
        self.timeout = timeout
        self._retries = retries
        try:
            self._http = httpx2.Client(
                base_url=self.location + "/v1/",
                transport=wire,
                timeout=timeout,
                headers={"Authorization": f"Bearer {key}"} if key else None,
            )
        except httpx2.InvalidURL as exc:
            raise BadRequest(f"'{url}' is not a URL of a service, as http://127.0.0.1:8000 is: {exc}") from None

    def get(self, path: str, type_: type[T], params: dict[str, Any] | None = None) -> T:
        """The JSON answer to a GET, as a value of `type_`."""
        return self._decoded(self.send("GET", path, params=params), type_)

    def post(self, path: str, fields: dict[str, Any], type_: type[T]) -> T:
        """The JSON answer to a question that is too large for a URL, as a value of `type_`."""
        return self._decoded(self.send("POST", path, content=msgspec.json.encode(fields), headers=JSON), type_)

    def write(
        self,
        path: str,
        fields: dict[str, Any] | None,
        type_: type[T],
        method: str = "POST",
        repeatable: bool = False,
    ) -> T:
        """The JSON answer to what changes something, which is not sent again where it may have been taken.

        Unless it is `repeatable`: to do it twice is to do it once.
        """
        body: dict[str, Any] = {} if fields is None else {"content": msgspec.json.encode(fields), "headers": JSON}
        return self._decoded(self.send(method, path, repeatable=repeatable, **body), type_)

    def table(
        self, path: str, fields: dict[str, Any], timeout: float | None = None, encoding: str | None = None
    ) -> Any:
        """The Arrow answer to a question, as a pyarrow.Table; `encoding` is how it may be compressed on its way."""
        with self.batches(path, fields, timeout, encoding) as reader:
            return reader.read_all()

    @contextmanager
    def batches(
        self, path: str, fields: dict[str, Any], timeout: float | None = None, encoding: str | None = None
    ) -> Iterator[Any]:
        """The Arrow answer to a question as a pyarrow.RecordBatchReader, while it comes.

        It is asked for again until it begins; an answer that breaks off raises Unavailable.
        """
        import pyarrow

        answer = self.send(
            "POST",
            path,
            stream=True,
            content=msgspec.json.encode(fields),
            headers=JSON | {"Accept": ARROW} | ({"Accept-Encoding": encoding} if encoding else {}),
            timeout=self.timeout if timeout is None else timeout,
        )
        try:
            with pyarrow.ipc.open_stream(io.BufferedReader(_Body(answer.iter_bytes()), 1 << 20)) as reader:
                yield reader
        except httpx2.TimeoutException:
            raise self._too_slow() from None
        except (httpx2.TransportError, OSError) as exc:
            raise Unavailable(f"{self.location} broke off in the middle of the result: {exc}") from None
        except (pyarrow.ArrowInvalid, httpx2.DecodingError) as exc:
            raise self._strange(exc) from None
        finally:
            answer.close()

    def send(
        self, method: str, path: str, *, stream: bool = False, repeatable: bool = True, **request: Any
    ) -> httpx2.Response:
        """A successful answer; with `stream` its body is still to be read, and closing it is up to the caller.

        `repeatable` says that asking twice does no more than asking once, as all questions do; else a request is sent again
        only where it surely was not taken. Raises what the service says is wrong, or Unavailable.
        """
        for left in range(self._retries, -1, -1):
            pause = min(FIRST_PAUSE * 2 ** (self._retries - left), MOST_PAUSE)
            try:
                answer = self._http.send(self._http.build_request(method, path, **request), stream=stream)
            except (httpx2.TransportError, httpx2.InvalidURL) as exc:
                if isinstance(exc, httpx2.TimeoutException) and not isinstance(exc, httpx2.ConnectTimeout):
                    raise self._too_slow() from None
                never_sent = isinstance(exc, httpx2.ConnectError | httpx2.ConnectTimeout)
                hopeless = isinstance(exc, httpx2.UnsupportedProtocol | httpx2.InvalidURL)
                if not left or hopeless or not (repeatable or never_sent):
                    raise Unavailable(
                        f"nothing answers at {self.location}: is `featurestore serve` running there? ({exc})"
                    ) from None
            else:
                if answer.is_success:
                    return answer
                if stream:
                    answer.read()
                later = _retry_after(answer)
                refused = answer.status_code in (429, 503) and later is not None
                # Our own errors are final, unless they say when to ask again; a gateway's have no code.
                lost = answer.status_code in GATEWAYS and _code(answer) is None and repeatable
                if not left or not (refused or lost) or (later or 0.0) > MOST_PAUSE:
                    raise self._error(answer, later)
                pause = max(pause, later or 0.0)
            # Clients that were refused together should not come back together.
            time.sleep(pause * random.uniform(1.0, 1.5))
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def _error(self, answer: httpx2.Response, later: float | None) -> FeatureStoreError:
        code = _code(answer)
        if code is None:
            error: FeatureStoreError = Unavailable(
                f"{self.location} answers with status {answer.status_code}: it is not a featurestore service"
            )
        else:
            error = error_of(code, answer.json()["detail"])
        error.retry_after = later
        return error

    def _decoded(self, answer: httpx2.Response, type_: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._strange(exc) from None

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"{self.location} took too long to answer")

    def _strange(self, exc: Exception) -> Unavailable:
        return Unavailable(
            f"{self.location} answers with something else than is asked: is it a featurestore service of this version? ({exc})"
        )


class _Body(io.RawIOBase):
    """A response as a file that can be read once, for Arrow."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _without_key(url: str) -> tuple[str, str | None]:
    """The URL as it may be shown, and the key."""
    found = re.fullmatch(r"(https?://)[^/@]*?:([^/@]+)@(.*)", url)
    if found:
        return found[1] + found[3], found[2]
    return url, os.environ.get("FEATURESTORE_KEY")


def _retry_after(answer: httpx2.Response) -> float | None:
    """Seconds that an answer asks to wait (RFC 9110, 10.2.3: a number of them, or a date)."""
    text = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text)
    try:
        then = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.UTC)
    return max(0.0, (then - datetime.datetime.now(datetime.UTC)).total_seconds())


def _code(answer: httpx2.Response) -> str | None:
    try:
        found = answer.json()
        return found["code"] if isinstance(found, dict) and isinstance(found.get("detail"), str) else None
    except (ValueError, KeyError):
        return None
