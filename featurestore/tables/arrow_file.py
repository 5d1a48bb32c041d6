"""The batches of an Arrow file as places in mapped memory, and the numbers there.

pyarrow's reader opens a whole batch to give one row. Beside it, this module and arrow_cells.py read a row of 24 columns
in 0.68 of the time and the examples of a feature in 0.14 (`python -m bench.basics`, the lines with "pyarrow's reader").

The description before each batch says where its buffers are:
https://arrow.apache.org/docs/format/Columnar.html and, for its encoding, https://flatbuffers.dev/internals.
Types and compressions that these modules do not know are refused with BadStore: they would be read as other numbers.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore.errors import BadStore

KEPT_MAPPED, KEPT_READ = 64, 4  # open batches of a mapped file and of a file that is read over a network
FEW = 65  # numbers: fewer are read without an array
CODES = {
    "i1": "b",
    "i2": "h",
    "i4": "i",
    "i8": "q",
    "u1": "B",
    "u2": "H",
    "u4": "I",
    "u8": "Q",
    "f2": "e",
    "f4": "f",
    "f8": "d",
}
MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}
CODECS = {0: "LZ4", 1: "ZSTD"}  # as Arrow numbers them
SHORT, INT, LONG = struct.Struct("<H"), struct.Struct("<i"), struct.Struct("<q")


class Numbers:
    """How numbers of one type are read from memory."""

    def __init__(self, kind: pyarrow.DataType):
        self.dtype = numpy.dtype(kind.to_pandas_dtype())
        self.size = self.dtype.itemsize
        self.few = _few(CODES[self.dtype.str[1:]])


@functools.cache
def _few(code: str) -> list[Callable[[memoryview, int], tuple[Any, ...]]]:
    """Return, by count, the functions that read that many numbers of a type, faster than an array of them."""
    return [struct.Struct(f"<{n}{code}").unpack_from for n in range(FEW)]


OFFSETS = Numbers(pyarrow.int32())


class Batch(NamedTuple):
    """A batch's buffers, in the order in which Arrow lists them.

    `places` says where in `memory` each begins; it is -1 for a buffer that is absent.
    """

    memory: memoryview
    places: list[int]
    rows: int

    def numbers(self, buffer: int, dtype: numpy.dtype[Any], low: int, high: int) -> numpy.ndarray:
        """Return neighbouring numbers of a buffer, without a copy."""
        if low == high:
            return numpy.empty(0, dtype)
        return numpy.frombuffer(self.memory, dtype, high - low, self.places[buffer] + low * dtype.itemsize)

    def values(self, buffer: int, numbers: Numbers, low: int, high: int) -> list[Any]:
        """Return neighbouring numbers of a buffer as Python values."""
        if 0 < high - low < FEW:
            return list(numbers.few[high - low](self.memory, self.places[buffer] + low * numbers.size))
        values: list[Any] = self.numbers(buffer, numbers.dtype, low, high).tolist()
        return values

    def bits(self, buffer: int, low: int, high: int) -> list[int]:
        """Return neighbouring bits of a buffer."""
        at = self.places[buffer]
        if high - low == 1:
            return [self.memory[at + (low >> 3)] >> (low & 7) & 1]
        packed = int.from_bytes(self.memory[at + (low >> 3) : at + ((high + 7) >> 3)], "little") >> (low & 7)
        return [packed >> n & 1 for n in range(high - low)]


class Cells:
    """The batches of an Arrow file. Safe to share between threads."""

    def __init__(self, source: Any):
        """`source` is a path, which is mapped, an open file, or bytes.

        Raises BadStore when it cannot be read, or holds a type or a compression that this module does not know.
        """
        self._source = source
        try:
            whole = _map_whole(source)
            self._reader = pyarrow.ipc.open_file(source if whole is None else whole)
            self.count: int = self._reader.num_record_batches
            self.schema: pyarrow.Schema = self._reader.schema
            for field in self.schema:
                _check_type(source, field.name, field.type)
            self.batch: Callable[[int], Batch]
            if whole is None:
                self.batch = functools.lru_cache(KEPT_READ)(lambda n: _copy(self._reader.get_batch(n)))
            else:
                self._memory = memoryview(whole)
                self._blocks = _find_blocks(self._memory)
                self.batch = functools.lru_cache(KEPT_MAPPED)(self._read_mapped)
                if self.count:
                    self.batch(0)
            self.sample = pyarrow.StructArray.from_arrays(*self._sample_columns())
        except (OSError, ValueError, struct.error, pyarrow.ArrowException) as exc:
            raise BadStore(f"{source} cannot be read; run `featurestore check --repair` ({exc})") from None

    def _sample_columns(self) -> tuple[list[pyarrow.Array], list[str]]:
        schema = self._reader.schema
        if self.count:
            batch = self._reader.get_batch(0)
            batch.validate(full=True)  # pyarrow follows offsets wherever they lead
            return batch.columns, schema.names
        return [pyarrow.array([], field.type) for field in schema], schema.names

    def _read_mapped(self, number: int) -> Batch:
        at, length = self._blocks[number]
        _check_codec(self._source, self._memory, at)
        return _read_batch(self._memory, at, at + length)

    def table(self) -> pyarrow.Table:
        """Return every row."""
        try:
            table = self._reader.read_all()
            table.validate(full=True)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._source} cannot be read; run `featurestore check --repair` ({exc})") from None
        return table


def _map_whole(source: Any) -> pyarrow.Buffer | None:
    if isinstance(source, Path):
        return pyarrow.memory_map(str(source)).read_buffer()
    return source if isinstance(source, pyarrow.Buffer) else None


def _find_blocks(memory: memoryview) -> list[tuple[int, int]]:
    """Return where each batch of a file begins, and the length of its description, which precedes its buffers."""
    footer = len(memory) - 10 - INT.unpack_from(memory, len(memory) - 10)[0]
    count, at = _vector(memory, _table(memory, footer), 3)
    return [
        (LONG.unpack_from(memory, at + 24 * n)[0], INT.unpack_from(memory, at + 24 * n + 8)[0]) for n in range(count)
    ]


def _check_type(source: Any, name: str, kind: pyarrow.DataType) -> None:
    """Check that `column_of` can read a column of this type. Raises BadStore otherwise."""
    types, known = pyarrow.types, True
    if types.is_list(kind):
        _check_type(source, f"{name}[]", kind.value_type)
    elif types.is_struct(kind):
        for field in kind:
            _check_type(source, f"{name}.{field.name}", field.type)
    elif types.is_timestamp(kind):
        known = kind.unit in MICROSECONDS
    elif types.is_dictionary(kind):
        known = types.is_string(kind.value_type)
    else:
        known = any(
            is_kind(kind) for is_kind in (types.is_string, types.is_integer, types.is_floating, types.is_boolean)
        )
    if not known:
        raise BadStore(
            f"{source}: column '{name}' is of type {kind}, which pages cannot read; run `featurestore check --repair`"
        )


def _check_codec(source: Any, memory: memoryview, at: int) -> None:
    """Check that the buffers of the batch at `at` are not compressed. Raises BadStore when they are."""
    compression = _field(memory, _batch(memory, at), 3)
    if compression:
        table = _table(memory, compression)
        codec = _field(memory, table, 0)
        name = CODECS.get(memory[codec] if codec else 0, "an unknown codec")
        raise BadStore(
            f"{source}: its batches are compressed with {name}, and pages read uncompressed ones; "
            "run `featurestore check --repair`"
        )


def _batch(memory: memoryview, at: int) -> int:
    """Return the place of the description of the batch at `at`."""
    head = _field(memory, _table(memory, at + 8), 2)
    offset: int = INT.unpack_from(memory, head)[0]
    return head + offset


def _read_batch(memory: memoryview, at: int, body: int) -> Batch:
    """Return the batch at `at`, whose buffers begin at `body`."""
    batch = _batch(memory, at)
    rows = _field(memory, batch, 0)
    count, first = _vector(memory, batch, 2)
    flat = numpy.frombuffer(memory, numpy.int64, 2 * count, first).tolist()
    # Without nulls, the buffer that says which rows are null is empty.
    places = [body + place if size else -1 for place, size in zip(flat[::2], flat[1::2], strict=True)]
    return Batch(memory, places, LONG.unpack_from(memory, rows)[0] if rows else 0)


def _table(memory: memoryview, at: int) -> int:
    offset: int = INT.unpack_from(memory, at)[0]
    return at + offset


def _field(memory: memoryview, table: int, number: int) -> int:
    """Return the place of a field of a flatbuffer's table; 0 for an absent field."""
    kinds = table - INT.unpack_from(memory, table)[0]
    if 4 + 2 * number >= SHORT.unpack_from(memory, kinds)[0]:
        return 0
    offset: int = SHORT.unpack_from(memory, kinds + 4 + 2 * number)[0]
    return table + offset if offset else 0


def _vector(memory: memoryview, table: int, number: int) -> tuple[int, int]:
    """Return how many elements a field of a flatbuffer's table has, and the place of the first."""
    at = _field(memory, table, number)
    if not at:
        return 0, 0
    at += INT.unpack_from(memory, at)[0]
    return INT.unpack_from(memory, at)[0], at + 4


def _copy(batch: pyarrow.RecordBatch) -> Batch:
    """Return the batch with its buffers copied side by side."""
    buffers = [buffer for column in batch.columns for buffer in column.buffers()]
    places, whole = [], bytearray()
    for buffer in buffers:
        whole += bytes(-len(whole) % 8)
        places.append(-1 if buffer is None else len(whole))
        whole += b"" if buffer is None else memoryview(buffer)
    return Batch(memoryview(whole), places, batch.num_rows)
