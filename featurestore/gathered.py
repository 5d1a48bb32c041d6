"""A table's rows gathered by feature: an Arrow file mapped into memory, from which a feature's rows are cut without decoding.

The Parquet part they are copied from is laid out for scans: one feature's rows cost decoding the row group around them, 1.5 ms
of 2,048 examples. Here they are one element of one list, found by its offset.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from featurestore.errors import BadStore

# Features of a batch: half a megabyte of examples, which is what one page costs where a file is read over a network.
BATCH_FEATURES = 512
# Texts of which a column has fewer are kept once, as a dictionary.
FEW_TEXTS = 256
KEPT_MAPPED, KEPT_READ = 64, 4  # batches that stay open, of a mapped file and of one read over a network
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


class _Column(NamedTuple):
    """A column as it is looked at: numbers, positions in `texts`, lists that `starts` cut from numbers, or else Arrow."""

    numbers: numpy.ndarray | None
    texts: list[str] | None = None
    starts: numpy.ndarray | None = None
    arrow: pyarrow.Array | None = None

    @classmethod
    def of(cls, column: pyarrow.Array) -> _Column:
        if pyarrow.types.is_list(column.type):
            return cls(column.values.to_numpy(), starts=column.offsets.to_numpy())
        if pyarrow.types.is_dictionary(column.type) and not column.null_count:
            return cls(column.indices.to_numpy(), texts=column.dictionary.to_pylist())
        if pyarrow.types.is_floating(column.type):
            return cls(column.to_numpy(zero_copy_only=False))
        if pyarrow.types.is_integer(column.type) and not column.null_count:
            return cls(column.to_numpy())
        return cls(None, arrow=column)


class Cut:
    """Neighbouring rows of a table, column by column."""

    def __init__(self, columns: Mapping[str, _Column], low: int, high: int):
        self._columns = columns
        self._low, self._high = low, high

    @classmethod
    def of(cls, table: pyarrow.Table) -> Cut:
        """All rows of a table."""
        columns = {name: _Column.of(table[name].combine_chunks()) for name in table.column_names if name not in OF}
        return cls(columns, 0, table.num_rows)

    def __len__(self) -> int:
        return self._high - self._low

    @property
    def names(self) -> list[str]:
        """The columns there are."""
        return list(self._columns)

    def numbers(self, name: str) -> numpy.ndarray:
        """A column of numbers, without a copy; a float that is null is NaN."""
        numbers = self._columns[name].numbers
        assert numbers is not None, name
        return numbers[self._low : self._high]

    def values(self, name: str) -> list[Any]:
        """A column as Python has it."""
        column = self._columns[name]
        if column.numbers is None:
            assert column.arrow is not None
            return column.arrow.slice(self._low, len(self)).to_pylist()
        found = column.numbers[self._low : self._high].tolist()
        if column.texts is not None:
            return [column.texts[code] for code in found]
        if column.numbers.dtype.kind == "f":
            return [value if value == value else None for value in found]  # NaN is the one that is not itself
        return found

    def lists(self, name: str) -> tuple[numpy.ndarray, numpy.ndarray]:
        """A column of lists: how long each is, and what is in all of them, one after another."""
        column = self._columns[name]
        assert column.starts is not None and column.numbers is not None, name
        starts = column.starts[self._low : self._high + 1]
        return starts[1:] - starts[:-1], column.numbers[starts[0] : starts[-1]] if len(starts) else column.numbers[:0]

    def rows(self) -> list[dict[str, Any]]:
        """Each row by its columns, of which none is a list."""
        columns = [self.values(name) for name in self._columns]
        return [dict(zip(self._columns, row, strict=True)) for row in zip(*columns, strict=True)]


class Gathered:
    """Rows written by `write`, opened. Safe to share between threads."""

    def __init__(self, source: Any, first: int):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        try:
            mapped = isinstance(source, Path)
            self._reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(source)) if mapped else source)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{source} cannot be read; run `featurestore check --repair` ({exc})") from None
        self._first = first
        self._most = KEPT_MAPPED if mapped else KEPT_READ
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[numpy.ndarray, dict[str, _Column]]] = OrderedDict()

    def of_feature(self, feature: int) -> Cut | None:
        """The feature's rows; None where it has none."""
        batch, at = divmod(feature - self._first, BATCH_FEATURES)
        if batch >= self._reader.num_record_batches:
            return None
        starts, columns = self._batch(batch)
        if at + 1 >= len(starts) or starts[at] == starts[at + 1]:
            return None
        return Cut(columns, int(starts[at]), int(starts[at + 1]))

    def table(self) -> pyarrow.Table:
        """Every row, and the feature of each."""
        lists = self._reader.read_all()["rows"].combine_chunks()
        counts = numpy.diff(lists.offsets.to_numpy())
        rows = lists.flatten()
        features = numpy.repeat(numpy.arange(self._first, self._first + len(counts), dtype=numpy.int32), counts)
        columns = {field.name: _plain(one) for field, one in zip(rows.type, rows.flatten(), strict=True)}
        return pyarrow.table({"feature": features} | columns)

    def _batch(self, number: int) -> tuple[numpy.ndarray, dict[str, _Column]]:
        """A batch's offsets, and the columns that they cut."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            lists = self._reader.get_batch(number).column(0)
            rows = lists.values
            columns = {field.name: _Column.of(rows.field(n)) for n, field in enumerate(rows.type)}
            found = self._kept[number] = lists.offsets.to_numpy(), columns
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return found


def _plain(column: pyarrow.Array) -> pyarrow.Array:
    """A column as the table had it."""
    if pyarrow.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pyarrow.types.is_floating(column.type):
        return pyarrow.compute.if_else(pyarrow.compute.is_nan(column), None, column)
    return column
