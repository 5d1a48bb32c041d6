"""Compression of answers with zstd or gzip, as the request accepts."""

from __future__ import annotations

import gzip
from typing import Any

import pyarrow
from flask import Response, request

SMALL = 1024  # bytes below which compressing costs more than it saves


def compress(answer: Response) -> bool:
    """Compress the answer where that pays; return whether the answer depends on the Accept-Encoding of the request."""
    accepted = request.environ.get("HTTP_ACCEPT_ENCODING")
    if accepted is None or answer.status_code != 200:
        return False
    if request.endpoint == "static" and request.method == "GET":
        # Style sheets and scripts are files, small ones, which Flask would send as they lie there.
        answer.direct_passthrough = False
        answer.set_data(answer.get_data())
    if answer.is_streamed or answer.direct_passthrough:
        return False
    if "Content-Encoding" in answer.headers or (answer.content_length or 0) < SMALL:
        return True
    encodings: Any = request.accept_encodings
    if encodings.quality("zstd") > 0 and "zstd" in accepted:
        answer.set_data(pyarrow.Codec("zstd").compress(answer.get_data(), asbytes=True))
        answer.headers["Content-Encoding"] = "zstd"
    elif encodings.quality("gzip") > 0:
        # A tenth larger than level 4, in less than half of its time.
        answer.set_data(gzip.compress(answer.get_data(), compresslevel=1, mtime=0))
        answer.headers["Content-Encoding"] = "gzip"
    return True
