"""Memory of a long pass."""

import subprocess
import sys

import pytest

HELD = """
import ctypes, sys
import numpy
from ingest.harvest.malloc import return_large_arrays

class Info(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "given back":
    return_large_arrays()
libc.free(libc.malloc(30 << 20))  # after which glibc keeps what is smaller
before = libc.mallinfo2().hblkhd
large = numpy.ones(8 << 20, numpy.uint8)
print(libc.mallinfo2().hblkhd - before)
"""


def apart(what):
    """Bytes of an array of 8 MB that lie apart from the heap, and so return to the system when it is freed."""
    done = subprocess.run([sys.executable, "-c", HELD, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_large_arrays_lie_apart_from_the_heap():
    assert apart("kept") == 0
    assert apart("given back") >= 8 << 20
