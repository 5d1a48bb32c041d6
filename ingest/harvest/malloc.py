"""Memory that a long pass gives back."""

from __future__ import annotations

import ctypes
import sys

_MMAP_THRESHOLD = -3  # of mallopt, see mallopt(3)
LARGE = 4 << 20  # bytes


def give_back_large_arrays() -> None:
    """From now on, have this process's large arrays return to the system when they are freed; on glibc alone.

    glibc raises by itself the size from which it does so, to 32 MB. The arrays of a tile are then cut from its heap, and what is
    kept of a tile, though small, lies in the hole that they leave: the next tile's no longer fit there, and the heap grows
    with the corpus. Examples, which are kept longest, wait in few arrays besides.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
        if mallopt is not None:
            mallopt(_MMAP_THRESHOLD, LARGE)
