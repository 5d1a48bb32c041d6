"""Tensors of a safetensors file as arrays over the mapped file: nothing is copied, and processes share the memory.

The safetensors package copies each tensor, which for an encoder of 90 MB takes a tenth of a second at each start.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy

DTYPES = {"F16": numpy.float16, "F32": numpy.float32, "F64": numpy.float64}
MAX_HEADER = 100_000_000


def map_tensors(path: Path) -> dict[str, numpy.ndarray]:
    """The floating point tensors of a file by name, read-only; others, such as numbers of positions, are left out.

    Raises ValueError where the file is no safetensors file, or a tensor is not within it.
    """
    if path.stat().st_size < 8:
        raise ValueError(f"{path.name} is not a safetensors file")
    data = numpy.memmap(path, mode="r")
    size = int.from_bytes(data[:8].tobytes(), "little")
    if size > min(MAX_HEADER, len(data) - 8):
        raise ValueError(f"{path.name} is not a safetensors file")
    header = json.loads(data[8 : 8 + size].tobytes())
    values = data[8 + size :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in DTYPES:
            continue
        dtype, shape = numpy.dtype(DTYPES[entry["dtype"]]), tuple(map(int, entry["shape"]))
        begin, end = map(int, entry["data_offsets"])
        if not 0 <= begin <= end <= len(values) or end - begin != dtype.itemsize * int(numpy.prod(shape)):
            raise ValueError(f"{path.name}: tensor {name} is not within the file")
        tensors[name] = numpy.frombuffer(values, dtype, (end - begin) // dtype.itemsize, begin).reshape(shape)
    return tensors
