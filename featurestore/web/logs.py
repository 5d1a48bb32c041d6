"""The access log: a JSON line for each request. Neither query strings nor headers are written, so no secret gets in."""

from __future__ import annotations

import datetime
import re
import secrets
import sys
import threading
from pathlib import Path
from typing import IO

import msgspec


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `ms` is the time to the answer's first byte; `bytes` is null where an answer is streamed."""

    time: datetime.datetime
    request: str
    method: str
    path: str
    status: int
    ms: float
    bytes: int | None
    key: str | None
    remote: str | None


class AccessLog:
    """Lines to a file, or to standard error where it is called -."""

    def __init__(self, path: str):
        self._file: IO[bytes] = sys.stderr.buffer if path == "-" else Path(path).open("ab", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()

    def write(self, line: Line) -> None:
        """Add a line, whole."""
        text = msgspec.json.encode(line) + b"\n"
        with self._lock:
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not sys.stderr.buffer:
            self._file.close()


def request_id(given: str | None) -> str:
    """The id a caller gave its request, if it is one that can stand in a log; a new one else."""
    if given and re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", given):
        return given
    return secrets.token_hex(8)
