"""Answers that need not be computed or sent again: their bodies by ETag, and the ETag of a request."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from flask import request

CAPACITY = 64_000_000  # bytes of answers that a process keeps


class AnswerCache:
    """The bodies of answers by ETag, the least recently used dropped first. Safe to share between threads."""

    def __init__(self, capacity: int = CAPACITY):
        """`capacity` is in bytes."""
        self._capacity = capacity
        self._lock = threading.Lock()
        self._bodies: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def get(self, tag: str | None) -> bytes | None:
        """Return the body of the answer with this ETag; None where it is not in the cache."""
        with self._lock:
            if tag is None or tag not in self._bodies:
                return None
            self._bodies.move_to_end(tag)
            return self._bodies[tag]

    def put(self, tag: str, body: bytes) -> None:
        """Add a body, and drop the least recently used ones until all fit."""
        with self._lock:
            self._size += len(body) - len(self._bodies.pop(tag, b""))
            self._bodies[tag] = body
            while self._size > self._capacity:
                self._size -= len(self._bodies.popitem(last=False)[1])


def compute_tag(version: str) -> str:
    """Return the ETag of the request's answer, 24 hexadecimal digits.

    It depends on the version of the store, the URL and the media types that the request accepts.
    """
    environ = request.environ
    url = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
    text = f"{version}\n{url}\n{environ.get('HTTP_ACCEPT', '')}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]
