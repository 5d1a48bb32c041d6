"""A copy of a part of features for reading single rows: an Arrow file mapped into memory.

Parquet is laid out for reading columns: a row costs decoding its row group, 4 ms of 4,096 rows. Here it costs a look at
a few places of a mapped file, and the Parquet part's row groups can be as large as is good for aggregates.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from featurestore.errors import BadStore
from featurestore.tables.arrow_cells import columns_of
from featurestore.tables.arrow_file import Cells

# Rows of a batch: about a megabyte, which is what one row costs where a file is read over a network.
BATCH_ROWS = 1024


def write(path: Path, table: pyarrow.Table) -> int:
    """Write the rows of a part of features and return how many there are."""
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    return len(table)


class FeatureRows:
    """Rows written by `write`, opened. Safe to share between threads."""

    def __init__(self, source: Any):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        self._source = source
        self._cells = Cells(source)
        self._columns, _ = columns_of(self._cells.sample, -1)

    def row(self, number: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the row at a place, counted from 0. Raises BadStore when the file is shorter."""
        place, at = divmod(number, BATCH_ROWS)
        batch = self._cells.batch(place) if place < self._cells.count else None
        if batch is None or at >= batch.rows:
            raise BadStore(f"{self._source} has no row {number}; run `featurestore check --repair`")
        try:
            return {name: self._columns[name].read(batch, at, at + 1)[0] for name in columns or self._columns}
        except (IndexError, KeyError, ValueError, struct.error) as exc:
            raise BadStore(f"{self._source} is damaged; run `featurestore check --repair` ({exc})") from None

    def table(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return every row."""
        rows = self._cells.table()
        return rows if columns is None else rows.select(list(columns))
