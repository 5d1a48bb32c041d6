"""How answers travel: compressed where the reader can, with tags by which it need not fetch again what has not changed."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import pyarrow
from flask import Response, request

SMALL = 1024  # bytes below which compressing costs more than it saves


def tag(version: str) -> str:
    """A weak ETag: the same for as long as the store does not change, for this URL and form of answer."""
    asked = f"{version}\n{request.full_path}\n{request.headers.get('Accept', '')}"
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


def compress(answer: Response) -> None:
    """Compress what is worth it, by zstd or gzip, as the request accepts."""
    accepted = request.headers.get("Accept-Encoding")
    if accepted is None or answer.is_streamed or answer.direct_passthrough or answer.status_code != 200:
        return
    answer.vary.add("Accept-Encoding")
    if "Content-Encoding" in answer.headers or (answer.content_length or 0) < SMALL:
        return
    encodings: Any = request.accept_encodings
    if encodings.quality("zstd") > 0 and "zstd" in accepted:
        answer.set_data(pyarrow.Codec("zstd").compress(answer.get_data(), asbytes=True))
        answer.headers["Content-Encoding"] = "zstd"
    elif encodings.quality("gzip") > 0:
        answer.set_data(gzip.compress(answer.get_data(), compresslevel=4, mtime=0))
        answer.headers["Content-Encoding"] = "gzip"
