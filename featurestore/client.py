"""Client: a remote store over HTTP, with the same methods and equal results. Needs no DuckDB, FAISS or torch."""

from __future__ import annotations

import io
import os
import random
import re
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from featurestore.errors import BadRequest, Unavailable, error_of
from featurestore.interface import FeatureStore, Progress, no_progress
from featurestore.query import Query
from featurestore.records import Activating, Dictionary, Feature, FeatureId, Hit, Hits, StoreInfo
from featurestore.relations import Contrast, Duplicates, Neighbourhood
from featurestore.stream import RowStream

if TYPE_CHECKING:
    import numpy
    import pyarrow

T = TypeVar("T")
ARROW = "application/vnd.apache.arrow.stream"
# A busy or restarting service is asked again after these pauses, in seconds. Every request of this client only reads.
PAUSES = (0.2, 0.5, 1.0)
RETRIED = (502, 503, 504)
MOST_PAUSE = 10.0
# The most rows one SQL answer of a service holds; asked for where the caller sets no limit.
MOST_ROWS = 100_000
# The most features a service gives in one answer.
MOST_IDS = 1000


class Client(FeatureStore):
    """The store behind a URL. Safe to share between threads."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None, timeout: float = 60.0):
        """Raises BadRequest when `url` is none; whether something answers there shows with the first question.

        A key is taken from the URL (`https://any:KEY@host`) or from $FEATURESTORE_KEY.
        """
        url, key = _without_key(url)
        self.location = url.rstrip("/")
        self._timeout = timeout
        try:
            self._http = httpx2.Client(
                base_url=self.location + "/v1/",
                transport=transport,
                timeout=timeout,
                headers={"Authorization": f"Bearer {key}"} if key else None,
            )
        except httpx2.InvalidURL as exc:
            raise BadRequest(f"'{url}' is not a URL of a service, as http://127.0.0.1:8000 is: {exc}") from None

    def info(self) -> StoreInfo:
        return self._get("info", StoreInfo)

    def dictionaries(self) -> list[Dictionary]:
        return self._get("dictionaries", _Dictionaries).dictionaries

    def feature(self, id: str, examples: int | None = None) -> Feature:
        return self._get(f"features/{_path(id)}", Feature, {} if examples is None else {"examples": examples})

    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        import numpy

        which = {} if target is None else {"target": target}
        return numpy.asarray(self._get(f"vectors/{_path(id)}", _Vector, which).vector, dtype=numpy.float32)

    def features(self, ids: Sequence[str], examples: int | None = None) -> list[Feature]:
        more = {} if examples is None else {"examples": examples}
        asked = [self._post("features", {"ids": some, **more}) for some in _batches_of(ids)]
        return [one for answer in asked for one in self._decode(answer, _Features).features]

    def vectors(self, ids: Sequence[str]) -> numpy.ndarray:
        import numpy

        rows = [
            one.vector
            for some in _batches_of(ids)
            for one in self._decode(self._post("vectors", {"ids": some}), _Vectors).vectors
        ]
        widths = sorted({len(row) for row in rows})
        if len(widths) > 1:
            raise BadRequest(
                f"ids: their vectors have several widths ({', '.join(map(str, widths))}): ask for each alone"
            )
        return numpy.array(rows, dtype=numpy.float32) if rows else numpy.zeros((0, 0), dtype=numpy.float32)

    def run(self, query: Query) -> Hits:
        answer = self._post("search" if query.text is not None else "nearest", query.to_dict())
        found = self._decode(answer, _Found)
        return Hits(found.query, found.hits, found.notes, found.next)

    def activating(
        self, text: str, dictionary: str | Sequence[str] | None = None, k: int = 10, order: str = "specific"
    ) -> Activating:
        fields: dict[str, Any] = {"text": text, "k": k, "order": order}
        if dictionary:
            fields["dictionary"] = [dictionary] if isinstance(dictionary, str) else list(dictionary)
        return self._decode(self._post("activating", fields), Activating)

    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: str | Sequence[str] | None = None,
        k: int = 10,
    ) -> Contrast:
        fields: dict[str, Any] = {"texts": _listed(texts), "against": _listed(against), "k": k}
        if dictionary:
            fields["dictionary"] = [dictionary] if isinstance(dictionary, str) else list(dictionary)
        return self._decode(self._post("contrast", fields), Contrast)

    def neighbourhood(self, id: str, k: int = 8, within: str | Sequence[str] = ()) -> Neighbourhood:
        only = [within] if isinstance(within, str) else list(within)
        return self._get(f"neighbourhood/{_path(id)}", Neighbourhood, {"k": k, "within": only})

    def duplicates(
        self,
        dictionary: str,
        against: str | Sequence[str] | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        """As the interface says, of dictionaries of at most 65,536 features; a service tells nothing of its progress."""
        fields: dict[str, Any] = {"dictionary": dictionary, "cosine": cosine, "k": k}
        if against is not None:
            fields["against"] = [against] if isinstance(against, str) else list(against)
        return self._decode(self._post("duplicates", fields), Duplicates)

    def sql(self, statement: str, max_rows: int | None = None, timeout: float | None = None) -> pyarrow.Table:
        """As the interface says, and the service has limits of its own: 100,000 rows (more are cut off, and the
        metadata says so) and 30 seconds."""
        import pyarrow

        fields: dict[str, Any] = {"sql": statement, "max_rows": MOST_ROWS if max_rows is None else max_rows}
        if timeout:
            fields["timeout"] = timeout
        # The service stops the query; waiting ends later, so that its answer arrives.
        answer = self._post("sql", fields, {"Accept": ARROW}, max(self._timeout, (timeout or 0) + 10))
        try:
            with pyarrow.ipc.open_stream(answer.content) as reader:
                return reader.read_all()
        except pyarrow.ArrowInvalid as exc:
            raise self._strange(exc) from None

    def stream(self, statement: str, timeout: float | None = None) -> RowStream:
        """As the interface says; the service's limit on time, 30 seconds, holds for all of it."""
        fields = {"sql": statement, "stream": True} | ({"timeout": timeout} if timeout else {})
        return RowStream(self._batches(fields))

    def _batches(self, fields: dict[str, Any]) -> Generator[Any, None, None]:
        import pyarrow

        with self._http.stream("POST", "sql", content=msgspec.json.encode(fields), headers={"Accept": ARROW}) as answer:
            if not answer.is_success:
                answer.read()
                raise self._error(answer)
            try:
                with pyarrow.ipc.open_stream(io.BufferedReader(_Body(answer.iter_bytes()), 1 << 20)) as reader:
                    yield reader.schema
                    yield from reader
            except (httpx2.TransportError, OSError) as exc:
                raise Unavailable(f"{self.location} broke off in the middle of the result: {exc}") from None
            except pyarrow.ArrowInvalid as exc:
                raise self._strange(exc) from None

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, type_: type[T], params: dict[str, Any] | None = None) -> T:
        return self._decode(self._send("GET", path, params=params), type_)

    def _post(
        self, path: str, fields: dict[str, Any], headers: dict[str, str] | None = None, timeout: float | None = None
    ) -> httpx2.Response:
        more = {} if timeout is None else {"timeout": timeout}
        return self._send("POST", path, content=msgspec.json.encode(fields), headers=headers, **more)

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        for pause in (*PAUSES, None):
            try:
                answer = self._http.request(method, path, **request)
            except httpx2.TimeoutException:
                raise Unavailable(f"{self.location} took too long to answer") from None
            except (httpx2.TransportError, httpx2.InvalidURL) as exc:
                if pause is None or isinstance(exc, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
                    raise Unavailable(
                        f"nothing answers at {self.location}: is `featurestore serve` running there? ({exc})"
                    ) from None
            else:
                # Our own errors are final, unless they say when to ask again; a gateway's have no code.
                if answer.is_success:
                    return answer
                later = _retry_after(answer)
                again = (
                    answer.status_code in (429, 503) if later else answer.status_code in RETRIED and not _code(answer)
                )
                if pause is None or not again:
                    raise self._error(answer)
                pause = max(pause, min(later or 0.0, MOST_PAUSE))
            # Clients that were refused together should not come back together.
            time.sleep(pause * random.uniform(0.75, 1.25))
        raise AssertionError("the last try returns or raises")

    def _error(self, answer: httpx2.Response) -> Exception:
        code = _code(answer)
        if code is None:
            return Unavailable(
                f"{self.location} answers with status {answer.status_code}: it is not a featurestore service"
            )
        return error_of(code, answer.json()["detail"])

    def _decode(self, answer: httpx2.Response, type_: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=type_)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._strange(exc) from None

    def _strange(self, exc: Exception) -> Unavailable:
        return Unavailable(
            f"{self.location} answers with something else than is asked: is it a featurestore service of this version? ({exc})"
        )


class _Dictionaries(msgspec.Struct):
    dictionaries: list[Dictionary]


class _Vector(msgspec.Struct):
    vector: list[float]


class _Features(msgspec.Struct):
    features: list[Feature]


class _Vectors(msgspec.Struct):
    vectors: list[_Vector]


class _Found(msgspec.Struct):
    query: Query
    hits: tuple[Hit, ...]
    notes: tuple[str, ...]
    next: str | None


class _Body(io.RawIOBase):
    """A response as a file that can be read once, for Arrow."""

    def __init__(self, chunks: Iterator[bytes]):
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._left = chunk
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size


def _listed(texts: Sequence[str]) -> Any:
    return texts if isinstance(texts, str) else list(texts)


def _batches_of(ids: Sequence[str]) -> list[list[str]]:
    return [list(ids[at : at + MOST_IDS]) for at in range(0, len(ids), MOST_IDS)]


def _without_key(url: str) -> tuple[str, str | None]:
    """The URL as it may be shown, and the key."""
    found = re.fullmatch(r"(https?://)[^/@]*?:([^/@]+)@(.*)", url)
    if found:
        return found[1] + found[3], found[2]
    return url, os.environ.get("FEATURESTORE_KEY")


def _path(id: str) -> str:
    parsed = FeatureId.parse(id)
    return f"{quote(parsed.dictionary, safe='/')}/{parsed.feature}"


def _retry_after(answer: httpx2.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None


def _code(answer: httpx2.Response) -> str | None:
    try:
        found = answer.json()
        return found["code"] if isinstance(found, dict) and isinstance(found.get("detail"), str) else None
    except (ValueError, KeyError):
        return None
