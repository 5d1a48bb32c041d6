"""Rows on their way to a table of the store, in commits of many: labels and scores."""

from __future__ import annotations

import collections
import datetime
import time
from collections.abc import Sequence
from typing import Any

import pyarrow

import featurestore

BATCH, SECONDS = 2000, 60.0  # rows of one commit, or the time it holds
TOOL = f"featurestore {featurestore.__version__}"


class Rows:
    """Rows of one table, committed when there are many or after a while. Each names its dictionary."""

    def __init__(self, store: Any, table: str, doing: str):
        """`doing` is what the store's log calls the writer."""
        self._store, self._table, self._doing = store, table, doing
        self._schema = store.sql(f"FROM stored.{table} LIMIT 0").schema
        self._rows: list[dict[str, Any]] = []
        self._written_at = time.monotonic()
        self.written = 0

    @property
    def held(self) -> int:
        """Rows not committed yet."""
        return len(self._rows)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return self.held >= BATCH or (self.held > 0 and time.monotonic() - self._written_at > SECONDS)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Take rows, to be committed later. Each gets the tool and the time that it was made with and at."""
        stamp = {"tool": TOOL, "created_at": datetime.datetime.now(datetime.UTC)}
        self._rows += [row | stamp for row in rows]

    def write(self) -> None:
        """Commit, in one step."""
        if self._rows:
            by_dictionary = collections.defaultdict(list)
            for row in self._rows:
                by_dictionary[row["dictionary"]].append(row)
            with self._store.writer(f"{TOOL} {self._doing}") as writer:
                for dictionary, rows in by_dictionary.items():
                    writer.add(self._table, pyarrow.Table.from_pylist(rows, schema=self._schema), key=dictionary)
        self.written += self.held
        self._rows, self._written_at = [], time.monotonic()
