"""Records that cannot be imported: counted by cause, and written to a file with their place."""

from __future__ import annotations

import collections
from pathlib import Path
from typing import IO

import msgspec

from featurestore import BadRequest

MOST_EXCERPT = 300  # characters of a rejected record that are kept


class Reject(msgspec.Struct):
    """A record that was left out: its file, its place in it, why, and how it begins."""

    file: str
    place: str
    reason: str
    record: str


class Rejects:
    """Counts rejected records and writes them to a file. With `strict` the first one raises BadRequest."""

    def __init__(self, path: Path | None = None, strict: bool = False):
        self.counts: collections.Counter[str] = collections.Counter()
        self._path, self._strict = path, strict
        self._file: IO[bytes] | None = None

    @property
    def total(self) -> int:
        """Number of rejected records."""
        return self.counts.total()

    def add(self, file: str, place: str, reason: str, record: object = "") -> None:
        """Count one record. `reason` is the cause without the record's values, so that equal causes are counted
        together. Raises BadRequest when nothing may be rejected."""
        if self._strict:
            raise BadRequest(f"{file}, {place}: {reason}; without --strict it is left out and the rest comes in")
        self.counts[reason] += 1
        if self._path is not None:
            text = record if isinstance(record, str) else repr(record)
            excerpt = text[:MOST_EXCERPT].encode("utf-8", errors="replace").decode()
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = open(self._path, "wb")  # noqa: SIM115 - closed by close()
            self._file.write(msgspec.json.encode(Reject(Path(file).name, place, reason, excerpt)) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Rejects:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
