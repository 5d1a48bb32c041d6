"""A proxy before an S3 server that fails in the ways such servers fail: once, or always, for requests that match."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
HOP = {"connection", "transfer-encoding", "keep-alive", "server", "date", "content-length"}


class Faults:
    """What goes wrong next: `fail` names a fault for the coming `times` requests of a method and path."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: list[list[object]] = []
        self.happened: list[str] = []

    def fail(self, kind: str, method: str, path: str, times: int = 1) -> None:
        """`kind`: 503, 500, cut (closes in the body), short (fewer bytes, said so), slow, lost (done, but not told)."""
        self._plans.append([kind, method, re.compile(path), times])

    def clear(self) -> None:
        self._plans, self.happened = [], []

    def take(self, method: str, path: str) -> str:
        with self._lock:
            for plan in self._plans:
                kind, wanted, pattern, left = plan
                if left and method == wanted and pattern.search(path):  # type: ignore[attr-defined]
                    plan[3] = left - 1  # type: ignore[operator]
                    self.happened.append(str(kind))
                    return str(kind)
        return ""


@contextlib.contextmanager
def serve_proxy(target: str) -> Iterator[tuple[str, Faults]]:
    """Serve a proxy before `target`; its URL, and what decides its faults."""
    faults = Faults()
    address = urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes, length: int) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def pass_on(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = faults.take(self.command, self.path)
            if kind in ("503", "500"):
                return self.answer(int(kind), [("Content-Type", "application/xml")], SLOW_DOWN, len(SLOW_DOWN))
            if kind == "slow":
                time.sleep(2)
            connection = http.client.HTTPConnection(address, timeout=60)
            connection.request(self.command, self.path, sent or None, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in HOP]
            length = int(response.getheader("Content-Length") or len(content))
            connection.close()
            if kind == "lost":  # done, and nobody hears of it
                self.close_connection = True
                return None
            if kind == "cut":
                self.answer(response.status, headers, content[: length // 2], length)
                self.close_connection = True
                return None
            if kind == "short":
                content = content[: length // 2]
                length = len(content)
            return self.answer(response.status, headers, content, length)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", faults
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
