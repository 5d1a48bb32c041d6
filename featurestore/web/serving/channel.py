"""One connection: how a request is received, how its answer is sent, and when a client is too slow for either."""

from __future__ import annotations

import http
import ipaddress
import logging
import time
from typing import Any

import msgspec
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.task import ErrorTask, WSGITask

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.web.logs import choose_request_id
from featurestore.web.security.headers import HEADERS
from featurestore.wire.answers import Problem

HEADER_SECONDS = 10.0  # in which a request's first line and headers come, all of them
BODY_SECONDS = 10.0  # after which a body must have come at BODY_RATE
BODY_RATE = 10_000  # bytes a second
IDLE_SECONDS = 60.0  # that a connection may wait for its next request
# An answer that waits for its client is sent at SENT_RATE, measured over SENT_SECONDS. One that holds a thread and a
# lane meanwhile, because more of it waits than is kept for a client (HELD_BYTES), goes at HELD_RATE: it ends
# sooner than another request gives up waiting for the lane.
SENT_RATE, SENT_SECONDS = 1_000, 30.0
HELD_RATE, HELD_SECONDS = 50_000, 5.0
HELD_BYTES = 32_000_000
FAILED = "something failed inside the service; its log says what"
log = logging.getLogger("featurestore.web")


class Parser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """A request as it comes, whose length is said in one way only."""

    def parse_header(self, header_plus: bytes) -> None:
        """Read the first line and the headers. Raises ParsingError for a length that a proxy could read otherwise."""
        super().parse_header(header_plus)
        # What HTTP/1.0 says of encodings is left in the headers.
        encoded = self.chunked or "TRANSFER_ENCODING" in self.headers
        if encoded and ("CONTENT_LENGTH" in self.headers or self.version != "1.1"):
            raise ParsingError("a request has either Content-Length or Transfer-Encoding, which HTTP/1.1 brought")


class Task(WSGITask):  # type: ignore[misc]
    """The answer to a request, which ends whatever is raised meanwhile, the panics of extensions included."""

    def execute(self) -> None:
        """Call the application and send what it answers. Raises ClientDisconnected to break off what has begun."""
        try:
            super().execute()
        except ClientDisconnected:
            raise
        except BaseException as exc:
            id = next((value for name, value in self.response_headers if name == "X-Request-Id"), None)
            id = id or choose_request_id(self.request.headers.get("X_REQUEST_ID"))
            if isinstance(exc, FeatureStoreError):
                log.warning("request %s: %s broke off: %s", id, self.request.path, exc)
            else:
                log.error("request %s: %s failed", id, self.request.path, exc_info=exc)
            if self.wrote_header:
                raise ClientDisconnected from None
            known = exc if isinstance(exc, FeatureStoreError) else FeatureStoreError(FAILED)
            self._send_problem(known, id)

    def _send_problem(self, exc: FeatureStoreError, id: str) -> None:
        self.status, headers, body = encode_problem(exc, exc.status, id)
        self.response_headers = headers
        self.content_length = len(body)
        self.complete = True
        self.set_close_on_finish()
        self.write(body)


class ProblemTask(ErrorTask):  # type: ignore[misc]
    """The answer to a request that is no HTTP, or larger than may be sent."""

    def execute(self) -> None:
        """Send a problem document, and close the connection."""
        error = self.request.error
        exc = FeatureStoreError(FAILED) if error.code == 500 else BadRequest(f"{error.reason.lower()}: {error.body}")
        self.status, headers, body = encode_problem(exc, error.code, choose_request_id(None))
        self.response_headers.extend(headers)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection, which is closed when its client sends or reads too slowly. Its times are of time.monotonic()."""

    parser_class = Parser
    task_class = Task
    error_task_class = ProblemTask
    requests: list[Any]

    def __init__(self, *arguments: Any, **named: Any):
        now = time.monotonic()
        self.rested = now  # when the connection was made, or its last request was answered
        self._began = now  # when the request that is being received began
        self._sent = 0  # bytes
        self._sent_before = (now, 0)  # a time, and the bytes sent until then
        self._closed = False
        self.doomed = False  # to be closed by the listener, in favour of another
        super().__init__(*arguments, **named)
        self.network = find_network(self.addr[0])

    def readable(self) -> bool:
        """Return whether the listener is to wait for bytes to receive. Asked of every connection at every event."""
        return not (
            self.requests or self.total_outbufs_len or self.will_close or self.close_when_flushed or self._closed
        )

    def writable(self) -> bool:
        """Return whether the listener is to wait until bytes can be sent. Asked of every connection at every event."""
        return bool(self.total_outbufs_len or self.will_close or self.close_when_flushed) and not self._closed

    def handle_close(self) -> None:
        """Close the connection. What is being answered is broken off when it next sends."""
        # The number of the socket may be that of the next connection, which must not get events of this one.
        self._closed = True
        super().handle_close()

    def handle_read(self) -> None:
        """Receive bytes of one request or more."""
        before = self.request
        super().handle_read()
        if self.request is not before:
            self._began = time.monotonic()

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send bytes; returns how many were taken."""
        count: int = super().send(data, do_close)
        self._sent += count
        return count

    def service(self) -> None:
        """Answer one request, in a thread."""
        try:
            super().service()
        except BaseException:  # not of the application, which Task has caught
            log.exception("a connection failed")
            with self.requests_lock:
                self.close_when_flushed = True
                self.requests = []
            self.server.pull_trigger()
        finally:
            # The next request may have come in part, and could not go on while this one was answered.
            self.rested = self._began = time.monotonic()

    def check(self, now: float) -> None:
        """Close the connection where its client is too slow."""
        if self.total_outbufs_len:
            # Closed here: to be closed when it can be written to, it would have to be read from.
            if self._reads_slowly(now):
                self.handle_close()
            return
        self._sent_before = (now, self._sent)
        if self.requests:
            return
        if self.request is None:
            if now - self.rested > IDLE_SECONDS:
                self.handle_close()
        elif reason := self._sends_slowly(now - self._began):
            self._refuse(reason)

    def _reads_slowly(self, now: float) -> bool:
        held = bool(self.requests) and self.total_outbufs_len > HELD_BYTES
        rate, seconds = (HELD_RATE, HELD_SECONDS) if held else (SENT_RATE, SENT_SECONDS)
        then, sent = self._sent_before
        if now - then < seconds:
            return False
        self._sent_before = (now, self._sent)
        return self._sent - sent < rate * (now - then)

    def _sends_slowly(self, waited: float) -> str | None:
        """Return what is wrong with a request of which the rest has not come in `waited` seconds; None for nothing."""
        if not self.request.headers_finished:
            late = waited > HEADER_SECONDS
            return f"the headers of a request come within {HEADER_SECONDS:g} s" if late else None
        late = waited > BODY_SECONDS and self.request.body_bytes_received < BODY_RATE * (waited - BODY_SECONDS)
        return f"the body of a request comes at {BODY_RATE:,} bytes a second or more" if late else None

    def _refuse(self, reason: str) -> None:
        """Say why, and close the connection; without a thread, of which there are few."""
        status, headers, body = encode_problem(BadRequest(reason), 408, choose_request_id(None))
        headers += [("Content-Length", str(len(body))), ("Connection", "close")]
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "", ""]
        answer = "\r\n".join(lines).encode("latin-1") + body
        with self.outbuf_lock:
            self.outbufs[-1].append(answer)
            self.total_outbufs_len += len(answer)
            self.close_when_flushed = True


def find_network(address: str) -> str:
    """Return the address, or the /64 network of an IPv6 address: whoever has one of it has all."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        return address


def encode_problem(exc: FeatureStoreError, status: int, id: str) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return the status line, the headers and the body of a problem document that the application does not make."""
    phrase = http.HTTPStatus(status).phrase
    body = Problem(type="about:blank", title=phrase, status=status, detail=str(exc), code=exc.code, request=id)
    headers = [*HEADERS.items(), ("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
    return f"{status} {phrase}", [*headers, ("X-Request-Id", id)], msgspec.json.encode(body)
