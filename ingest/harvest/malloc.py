"""The C library's allocator: memory of a long pass returns to the system."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3  # of mallopt, see mallopt(3)
LARGE = 4 << 20  # bytes


def return_large_arrays() -> None:
    """From now on, return this process's large arrays to the system when they are freed. Has an effect on glibc only.

    By itself, glibc raises the size from which it does so to 32 MB. It then cuts the arrays of a tile from its heap,
    and the small arrays kept from a tile stay in the hole that they leave: those of the next tile no longer fit there,
    and the heap grows with the corpus. Examples, which are kept longest, wait in few arrays for the same reason.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, LARGE)
