"""Transport: questions sent to a service, sent again where that is safe, and errors of the service raised as ours."""

from __future__ import annotations

import functools
import io
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2
import msgspec

from featurestore.errors import BadRequest, FeatureStoreError, Unavailable, error_of
from featurestore.retry_after import parse_retry_after
from featurestore.wire.question import ARROW, Question

if TYPE_CHECKING:
    import numpy
    import pyarrow

Takes = TypeVar("Takes", bound=msgspec.Struct)
Gives = TypeVar("Gives")
# What tests and programs that embed a service may put in the place of the network.
Wire = httpx2.BaseTransport
JSON = {"Content-Type": "application/json"}
# A busy or restarting service is asked again after pauses of 0.2, 0.4, 0.8 ... seconds, or those that it names.
FIRST_PAUSE = 0.2
MOST_PAUSE = 10.0  # a longer wait is an error instead
GATEWAYS = (502, 503, 504)


class Transport:
    """Requests below one URL. Safe to share between threads."""

    def __init__(self, url: str, wire: Wire | None, timeout: float, retries: int):
        """Raises BadRequest for a malformed `url`. `timeout` (s) is for each wait; `retries` follow the first try."""
        if retries < 0:
            raise BadRequest(f"retries: {retries} is not a number of tries")
        url, key = _split_key(url)
        self.location = url.rstrip("/")
        self.timeout = timeout
        self._retries = retries
        self._connect = functools.partial(
            httpx2.Client,
            base_url=self.location + "/v1/",
            transport=wire,
            timeout=timeout,
            headers={"Authorization": f"Bearer {key}"} if key else None,
        )
        if re.fullmatch(r"https?:/*", self.location):
            raise BadRequest(f"'{url}' is not a URL of a service, as http://127.0.0.1:8000 is: it names no host")
        try:
            self._clients = {os.getpid(): self._connect()}
        except httpx2.InvalidURL as exc:
            raise BadRequest(f"'{url}' is not a URL of a service, as http://127.0.0.1:8000 is: {exc}") from None

    @property
    def _http(self) -> httpx2.Client:
        """The connections of this process. Those of the process that it was forked from are the parent's."""
        process = os.getpid()
        if process not in self._clients:
            self._clients[process] = self._connect()
        return self._clients[process]

    def ask(
        self, question: Question[Takes, Gives], request: Takes, id: str | None = None, repeatable: bool | None = None
    ) -> Gives:
        """Returns the JSON answer to a question as the type that it gives.

        A question that writes is not sent again where the service may have taken it, unless it is `repeatable`: asking
        twice does no more than asking once. Raises as `send` does.
        """
        method = question.methods[-1]
        body: dict[str, Any] = {}
        if method in ("POST", "PUT"):
            body = {"content": msgspec.json.encode(request), "headers": JSON}
        elif method in ("GET", "DELETE"):
            body = {"params": msgspec.to_builtins(request)}
        if repeatable is None:
            repeatable = question.scope != "write"
        answer = self.send(method, question.url(id), repeatable=repeatable, **body)
        try:
            return msgspec.json.decode(answer.content, type=question.gives)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._strange(exc) from None

    def table(
        self,
        question: Question[Takes, Any],
        request: Takes,
        timeout: float | None = None,
        encoding: str | None = None,
    ) -> pyarrow.Table:
        """Returns the Arrow answer to a question; `encoding` is how it may be compressed on its way.

        What a large answer says at its end, in the metadata of its last batch, is in the metadata of the table.
        """
        import pyarrow

        batches, metadata = [], None
        with self.batches(question, request, timeout, encoding) as reader:
            with suppress(StopIteration):
                while True:
                    batch, of_batch = reader.read_next_batch_with_custom_metadata()
                    batches.append(batch)
                    metadata = of_batch or metadata
            table = pyarrow.Table.from_batches(batches, schema=reader.schema)
        return table if metadata is None else table.replace_schema_metadata(dict(metadata))

    @contextmanager
    def batches(
        self,
        question: Question[Takes, Any],
        request: Takes,
        timeout: float | None = None,
        encoding: str | None = None,
    ) -> Iterator[pyarrow.RecordBatchReader]:
        """Yields the Arrow answer to a question as a reader of batches, while it comes.

        The question is asked again until its answer begins; an answer that breaks off raises Unavailable.
        """
        import pyarrow

        answer = self.send(
            question.methods[-1],
            question.url(),
            stream=True,
            content=msgspec.json.encode(request),
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

    def array(self, question: Question[Takes, Any], request: Takes, id: str) -> numpy.ndarray:
        """Returns the matrix that a question answers with as NumPy's file, (rows, columns); raises as `send` does."""
        from featurestore.values.matrix import read_stream

        answer = self.send(
            question.methods[-1],
            question.url(id),
            stream=True,
            params=msgspec.to_builtins(request),
            headers={"Accept-Encoding": "identity"},
        )
        try:
            return read_stream(io.BufferedReader(_Body(answer.iter_bytes()), 1 << 20))
        except httpx2.TimeoutException:
            raise self._too_slow() from None
        except (httpx2.TransportError, EOFError, OSError) as exc:
            raise Unavailable(f"{self.location} broke off in the middle of the matrix: {exc}") from None
        except (ValueError, httpx2.DecodingError) as exc:
            raise self._strange(exc) from None
        finally:
            answer.close()

    def send(
        self, method: str, path: str, *, stream: bool = False, repeatable: bool = True, **request: Any
    ) -> httpx2.Response:
        """Returns a successful answer; with `stream` the caller reads its body, and closes it.

        A request that is not `repeatable` (asking twice would do more than asking once) is sent again only where the
        service surely did not take it. Raises the error that the service answers with, or Unavailable.
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
                later = parse_retry_after(answer.headers.get("Retry-After", ""))
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
        """Close the connections."""
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

    def _too_slow(self) -> Unavailable:
        return Unavailable(f"{self.location} took too long to answer")

    def _strange(self, exc: Exception) -> Unavailable:
        return Unavailable(
            f"{self.location} answers with something else than is asked: is it a featurestore service of this version? "
            f"({exc})"
        )


class _Body(io.RawIOBase):
    """A response as a file that can be read once, for Arrow."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Returns True: io.BufferedReader asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes. Returns how many; 0 at the end."""
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = memoryview(chunk)
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _split_key(url: str) -> tuple[str, str | None]:
    """Returns the URL as it may be shown, and the key of the URL or else of the environment."""
    match = re.fullmatch(r"(https?://)[^/@]*?:([^/@]+)@(.*)", url)
    if match:
        return match[1] + match[3], match[2]
    return url, os.environ.get("FEATURESTORE_KEY")


def _code(answer: httpx2.Response) -> str | None:
    """Returns the code of a featurestore service's error; None for the answer of another program."""
    try:
        problem = answer.json()
        return str(problem["code"]) if isinstance(problem, dict) and isinstance(problem.get("detail"), str) else None
    except (ValueError, KeyError):
        return None
