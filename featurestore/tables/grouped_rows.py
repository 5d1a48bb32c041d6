"""A table's rows grouped by feature: an Arrow file mapped into memory, from which a feature's rows need no decoding.

The Parquet part they are copied from is laid out for scans: one feature's rows cost decoding the row group around them,
1.5 ms of 2,048 examples. Here they are one element of one list, and its offset says where.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute

from featurestore.tables.arrow_cells import ColumnReader, columns_of
from featurestore.tables.arrow_file import OFFSETS, Batch, Cells

# Features of a batch: half a megabyte of examples, which is what one page costs where a file is read over a network.
BATCH_FEATURES = 512
# Texts of which a column has fewer are kept once, as a dictionary.
FEW_TEXTS = 256
OF = ("dictionary", "feature")


def write(path: Path, table: pyarrow.Table, first: int) -> int:
    """Write rows, ordered by feature, of features from `first` on, and return how many rows there are.

    The columns of OF are left out. A float that is null is kept as NaN, which the schema allows nowhere.
    """
    features = table["feature"].to_numpy()
    counts = numpy.bincount(features - first) if len(features) else numpy.zeros(0, dtype=numpy.int64)
    starts = numpy.append(0, numpy.cumsum(counts)).astype(numpy.int32)
    columns = {name: _compact(table[name].combine_chunks()) for name in table.column_names if name not in OF}
    rows = pyarrow.StructArray.from_arrays(list(columns.values()), names=list(columns))
    groups = pyarrow.table({"rows": pyarrow.ListArray.from_arrays(pyarrow.array(starts), rows)})
    with pyarrow.ipc.new_file(str(path), groups.schema) as writer:
        writer.write_table(groups, max_chunksize=BATCH_FEATURES)
    return len(table)


def _compact(column: pyarrow.Array) -> pyarrow.Array:
    if pyarrow.types.is_floating(column.type):
        return column.fill_null(float("nan"))
    if pyarrow.types.is_string(column.type):
        encoded = column.dictionary_encode()
        return encoded if len(encoded.dictionary) < FEW_TEXTS else column
    return column


class Cut:
    """Neighbouring rows of a table, column by column."""

    def __init__(self, columns: Mapping[str, ColumnReader], batch: Batch, low: int, high: int):
        self._columns = columns
        self._batch = batch
        self._low, self._high = low, high

    @classmethod
    def of(cls, table: pyarrow.Table) -> Cut:
        """Return all rows of a table."""
        columns = table.drop_columns([name for name in OF if name in table.column_names]).combine_chunks()
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, columns.schema) as writer:
            writer.write_table(columns)
        cells = Cells(sink.getvalue())
        batch = cells.batch(0) if cells.count else Batch(memoryview(b""), [], 0)
        return cls(columns_of(cells.sample, -1)[0], batch, 0, batch.rows)

    def __len__(self) -> int:
        return self._high - self._low

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._columns)

    def numbers(self, name: str) -> numpy.ndarray:
        """Return a column of numbers that has no nulls, without a copy."""
        return self._columns[name].numbers(self._batch, self._low, self._high)

    def values(self, name: str) -> list[Any]:
        """Return a column as Python values."""
        column = self._columns[name]
        values = column.read(self._batch, self._low, self._high)
        if column.dtype is not None and column.dtype.kind == "f":
            return [value if value == value else None for value in values]  # NaN alone differs from itself
        return values

    def lists(self, name: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return, of a column of lists of numbers, the length of each list and the numbers of all lists in a row."""
        return self._columns[name].lists(self._batch, self._low, self._high)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows as values by column. No column may be a list."""
        columns = [self.values(name) for name in self._columns]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


class GroupedRows:
    """Rows written by `write`, opened. Safe to share between threads."""

    def __init__(self, source: Any, first: int):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        self._cells = Cells(source)
        self._first = first
        lists = self._cells.sample.field(0)
        # The buffers before those of the rows' columns: two of the lists, and one that says which rows are null.
        self._columns, _ = columns_of(lists.values, 2)

    def of_feature(self, feature: int) -> Cut | None:
        """Return the feature's rows; None for a feature without rows."""
        number, at = divmod(feature - self._first, BATCH_FEATURES)
        if number >= self._cells.count:
            return None
        batch = self._cells.batch(number)
        if at >= batch.rows:
            return None
        low, high = batch.values(1, OFFSETS, at, at + 2)
        return Cut(self._columns, batch, low, high) if high > low else None

    def table(self) -> pyarrow.Table:
        """Return every row, with its feature."""
        lists = self._cells.table()["rows"].combine_chunks()
        counts = numpy.diff(lists.offsets.to_numpy())
        rows = lists.flatten()
        features = numpy.repeat(numpy.arange(self._first, self._first + len(counts), dtype=numpy.int32), counts)
        columns = {field.name: _decode(column) for field, column in zip(rows.type, rows.flatten(), strict=True)}
        return pyarrow.table({"feature": features} | columns)


def _decode(column: pyarrow.Array) -> pyarrow.Array:
    """Return a column as the table had it."""
    if pyarrow.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pyarrow.types.is_floating(column.type):
        return pyarrow.compute.if_else(pyarrow.compute.is_nan(column), None, column)
    return column
