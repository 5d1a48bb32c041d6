"""Compression of answers with zstd or gzip, as the request accepts: whole ones, and pages that come in parts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Generator, Iterable
from typing import Any

import pyarrow
from flask import Response, request

from featurestore.web.responses import ByteBuffer

SMALL = 1024  # bytes below which compressing costs more than it saves
LEVEL = 1  # of gzip: a tenth larger than level 4, in less than half of its time
GZIP_FORMAT = 31  # of zlib: the largest window, with the header of gzip


def compress(answer: Response) -> bool:
    """Compress the answer where that pays; return whether the answer depends on the Accept-Encoding of the request."""
    accepted = request.environ.get("HTTP_ACCEPT_ENCODING")
    if accepted is None or answer.status_code != 200:
        return False
    if request.endpoint == "static" and request.method == "GET":
        # Style sheets and scripts are files, small ones, which Flask would send as they lie there.
        answer.direct_passthrough = False
        answer.set_data(answer.get_data())
    in_parts = answer.is_streamed and answer.mimetype == "text/html"
    if answer.direct_passthrough or (answer.is_streamed and not in_parts):
        return False
    if "Content-Encoding" in answer.headers or (not in_parts and (answer.content_length or 0) < SMALL):
        return True
    encodings: Any = request.accept_encodings
    if encodings.quality("zstd") > 0 and "zstd" in accepted:
        encoding = "zstd"
    elif encodings.quality("gzip") > 0:
        encoding = "gzip"
    else:
        return True
    answer.headers["Content-Encoding"] = encoding
    if in_parts:
        parts = _compress_parts(answer.iter_encoded(), encoding)
        answer.response = parts
        answer.call_on_close(parts.close)
    elif encoding == "zstd":
        answer.set_data(pyarrow.Codec("zstd").compress(answer.get_data(), asbytes=True))
    else:
        answer.set_data(gzip.compress(answer.get_data(), compresslevel=LEVEL, mtime=0))
    return True


def _compress_parts(parts: Iterable[bytes], encoding: str) -> Generator[bytes, None, None]:
    """Yield each part compressed, so that it can be read before the next one comes."""
    if encoding == "gzip":
        compressor = zlib.compressobj(LEVEL, wbits=GZIP_FORMAT)
        for part in parts:
            yield compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH)
        yield compressor.flush()
        return
    buffer = ByteBuffer()
    with pyarrow.CompressedOutputStream(pyarrow.PythonFile(buffer, mode="w"), "zstd") as stream:
        for part in parts:
            stream.write(part)
            stream.flush()
            yield buffer.take()
    yield buffer.take()
