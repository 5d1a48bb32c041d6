"""The rows of a part of features a second time, laid out for taking out one: an Arrow file mapped into memory.

Parquet is laid out for reading columns: a row costs decoding its row group, 4 ms of 4,096 rows. Here it costs looking at a
few places of a mapped file, and the Parquet part's row groups can be as large as is good for aggregates.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from featurestore.errors import BadStore

# Rows of a batch: about a megabyte, which is what one row costs where a file is read over a network.
BATCH_ROWS = 1024
KEPT_MAPPED, KEPT_READ = 64, 2  # batches that stay open


def write(path: Path, table: pyarrow.Table) -> int:
    """Write the rows of a part of features; how many."""
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=BATCH_ROWS)
    return table.num_rows


class FeatureRows:
    """Rows written by `write`, opened. Safe to share between threads."""

    def __init__(self, source: Any):
        """`source` is a path, which is mapped, or an open file. Raises BadStore when it cannot be read."""
        try:
            mapped = isinstance(source, Path)
            self._reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(source)) if mapped else source)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{source} cannot be read; run `featurestore check --repair` ({exc})") from None
        # A mapped batch costs what describes it; one that was read, its megabyte.
        self._batch = functools.lru_cache(KEPT_MAPPED if mapped else KEPT_READ)(self._columns)

    def _columns(self, number: int) -> dict[str, pyarrow.Array]:
        batch = self._reader.get_batch(number)
        return dict(zip(batch.schema.names, batch.columns, strict=True))

    def row(self, number: int, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """The row at a place, counted from 0."""
        found, at = self._batch(number // BATCH_ROWS), number % BATCH_ROWS
        return {name: found[name][at].as_py() for name in columns or found}

    def table(self, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Every row."""
        found = self._reader.read_all()
        return found if columns is None else found.select(list(columns))
