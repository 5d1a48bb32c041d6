"""The temporary file that a corpus's tokens are written to, and then mapped from."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator

import numpy

from featurestore import Unavailable

BLOCK = 1 << 20  # tokens at a time


class TokenFile:
    """A context manager for a temporary file without a name. A mapping outlives it; the file goes with the mapping."""

    def __enter__(self) -> TokenFile:
        # Rows are large already, and a full disk could refuse a buffer's content a second time when the file is closed.
        self._file = tempfile.TemporaryFile(prefix="featurestore-tokens-", buffering=0)
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def write(self, ids: numpy.ndarray) -> None:
        """Appends token ids (n,) of any integer type. Raises Unavailable when there is no space."""
        for block in blocks(ids):
            left = memoryview(block)
            try:
                while left:
                    left = left[self._file.write(left) :]
            except OSError as exc:
                if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise Unavailable(
                    f"no space left in {tempfile.gettempdir()} for the corpus's tokens, 4 bytes each: set TMPDIR to a "
                    "directory with space"
                ) from None

    def map(self) -> numpy.ndarray:
        """Returns all tokens written so far, (tokens,) int32, mapped read-only. At least one must have been written."""
        return numpy.memmap(self._file, dtype="<i4", mode="r")


def blocks(ids: numpy.ndarray) -> Iterator[bytes]:
    """Yields token ids as bytes of little-endian int32, BLOCK tokens at a time."""
    for first in range(0, len(ids), BLOCK):
        yield numpy.asarray(ids[first : first + BLOCK], dtype="<i4").tobytes()
