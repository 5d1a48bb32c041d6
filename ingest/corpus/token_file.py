"""Tokens on their way to a corpus: written to a temporary file as they come, then mapped into memory."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator

import numpy

from featurestore import Unavailable

BLOCK = 1 << 20  # tokens at a time


class Spool:
    """A context manager; what was mapped outlives it, and the file, which never has a name, goes with the mapping."""

    def __enter__(self) -> Spool:
        # Rows are large already, and what a buffer holds could be refused a second time when it is let go.
        self._file = tempfile.TemporaryFile(prefix="featurestore-tokens-", buffering=0)
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def write(self, ids: numpy.ndarray) -> None:
        """Add token ids (n,) of any integer type. Raises Unavailable when there is no space."""
        for block in blocks(ids):
            left = memoryview(block)
            try:
                while left:
                    left = left[self._file.write(left) :]
            except OSError as exc:
                if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise Unavailable(
                    f"no space left in {tempfile.gettempdir()} for the corpus's tokens, 4 bytes each: set TMPDIR to where "
                    "there is"
                ) from None

    def mapped(self) -> numpy.ndarray:
        """All that was written, (tokens,) int32. There must be some."""
        return numpy.memmap(self._file, dtype="<i4", mode="r")  # type: ignore[call-overload]


def blocks(ids: numpy.ndarray) -> Iterator[bytes]:
    """Token ids as little-endian int32, some at a time."""
    for first in range(0, len(ids), BLOCK):
        yield numpy.asarray(ids[first : first + BLOCK], dtype="<i4").tobytes()
