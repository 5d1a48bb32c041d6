"""Where a store's files live: a directory of this machine, or a prefix of an object store. Bytes and names, no meaning.

Both give the same few promises, which is all the log and the parts are built on: a small file appears whole or not at
all; `create` refuses to replace, so that one of two writers finds out; a part is built on this machine and then
published; a dead writer is distinguished from a live one.
"""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from featurestore.storage.lease import Lease

LEASES = "writers"
JOBS = "jobs"


class Entry(NamedTuple):
    """A file: its name in the store, its size in bytes and when it was written (seconds since 1970)."""

    name: str
    bytes: int
    at: float


class Storage(abc.ABC):
    """Files by name; a name has words between slashes and is relative to the store."""

    location: str
    # Readers look for new commits no more often than this; a look at a directory costs nothing, a request does.
    look_seconds: float = 0.0

    @abc.abstractmethod
    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises FileNotFoundError; BadStore when it exists and cannot be read."""

    @abc.abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all, in place of one that is there."""

    @abc.abstractmethod
    def create(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all. Raises FileExistsError, changing nothing, when it is there."""

    @abc.abstractmethod
    def entries(self, prefix: str = "") -> list[Entry]:
        """Return every file below a directory, ordered by name."""

    @abc.abstractmethod
    def delete(self, name: str) -> bool:
        """Delete a file, or a directory with its content. Returns whether it existed."""

    @abc.abstractmethod
    def stage(self, name: str) -> Path:
        """Return a path on this machine where the part `name` (a file or a directory) is to be built."""

    @abc.abstractmethod
    def publish(self, staged: Path, name: str) -> None:
        """Make what was built there durable, as `name`. No reader opens it before a commit names it."""

    @abc.abstractmethod
    def local(self, name: str) -> Path:
        """Return a path on this machine of the part `name`, a file or a directory. Raises BadStore when missing."""

    def drop_copy(self, name: str) -> bool:
        """Delete what `local` has copied to this machine, to be copied again. Returns whether there was a copy."""
        return False

    @abc.abstractmethod
    def open(self, name: str, size: int | None = None) -> Any:
        """Return the file as pyarrow reads it: a path, or an open file. Raises BadStore when it is missing."""

    @abc.abstractmethod
    @contextlib.contextmanager
    def stream(self, name: str) -> Iterator[Iterator[bytes]]:
        """Yield the bytes of the stored file, in chunks, past any cache. Raises FileNotFoundError."""

    @abc.abstractmethod
    def sql_path(self, name: str) -> str:
        """Return the name of the file for DuckDB."""

    @abc.abstractmethod
    def sql_directories(self) -> list[str]:
        """Return the directories of all `sql_path`s, for DuckDB's list of what may be read."""

    def register(self, con: Any, sizes: Mapping[str, int]) -> None:  # noqa: B027 - a directory needs nothing
        """Teach a DuckDB connection to read `sql_path`s."""

    @abc.abstractmethod
    def lease(self, writer: str) -> Lease:
        """Return a lease that marks a writer as live until it is released or its process dies."""

    @abc.abstractmethod
    def dead_writers(self) -> list[str]:
        """Return the dead writers that left a lease."""
