"""A table's rows gathered by feature: an Arrow file mapped into memory, from which a feature's rows are cut without decoding.

The Parquet part they are copied from is laid out for scans: one feature's rows cost decoding the row group around them, 1.5 ms
of 2,048 examples. Here they are one element of one list, found by its offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute

from featurestore.tables.arrow_cells import OFFSETS, Batch, Cells, Column, columns_of

# Features of a batch: half a megabyte of examples, which is what one page costs where a file is read over a network.
BATCH_FEATURES = 512
# Texts of which a column has fewer are kept once, as a dictionary.
FEW_TEXTS = 256
OF = ("dictionary", "feature")


def write(path: Path, table: pyarrow.Table, first: int) -> int:
    """Write rows, ordered by feature, of features from `first` on; how many rows.

    The columns of OF are not kept. A float that is null is kept as NaN, which the schema allows nowhere.
    """
    features = table["feature"].to_numpy()
    counts = numpy.bincount(features - first) if len(features) else numpy.zeros(0, dtype=numpy.int64)
    starts = numpy.append(0, numpy.cumsum(counts)).astype(numpy.int32)
    columns = {name: _compact(table[name].combine_chunks()) for name in table.column_names if name not in OF}
    rows = pyarrow.StructArray.from_arrays(list(columns.values()), names=list(columns))
    gathered = pyarrow.table({"rows": pyarrow.ListArray.from_arrays(pyarrow.array(starts), rows)})
    with pyarrow.ipc.new_file(str(path), gathered.schema) as writer:
        writer.write_table(gathered, max_chunksize=BATCH_FEATURES)
    return table.num_rows


def _compact(column: pyarrow.Array) -> pyarrow.Array:
    if pyarrow.types.is_floating(column.type):
        return column.fill_null(float("nan"))
    if pyarrow.types.is_string(column.type):
        encoded = column.dictionary_encode()
        return encoded if len(encoded.dictionary) < FEW_TEXTS else column
    return column


class Cut:
    """Neighbouring rows of a table, column by column."""

    def __init__(self, columns: Mapping[str, Column], batch: Batch, low: int, high: int):
        self._columns = columns
        self._batch = batch
        self._low, self._high = low, high

    @classmethod
    def of(cls, table: pyarrow.Table) -> Cut:
        """All rows of a table."""
        kept = table.drop_columns([name for name in OF if name in table.column_names]).combine_chunks()
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, kept.schema) as writer:
            writer.write_table(kept)
        cells = Cells(sink.getvalue())
        batch = cells.batch(0) if cells.count else Batch(memoryview(b""), [], 0)
        return cls(columns_of(cells.sample, -1)[0], batch, 0, batch.rows)

    def __len__(self) -> int:
        return self._high - self._low

    @property
    def names(self) -> list[str]:
        """The columns there are."""
        return list(self._columns)

    def numbers(self, name: str) -> numpy.ndarray:
        """A column of numbers that has no nulls, without a copy."""
        return self._columns[name].numbers(self._batch, self._low, self._high)

    def values(self, name: str) -> list[Any]:
        """A column as Python has it."""
        column = self._columns[name]
        found = column.read(self._batch, self._low, self._high)
        if column.dtype is not None and column.dtype.kind == "f":
            return [value if value == value else None for value in found]  # NaN is the one that is not itself
        return found

    def lists(self, name: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """A column of lists: how long each is, and what is in all of them, one after another."""
        return self._columns[name].lists(self._batch, self._low, self._high)

    def rows(self) -> list[dict[str, Any]]:
        """Each row by its columns, of which none is a list."""
        columns = [self.values(name) for name in self._columns]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


class Gathered:
    """Rows written by `write`, opened. Safe to share between threads."""

    def __init__(self, source: Any, first: int):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        self._cells = Cells(source)
        self._first = first
        lists = self._cells.sample.field(0)
        # Before the rows' own buffers lie two of the lists and one that says which rows there are.
        self._columns, _ = columns_of(lists.values, 2)

    def of_feature(self, feature: int) -> Cut | None:
        """The feature's rows; None where it has none."""
        number, at = divmod(feature - self._first, BATCH_FEATURES)
        if number >= self._cells.count:
            return None
        batch = self._cells.batch(number)
        if at >= batch.rows:
            return None
        low, high = batch.values(1, OFFSETS, at, at + 2)
        return Cut(self._columns, batch, low, high) if high > low else None

    def table(self) -> pyarrow.Table:
        """Every row, and the feature of each."""
        lists = self._cells.table()["rows"].combine_chunks()
        counts = numpy.diff(lists.offsets.to_numpy())
        rows = lists.flatten()
        features = numpy.repeat(numpy.arange(self._first, self._first + len(counts), dtype=numpy.int32), counts)
        columns = {field.name: _plain(one) for field, one in zip(rows.type, rows.flatten(), strict=True)}
        return pyarrow.table({"feature": features} | columns)


def _plain(column: pyarrow.Array) -> pyarrow.Array:
    """A column as the table had it."""
    if pyarrow.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pyarrow.types.is_floating(column.type):
        return pyarrow.compute.if_else(pyarrow.compute.is_nan(column), None, column)
    return column
