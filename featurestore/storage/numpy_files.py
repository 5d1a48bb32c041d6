"""NumPy's files, opened by one thread at a time.

numpy.load reads a file's header with `ast`. Up to Python 3.11.7 and 3.12.1 two threads in `ast` at once, of which one is
held up by the garbage collector, end in SystemError: "AST constructor recursion depth mismatch" (CPython issue 106905).
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy

_one_at_a_time = threading.Lock()


def mapped(file: Path) -> numpy.ndarray:
    """The array of a .npy file, memory-mapped, to be read. Raises OSError and ValueError as numpy.load does."""
    with _one_at_a_time:
        return numpy.load(file, mmap_mode="r")


def read(file: Path) -> numpy.ndarray:
    """The array of a .npy file, in memory; objects are refused. Raises OSError, EOFError and ValueError as numpy.load does."""
    with _one_at_a_time:
        return numpy.load(file, allow_pickle=False)


def archived(file: Path, name: str) -> numpy.ndarray:
    """An array of a .npz file, in memory. Raises KeyError where it is not there, and what numpy.load and zipfile raise."""
    with _one_at_a_time, numpy.load(file) as arrays:
        return arrays[name]
