"""Parts of an answer that a request asks for by Range (RFC 9110): one range of bytes."""

from __future__ import annotations

import re

from flask import Response, request

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def parse_range(size: int) -> range | None:
    """Return the bytes that the request asks for, of `size`; empty where they cannot be given, None for all of them.

    The last byte may be named beyond the end. A range of an answer that may have changed (If-Range) is all of it.
    """
    asked = request.headers.get("Range")
    if asked is None or "If-Range" in request.headers:
        return None
    match = RANGE.fullmatch(asked.strip())
    if match is None or not (match[1] or match[2]):
        return range(0)
    first = int(match[1]) if match[1] else max(size - int(match[2]), 0)
    last = min(int(match[2]) if match[1] and match[2] else size - 1, size - 1)
    return range(first, last + 1) if first <= last else range(0)


def refuse_range(size: int) -> Response:
    """Return the answer for a range that cannot be given."""
    return Response(status=416, headers={"Content-Range": f"bytes */{size}", "Accept-Ranges": "bytes"})
