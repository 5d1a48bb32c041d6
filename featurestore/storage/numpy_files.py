"""NumPy's files, opened by one thread at a time.

numpy.load reads a file's header with `ast`. Up to Python 3.11.7 and 3.12.1, two threads in `ast` at once, of which the
garbage collector delays one, end in SystemError: "AST constructor recursion depth mismatch" (CPython issue 106905).
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy

_one_at_a_time = threading.Lock()


def map_array(file: Path) -> numpy.ndarray:
    """Return the array of a .npy file, memory-mapped, read-only. Raises OSError and ValueError as numpy.load does."""
    with _one_at_a_time:
        array: numpy.ndarray = numpy.load(file, mmap_mode="r")
    return array


def read_array(file: Path) -> numpy.ndarray:
    """Return the array of a .npy file, in memory. Arrays of Python objects are refused.

    Raises OSError, EOFError and ValueError as numpy.load does.
    """
    with _one_at_a_time:
        array: numpy.ndarray = numpy.load(file, allow_pickle=False)
    return array


def read_member(file: Path, name: str) -> numpy.ndarray:
    """Return one array of a .npz file, in memory.

    Raises KeyError where the file has no such array, and what numpy.load and zipfile raise.
    """
    with _one_at_a_time, numpy.load(file) as arrays:
        array: numpy.ndarray = arrays[name]
    return array
