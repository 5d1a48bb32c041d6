"""Rows for one table of the store, labels or scores, committed many at a time."""

from __future__ import annotations

import collections
import datetime
import time
from collections.abc import Sequence
from typing import Any

import pyarrow

import featurestore
from featurestore import Store

BATCH, SECONDS = 2000, 60.0  # rows of one commit, or the time after which there is one
TOOL = f"featurestore {featurestore.__version__}"

Row = dict[str, Any]


class RowBuffer:
    """Rows of one table, committed when there are many or after a while. Each row names its dictionary."""

    def __init__(self, store: Store, table: str, purpose: str):
        """`purpose` is what the store's log calls the writer."""
        self._store, self._table, self._purpose = store, table, purpose
        self._schema = store.sql(f"FROM stored.{table} LIMIT 0").schema
        self._rows: list[Row] = []
        self._written_at = time.monotonic()
        self.written = 0

    @property
    def pending(self) -> int:
        """Number of rows that are not committed yet."""
        return len(self._rows)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return self.pending >= BATCH or (self.pending > 0 and time.monotonic() - self._written_at > SECONDS)

    def add(self, rows: Sequence[Row]) -> None:
        """Take rows, to be committed later. Each gets the name of this tool and the present time."""
        stamp = {"tool": TOOL, "created_at": datetime.datetime.now(datetime.UTC)}
        self._rows += [row | stamp for row in rows]

    def write(self) -> None:
        """Commit all rows in one step."""
        if self._rows:
            by_dictionary = collections.defaultdict(list)
            for row in self._rows:
                by_dictionary[row["dictionary"]].append(row)
            with self._store.writer(f"{TOOL} {self._purpose}") as writer:
                for dictionary, rows in by_dictionary.items():
                    writer.add(self._table, pyarrow.Table.from_pylist(rows, schema=self._schema), key=dictionary)
        self.written += self.pending
        self._rows, self._written_at = [], time.monotonic()
