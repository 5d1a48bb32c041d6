"""NumPy's files, opened by one thread at a time.

numpy.load reads a file's header with `ast`. Up to Python 3.11.7 and 3.12.1, two threads in `ast` at once, of which the
garbage collector delays one, end in SystemError: "AST constructor recursion depth mismatch" (CPython issue 106905).
"""

from __future__ import annotations

import math
import threading
import zipfile
from pathlib import Path
from typing import IO

import numpy

from featurestore.values.matrix import plain_errors

# Deflate makes at most 1,032 bytes of one.
MOST_INFLATED = 1032
_one_at_a_time = threading.Lock()


def map_array(file: Path) -> numpy.ndarray:
    """Return the array of a .npy file, memory-mapped, read-only. Raises OSError and ValueError as numpy.load does."""
    with _one_at_a_time, plain_errors():
        array: numpy.ndarray = numpy.load(file, mmap_mode="r")
    return array


def read_array(file: Path) -> numpy.ndarray:
    """Return the array of a .npy file, in memory. Arrays of Python objects are refused.

    Raises OSError and ValueError as numpy.load does.
    """
    with _one_at_a_time, plain_errors():
        with open(file, "rb") as stream:
            _check_header(stream, file.stat().st_size, file.name)
        array: numpy.ndarray = numpy.load(file, allow_pickle=False)
    return array


def read_member(file: Path, name: str) -> numpy.ndarray:
    """Return one array of a .npz file, in memory.

    Raises KeyError where the file has no such array, ValueError for one that promises more numbers than it has, and
    what numpy.load and zipfile raise.
    """
    with _one_at_a_time, plain_errors():
        check_member(file, name)
        with numpy.load(file, allow_pickle=False) as arrays:
            array: numpy.ndarray = arrays[name]
    return array


def check_member(file: Path, name: str) -> None:
    """Raise ValueError when an array of a .npz file promises more bytes than are there: NumPy would ask for them all.

    Raises KeyError where the file has no such array, and what zipfile raises.
    """
    with plain_errors(), zipfile.ZipFile(file) as archive:
        entry = archive.getinfo(name if name in archive.NameToInfo else f"{name}.npy")
        with archive.open(entry) as stream:
            _check_header(stream, min(entry.file_size, MOST_INFLATED * file.stat().st_size), name)


def _check_header(stream: IO[bytes], most: int, name: str) -> None:
    version = numpy.lib.format.read_magic(stream)
    read = numpy.lib.format.read_array_header_1_0 if version == (1, 0) else numpy.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    size = math.prod(shape) * dtype.itemsize
    most -= stream.tell()
    if size > most:
        raise ValueError(f"{name} promises {size:,} bytes of numbers, and there are at most {most:,}")
