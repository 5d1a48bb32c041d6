"""The access log: a JSON line for each request, without its query string and headers, which may hold secrets."""

from __future__ import annotations

import datetime
import logging
import re
import secrets
import sys
import threading
from pathlib import Path
from typing import IO

import msgspec

log = logging.getLogger("featurestore.web")


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `ms` is the time to the answer's first byte; `bytes` is null for an answer that is streamed."""

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
    """A file of lines, which threads may share."""

    def __init__(self, path: str):
        """Open the file at `path` to append to it; - is standard error."""
        self._file: IO[bytes] = sys.stderr.buffer if path == "-" else Path(path).open("ab", buffering=0)  # noqa: SIM115
        self._lock = threading.Lock()
        self._cut = False  # whether the last line has no end
        self.lost = 0  # lines that could not be written

    def write(self, entry: LogEntry) -> None:
        """Append one line; lines of several threads do not mix.

        What cannot be written, as on a full disk, is counted in `lost`: the request is answered all the same.
        """
        text = msgspec.json.encode(entry) + b"\n"
        with self._lock:
            try:
                written = self._file.write(b"\n" + text if self._cut else text)
                self._cut = written < len(text)
                if self._cut:
                    raise OSError("no space for the whole line")
                self._file.flush()
            except (OSError, ValueError) as exc:
                self.lost += 1
                if self.lost & (self.lost - 1) == 0:  # the first, second, fourth, eighth ...
                    log.warning("the access log cannot be written (%s); %d lines are lost", exc, self.lost)

    def close(self) -> None:
        """Close the file; standard error stays open."""
        if self._file is not sys.stderr.buffer:
            self._file.close()


def choose_request_id(header: str | None) -> str:
    """Return the value of an X-Request-Id header if it is fit for a log, else 16 random hexadecimal digits."""
    if header and re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", header):
        return header
    return secrets.token_hex(8)
