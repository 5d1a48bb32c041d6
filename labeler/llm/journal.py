"""A journal of every answer that was paid for, one line each, in a file that only grows. Knows nothing of models.

A line is on the system's disk cache before the answer is used, so a killed process loses none; lines are forced to the
disk in groups, so a power cut loses at most the last second's. In memory a line is 16 bytes, however long it is.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy

from featurestore import BadRequest, Unavailable

GROUP, SECONDS = 64, 1.0  # lines, and time, between two syncs
_HEAD = b'{"key":"'
_KEY = 32  # hex digits
_MERGE = 16_384  # new lines, before they join the sorted ones


def hash_request(request: Any) -> str:
    """Return the key of a request: the first 32 hex digits of the sha256 of its JSON with sorted keys."""
    raw = msgspec.json.encode(request, order="deterministic")
    return hashlib.sha256(raw).hexdigest()[:_KEY]


def default_path(location: str) -> Path:
    """Return the path of a store's journal: beside its directory, or for an object store in the working directory."""
    if "://" in location:
        return Path(location.split("://", 1)[1].strip("/").replace("/", "-") + ".journal.jsonl")
    return Path(location.rstrip("/") + ".journal.jsonl")


class Journal:
    """The lines of a file by their key. Safe to share between threads; processes may append side by side."""

    def __init__(self, path: str | Path):
        """Open the file, or create it.

        Raises Unavailable when that is impossible, and BadRequest when it is another kind of file.
        """
        self.path = Path(path)
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as exc:
            raise Unavailable(f"cannot write the journal {self.path}: {exc.strerror}") from None
        self._lock = threading.Lock()
        self._unsynced, self._synced_at = 0, time.monotonic()
        self._prefixes: numpy.ndarray[Any, numpy.dtype[numpy.uint64]] = numpy.empty(0, numpy.uint64)  # sorted
        self._offsets: numpy.ndarray[Any, numpy.dtype[numpy.int64]] = numpy.empty(
            0, numpy.int64
        )  # of the lines they begin
        self._new: dict[int, list[int]] = {}
        self._torn = False  # the last line was cut off: the next one begins its own
        self.damaged = 0  # lines that are no answers: cut off by a full disk, say
        self._read_offsets()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return what was put under the key last, or None."""
        prefix = int(key[:16], 16)
        with self._lock:
            offsets = list(self._new.get(prefix, ()))
            left = numpy.searchsorted(self._prefixes, numpy.uint64(prefix), "left")
            right = numpy.searchsorted(self._prefixes, numpy.uint64(prefix), "right")
            offsets = self._offsets[left:right].tolist() + offsets
        for offset in reversed(offsets):
            line = self._read_line(offset)
            if line is not None and line["key"] == key:
                return line
        return None

    def put(self, key: str, content: dict[str, Any]) -> None:
        """Append a line, which from then on outlives this process.

        Raises Unavailable when the disk is full or fails.
        """
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = msgspec.json.encode({"key": key, "at": at} | content) + b"\n"
        with self._lock:
            try:
                # One write, so that processes that append side by side do not mix their lines.
                wrote = os.write(self._file, b"\n" + line if self._torn else line) - self._torn
                end = os.lseek(self._file, 0, os.SEEK_CUR)
            except OSError as exc:
                raise Unavailable(f"cannot write the journal {self.path}: {exc.strerror}") from None
            self._torn = wrote < len(line)
            if self._torn:
                raise Unavailable(f"cannot write the journal {self.path}: the disk is full")
            self._new.setdefault(int(key[:16], 16), []).append(end - len(line))
            if len(self._new) >= _MERGE:
                self._merge()
            self._unsynced += 1
            due = self._unsynced >= GROUP or time.monotonic() - self._synced_at > SECONDS
            if due:
                self._unsynced, self._synced_at = 0, time.monotonic()
        if due:
            self._force()

    def sync(self) -> None:
        """Force all lines to the disk."""
        with self._lock:
            self._unsynced, self._synced_at = 0, time.monotonic()
        self._force()

    def count(self) -> int:
        """Number of lines."""
        with self._lock:
            return len(self._prefixes) + sum(map(len, self._new.values()))

    def close(self) -> None:
        """Force all lines to the disk, and close the file."""
        if self._file >= 0:
            self.sync()
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _force(self) -> None:
        with contextlib.suppress(OSError):  # pipes and some network file systems cannot
            os.fsync(self._file)

    def _read_line(self, offset: int) -> dict[str, Any] | None:
        size = 4096
        while True:
            raw = os.pread(self._file, size, offset)
            end = raw.find(b"\n")
            if end >= 0 or len(raw) < size:
                break
            size *= 4
        try:
            return msgspec.json.decode(raw[: end if end >= 0 else len(raw)], type=dict[str, Any])
        except (msgspec.DecodeError, ValueError, RecursionError):
            return None

    def _read_offsets(self) -> None:
        prefixes: list[int] = []
        offsets: list[int] = []
        at, whole = 0, True
        for raw in self._raw_lines():
            whole = raw.endswith(b"\n")
            head = raw[len(_HEAD) : len(_HEAD) + 16]
            if whole and raw.startswith(_HEAD) and raw.rstrip().endswith(b"}"):
                try:
                    prefixes.append(int.from_bytes(bytes.fromhex(head.decode("ascii"))))
                    offsets.append(at)
                except ValueError:
                    self.damaged += 1
            elif at == 0 and raw.strip(b"\0 \t\r\n") and not (_HEAD.startswith(raw) or raw.startswith(_HEAD)):
                os.close(self._file)
                raise BadRequest(f"{self.path} is no journal of answers: name another file with --journal")
            elif raw.strip():
                self.damaged += 1
            at += len(raw)
        if not whole:  # a line that was cut off ends here, so that the next one begins its own
            os.write(self._file, b"\n")
        order = numpy.argsort(numpy.array(prefixes, numpy.uint64), kind="stable")
        self._prefixes = numpy.array(prefixes, numpy.uint64)[order]
        self._offsets = numpy.array(offsets, numpy.int64)[order]

    def _raw_lines(self) -> Iterator[bytes]:
        with open(self.path, "rb") as file:
            yield from file

    def _merge(self) -> None:
        pairs = [(prefix, offset) for prefix, offsets in self._new.items() for offset in offsets]
        prefixes = numpy.concatenate([self._prefixes, numpy.array([p for p, _ in pairs], numpy.uint64)])
        offsets = numpy.concatenate([self._offsets, numpy.array([o for _, o in pairs], numpy.int64)])
        order = numpy.argsort(prefixes, kind="stable")
        self._prefixes, self._offsets, self._new = prefixes[order], offsets[order], {}
