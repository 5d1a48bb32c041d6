"""A copy of a part of features for reading single rows: an Arrow file mapped into memory.

Parquet is laid out for reading columns: a row costs decoding its row group, 4 ms of 4,096 rows. Here it costs a look at
a few places of a mapped file, and the Parquet part's row groups can be as large as is good for aggregates.
A thin file leaves out what is not known: columns without a value and, where they are at least half, rows without one.
"""

from __future__ import annotations

import base64
import bisect
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow
import pyarrow.compute

from featurestore.errors import BadStore
from featurestore.tables.arrow_cells import columns_of
from featurestore.tables.arrow_file import Cells

# Rows of a batch: about a megabyte, which is what one row costs where a file is read over a network.
BATCH_ROWS = 1024
THIN = b"featurestore"  # of a file's metadata: what it leaves out, as JSON
OF = ("dictionary", "feature")


class LeftOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a thin file leaves out: it has no column `dictionary`, whose rows are all equal.

    `starts` are the first features of its batches, if rows are left out; otherwise it is None.
    """

    dictionary: str
    first: int  # the first feature, left out or not
    rows: int  # features, left out or not
    schema: str  # of the whole rows, as Arrow writes it, in base 64
    starts: list[int] | None


def write(path: Path, table: pyarrow.Table) -> int:
    """Write whole rows and return how many there are."""
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    return len(table)


def write_thin(path: Path, table: pyarrow.Table) -> int:
    """Write the rows of one dictionary's neighbouring features, in order, and return how many there are.

    What has no value is left out.
    """
    table = table.combine_chunks()
    names = [name for name in table.column_names if name not in OF and table[name].null_count < len(table)]
    if not len(table) or len(names) == len(table.column_names) - len(OF):
        return write(path, table)
    blank = numpy.ones(len(table), bool)
    for name in names:
        blank &= table[name].is_null().to_numpy()
    thin, starts = table.select(["feature", *names]), None
    if blank.sum() * 2 >= len(table):
        thin = thin.filter(pyarrow.array(~blank)).combine_chunks()
        starts = thin["feature"].to_numpy()[::BATCH_ROWS].tolist()
    schema = base64.b64encode(table.schema.remove_metadata().serialize().to_pybytes()).decode()
    left_out = LeftOut(table["dictionary"][0].as_py(), table["feature"][0].as_py(), len(table), schema, starts)
    write(path, thin.replace_schema_metadata({THIN: msgspec.json.encode(left_out)}))
    return len(table)


class FeatureRows:
    """Rows written by `write` or `write_thin`, opened. Safe to share between threads."""

    def __init__(self, source: Any):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        self._source = source
        self._cells = Cells(source)
        self._columns, _ = columns_of(self._cells.sample, -1)
        self._left_out, self._schema = self._read_left_out()

    def _read_left_out(self) -> tuple[LeftOut | None, pyarrow.Schema]:
        """Return what the file leaves out, and the schema of whole rows."""
        written = self._cells.schema.metadata or {}
        if THIN not in written:
            return None, self._cells.schema
        try:
            left_out = msgspec.json.decode(written[THIN], type=LeftOut)
            schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(base64.b64decode(left_out.schema)))
        except (ValueError, OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._source} is damaged; run `featurestore check --repair` ({exc})") from None
        return left_out, schema

    def row(self, number: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the row at a place, counted from 0. Raises BadStore when the file is shorter."""
        try:
            if self._left_out is None:
                return self._read(*divmod(number, BATCH_ROWS), columns or self._schema.names)
            return self._complete(self._left_out, number, columns or self._schema.names)
        except (IndexError, KeyError, ValueError, struct.error) as exc:
            raise BadStore(f"{self._source} is damaged; run `featurestore check --repair` ({exc})") from None

    def _read(self, place: int, at: int, columns: Sequence[str]) -> dict[str, Any]:
        batch = self._cells.batch(place) if place < self._cells.count else None
        if batch is None or at >= batch.rows:
            raise self._no_row(place * BATCH_ROWS + at)
        return {name: self._columns[name].read(batch, at, at + 1)[0] for name in columns}

    def _complete(self, left_out: LeftOut, number: int, columns: Sequence[str]) -> dict[str, Any]:
        """Return a row of a thin file with None for what was left out."""
        if not 0 <= number < left_out.rows:
            raise self._no_row(number)
        feature = left_out.first + number
        row = dict.fromkeys(columns) | {"dictionary": left_out.dictionary, "feature": feature}
        place, at = divmod(number, BATCH_ROWS)
        if left_out.starts is not None:
            place = bisect.bisect_right(left_out.starts, feature) - 1
            at = -1 if place < 0 else self._find(place, feature)
        if at >= 0:
            row |= self._read(place, at, [name for name in columns if name in self._columns])
        return {name: row[name] for name in columns}

    def _find(self, place: int, feature: int) -> int:
        """Return the place of a feature in a batch, -1 where it is not."""
        batch = self._cells.batch(place)
        features = self._columns["feature"].numbers(batch, 0, batch.rows)
        at = int(numpy.searchsorted(features, feature))
        return at if at < len(features) and features[at] == feature else -1

    def _no_row(self, number: int) -> BadStore:
        return BadStore(f"{self._source} has no row {number}; run `featurestore check --repair`")

    def table(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return every row."""
        rows = self._cells.table()
        if self._left_out is not None:
            rows = self._fill(self._left_out, rows)
        return rows if columns is None else rows.select(list(columns))

    def _fill(self, left_out: LeftOut, thin: pyarrow.Table) -> pyarrow.Table:
        """Return whole rows for those of a thin file."""
        if left_out.starts is not None:
            at = numpy.full(left_out.rows, -1)
            at[thin["feature"].to_numpy() - left_out.first] = numpy.arange(len(thin))
            thin = thin.take(pyarrow.array(at, mask=at < 0))
        numbers = numpy.arange(left_out.first, left_out.first + left_out.rows, dtype=numpy.int32)
        known = {name: thin[name] for name in thin.column_names}
        known |= {"feature": pyarrow.array(numbers), "dictionary": pyarrow.array([left_out.dictionary] * left_out.rows)}
        columns = [
            known[field.name] if field.name in known else pyarrow.nulls(left_out.rows, field.type)
            for field in self._schema
        ]
        return pyarrow.table(columns, schema=self._schema)
