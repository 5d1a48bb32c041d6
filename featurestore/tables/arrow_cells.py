"""Columns of an Arrow file, read a few cells at a time from the batches of arrow_file.py."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore.display.float32 import round_floats32
from featurestore.tables.arrow_file import FEW, MICROSECONDS, OFFSETS, Batch, Numbers

Read = Callable[[Batch, int, int], list[Any]]  # the values of rows from low to high


class ColumnReader(NamedTuple):
    """How a column is read. For numbers, and for lists of them, `dtype` is the type of the buffer `data`."""

    read: Read
    first: int  # number of its first buffer, which says which rows are not null
    data: int
    dtype: numpy.dtype[Any] | None = None

    def numbers(self, batch: Batch, low: int, high: int) -> numpy.ndarray:
        """Return neighbouring numbers of a column that has no nulls, without a copy."""
        assert self.dtype is not None and batch.places[self.first] < 0
        return batch.numbers(self.data, self.dtype, low, high)

    def lists(self, batch: Batch, low: int, high: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return, of a column of lists of numbers, the length of each list and the numbers of all lists in a row."""
        starts = batch.numbers(self.first + 1, OFFSETS.dtype, low, high + 1)
        assert self.dtype is not None
        return starts[1:] - starts[:-1], batch.numbers(self.data, self.dtype, int(starts[0]), int(starts[-1]))


def column_of(sample: pyarrow.Array, first: int) -> tuple[ColumnReader, int]:
    """Return the reader of a column like `sample` and the number of the buffer after its own, which begin at `first`.

    A dictionary's texts are those of the sample: in a file, all batches share them.
    """
    kind = sample.type
    if pyarrow.types.is_list(kind):
        return _list(sample, first)
    if pyarrow.types.is_struct(kind):
        columns, after = columns_of(sample, first)
        return ColumnReader(_nullable(first, functools.partial(_structs, columns)), first, first), after
    if pyarrow.types.is_string(kind):
        return ColumnReader(_nullable(first, functools.partial(_texts, first)), first, first + 2), first + 3
    if pyarrow.types.is_dictionary(kind):
        return ColumnReader(_nullable(first, _codes(sample, first)), first, first + 1), first + 2
    if pyarrow.types.is_boolean(kind):
        return ColumnReader(_nullable(first, functools.partial(_booleans, first)), first, first + 1), first + 2
    if pyarrow.types.is_timestamp(kind):
        return ColumnReader(_nullable(first, _times(kind, first)), first, first + 1), first + 2
    numbers = Numbers(kind)
    return ColumnReader(_numbers(numbers, first), first, first + 1, numbers.dtype), first + 2


def columns_of(sample: pyarrow.StructArray, first: int) -> tuple[dict[str, ColumnReader], int]:
    """Return the readers of a struct's columns by name, and the number of the buffer after its own (from `first`)."""
    readers: dict[str, ColumnReader] = {}
    after = first + 1
    for number, field in enumerate(sample.type):
        readers[field.name], after = column_of(sample.field(number), after)
    return readers, after


def _nullable(first: int, read: Read) -> Read:
    """Return `read` with None for the rows that the buffer `first` calls null."""

    def read_nullable(batch: Batch, low: int, high: int) -> list[Any]:
        """Return values, None for null."""
        return _mask(read(batch, low, high), batch, first, low, high)

    return read_nullable


def _mask(values: list[Any], batch: Batch, first: int, low: int, high: int) -> list[Any]:
    if batch.places[first] < 0:
        return values
    valid = batch.bits(first, low, high)
    return [value if is_valid else None for value, is_valid in zip(values, valid, strict=True)]


def _numbers(numbers: Numbers, first: int) -> Read:
    """Return a reader of numbers and nulls in one step: most cells of a page are numbers."""
    few, size, data = numbers.few, numbers.size, first + 1
    is_float32 = numbers.dtype == numpy.float32

    def read_numbers(batch: Batch, low: int, high: int) -> list[Any]:
        """Return numbers, None for null."""
        places = batch.places
        if 0 < high - low < FEW:
            values = list(few[high - low](batch.memory, places[data] + low * size))
        else:
            values = batch.numbers(data, numbers.dtype, low, high).tolist()
        if is_float32:
            values = round_floats32(values)
        if places[first] < 0:
            return values
        return _mask(values, batch, first, low, high)

    return read_numbers


def _texts(first: int, batch: Batch, low: int, high: int) -> list[str]:
    if low == high:
        return []
    offsets = batch.values(first + 1, OFFSETS, low, high + 1)
    at, memory = batch.places[first + 2], batch.memory
    return [str(memory[at + begin : at + end], "utf-8") if end > begin else "" for begin, end in pairwise(offsets)]


def _booleans(first: int, batch: Batch, low: int, high: int) -> list[bool]:
    return [bool(bit) for bit in batch.bits(first + 1, low, high)] if high > low else []


def _structs(columns: dict[str, ColumnReader], batch: Batch, low: int, high: int) -> list[dict[str, Any]]:
    values = [column.read(batch, low, high) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _codes(sample: pyarrow.DictionaryArray, first: int) -> Read:
    codes, texts = Numbers(sample.type.index_type), sample.dictionary.to_pylist()

    def read_codes(batch: Batch, low: int, high: int) -> list[Any]:
        """Return the texts of the codes."""
        # A code beside a null may be anything.
        return [texts[code] if code < len(texts) else None for code in batch.values(first + 1, codes, low, high)]

    return read_codes


def _times(kind: pyarrow.TimestampType, first: int) -> Read:
    numbers, microseconds = Numbers(pyarrow.int64()), MICROSECONDS[kind.unit]
    zone = pyarrow.scalar(0, kind).as_py().tzinfo
    epoch = datetime.datetime(1970, 1, 1, tzinfo=zone and datetime.UTC)

    def read_times(batch: Batch, low: int, high: int) -> list[Any]:
        """Return datetimes, in the column's time zone."""
        units = batch.values(first + 1, numbers, low, high)
        times = [epoch + datetime.timedelta(microseconds=unit * microseconds) for unit in units]
        return [time.astimezone(zone) for time in times] if zone else times

    return read_times


def _list(sample: pyarrow.ListArray, first: int) -> tuple[ColumnReader, int]:
    inside, after = column_of(sample.values, first + 2)

    def read_lists(batch: Batch, low: int, high: int) -> list[Any]:
        """Return a list for each row."""
        if low == high:
            return []
        offsets = batch.values(first + 1, OFFSETS, low, high + 1)
        begin = offsets[0]
        values = inside.read(batch, begin, offsets[-1])
        return [values[low - begin : high - begin] for low, high in pairwise(offsets)]

    return ColumnReader(_nullable(first, read_lists), first, inside.data, inside.dtype), after
