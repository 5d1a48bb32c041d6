"""Files of an object store for readers that want a file object: pyarrow and DuckDB.

DuckDB reads one Python file from many threads, and seeking and reading are two calls. A file here has a position for
each thread and nothing else that threads share: every read is one ranged request, answered in full or an error.
"""

from __future__ import annotations

import datetime
import io
import threading
from collections.abc import Callable, Mapping
from typing import Any

import fsspec

from featurestore.errors import BadStore

# Parts never change, so neither does the time DuckDB compares before it uses what it keeps of a file.
WRITTEN = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)


class RangedFile(io.RawIOBase):
    """A file of known size, read by ranges. Safe to share between threads, each of which has a position of its own."""

    def __init__(self, name: str, size: int, get: Callable[[int, int], bytes]):
        """`get(start, end)` returns the bytes between two places."""
        self.name = name
        self.size = size
        self._get = get
        # By thread. threading.local would lose them: threads that are not Python's are new to it at every call.
        self._positions: dict[int, int] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._positions.get(threading.get_ident(), 0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.size}[whence]
        position = max(0, base + offset)
        self._positions[threading.get_ident()] = position
        return position

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes from this thread's position, fewer only at the end of the file.

        Raises BadStore when the file has fewer bytes than it should, Unavailable when the store does not answer.
        """
        start = self.tell()
        end = self.size if size is None or size < 0 else min(self.size, start + size)
        if start >= end:
            return b""
        content = self._get(start, end)
        if len(content) != end - start:  # DuckDB does not look, and takes what was in its buffer for the rest
            raise BadStore(
                f"{self.name} is damaged: bytes {start} to {end} were asked for and {len(content)} came; "
                "run `featurestore check`"
            )
        self._positions[threading.get_ident()] = end
        return content

    def readall(self) -> bytes:
        return self.read()

    def readinto(self, buffer: Any) -> int:
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


class RangedFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The file system that DuckDB sees: files of one store by their URLs, with the sizes that the log states."""

    protocol = ("s3",)
    cachable = False  # one for each connection, not one for each set of arguments

    def __init__(self, open_file: Callable[[str], RangedFile], sizes: Mapping[str, int]):
        """`open_file` opens a URL of which the size is not known; `sizes` are those that are, by URL."""
        super().__init__()
        self._open_file = open_file
        self._sizes = sizes

    def open(self, path: str, mode: str = "rb", **options: Any) -> RangedFile:
        """Open a file for reading. Raises FileNotFoundError or PermissionError."""
        if mode != "rb":
            raise PermissionError(f"{path} is only read, not opened as '{mode}'")
        return self._open_file(path)

    def size(self, path: str) -> int:
        return self._sizes[path] if path in self._sizes else self._open_file(path).size

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        return {"name": path, "size": self.size(path), "type": "file"}

    def exists(self, path: str, **options: Any) -> bool:
        try:
            return self.size(path) >= 0
        except (FileNotFoundError, BadStore):
            return False

    def modified(self, path: str) -> datetime.datetime:
        return WRITTEN

    def glob(self, path: str, **options: Any) -> list[str]:
        """Return the path as it stands: opening it says whether it may be read, and whether it is there."""
        return [path]
