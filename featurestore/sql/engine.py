"""Guarded SQL: one SELECT at a time over the views of schema.sql; no writing, no files beyond the store, with limits.

All reading goes through here, the owner's and a stranger's alike: one DuckDB in memory for each snapshot of the store,
locked down before the first query. A stranger's query runs in a process of its own besides (workers.py), because some
single function calls can neither be interrupted nor held to a memory limit from inside.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow

from featurestore.errors import BadRequest, BadStore, FeatureStoreError, Unavailable
from featurestore.sql.statements import bare, check_select, first_line
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.tables import schema
from featurestore.tables.best_label import own_rule, stale_features
from featurestore.values.parameters import Parameters, check_names
from featurestore.values.row_stream import RowStream

TRUNCATED = b"featurestore.truncated"
BATCH_ROWS = 8192
TOO_LARGE = "the query needs more memory than it may use"


class Engine:
    """DuckDB over one snapshot of a store. Safe to share between threads: every query has a cursor of its own."""

    def __init__(self, directory: Directory, snapshot: Snapshot, memory: int | None = None):
        """`memory` is the most DuckDB may use, in bytes; None leaves it its own default, 80 % of the machine's."""
        self.commit = snapshot.commit
        self._con = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        stale = {part.file for part in stale_features(snapshot)}
        files = {table: [directory.sql_path(part) for part in snapshot.parts(table)] for table in schema.tables()}
        for name, wanted in (("labelled_features", False), ("unlabelled_features", True)):
            files[name] = [directory.sql_path(p) for p in snapshot.parts("features") if (p.file in stale) == wanted]
        try:
            directory.storage.register(self._con)
            schema.create(self._con, files, own_rule(snapshot))
        except duckdb.Error as exc:
            raise BadStore(f"{directory.location}: {first_line(exc)}") from None
        self._run("SET allowed_directories = $directories", {"directories": directory.storage.sql_directories()})
        self._run("SET parquet_metadata_cache = true")
        self._run("SET temp_directory = ''")
        self._run("SET python_enable_replacements = false")  # no variable of this program is a table
        if memory is not None:
            self._run("SET memory_limit = $limit", {"limit": f"{memory // 1_000_000} MB"})
        self._run("SET enable_external_access = false")
        self._run("SET lock_configuration = true")

    def _run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._con.execute(statement, parameters).fetchall()

    def stream(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        tables: Mapping[str, pyarrow.Table] | None = None,
        timeout: float | None = None,
    ) -> RowStream:
        """Return the result of one SELECT that a caller wrote, in batches as they come.

        `parameters` are values by name, as `parameters.normalize` gives them; `tables` can be named in the statement.
        Raises BadRequest for anything else than one readable SELECT with these parameters; the stream raises
        Unavailable when it takes longer than `timeout` seconds in all, or too much memory.
        """
        check_names(check_select(statement), parameters or {})
        return RowStream(self._batches(bare(statement), parameters or {}, tables or {}, timeout))

    def _batches(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        tables: Mapping[str, pyarrow.Table],
        timeout: float | None,
    ) -> Generator[Any, None, None]:
        with self._cursor(timeout, tables) as cursor:
            reader = cursor.sql(statement, params=dict(parameters) or None).to_arrow_reader(BATCH_ROWS)
            yield reader.schema
            yield from reader

    def rows(self, statement: str, parameters: Parameters = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one of our own statements."""
        with self._cursor(None) as cursor:
            return cursor.execute(statement, parameters).fetchall()

    def table(self, statement: str, parameters: Parameters = ()) -> pyarrow.Table:
        """Return the result of one of our own statements."""
        with self._cursor(None) as cursor:
            return cursor.sql(statement, params=parameters).to_arrow_table()

    @contextmanager
    def _cursor(
        self, timeout: float | None, tables: Mapping[str, pyarrow.Table] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._con.cursor()
        timer = threading.Timer(timeout, cursor.interrupt) if timeout else None
        try:
            for name, table in (tables or {}).items():
                cursor.register(name, table)
            if timer:
                timer.daemon = True
                timer.start()
            # A SELECT can carry a writing CTE (WITH x AS (DELETE ... RETURNING *) ...): the transaction refuses it.
            cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
            yield cursor
        except duckdb.InterruptException:
            raise too_slow(timeout) from None
        except duckdb.OutOfMemoryException as exc:
            raise too_large(first_line(exc)) from None
        except duckdb.PermissionException as exc:
            raise BadRequest(f"SQL may only read the store's tables: {first_line(exc)}") from None
        except duckdb.IOException as exc:
            raise BadStore(f"a file of the store cannot be read: {first_line(exc)}") from None
        except duckdb.Error as exc:
            raise BadRequest(f"SQL: {first_line(exc)}") from None
        except (pyarrow.ArrowException, OSError) as exc:  # what fails after the first batch comes through Arrow
            raise _through_arrow(exc, timeout) from None
        except MemoryError:
            raise too_large("no more is to be had") from None
        finally:
            if timer:
                timer.cancel()
            cursor.close()

    def close(self) -> None:
        """Let go of the files."""
        self._con.close()


def _through_arrow(exc: Exception, timeout: float | None) -> FeatureStoreError:
    text = first_line(exc)
    if "INTERRUPT" in text:
        return too_slow(timeout)
    if "Out of Memory" in text:
        return too_large(text)
    return BadStore(f"a file of the store cannot be read: {text}") if "IO Error" in text else BadRequest(f"SQL: {text}")


def too_slow(timeout: float | None) -> Unavailable:
    """The error of a query that ran out of time."""
    said = f"longer than {timeout:g} s" if timeout else "too long"
    return Unavailable(f"the query ran {said} and was stopped; narrow it")


def too_large(why: str) -> Unavailable:
    """The error of a query that ran out of memory."""
    return Unavailable(f"{TOO_LARGE}; narrow it ({why})")


def gathered(stream: RowStream, max_rows: int | None) -> pyarrow.Table:
    """The rows of a stream; with more than `max_rows`, the first ones, and the metadata key `featurestore.truncated`."""
    batches, rows = [], 0
    for batch in stream:
        batches.append(batch)
        rows += batch.num_rows
        if max_rows is not None and rows > max_rows:
            break
    table = pyarrow.Table.from_batches(batches, schema=stream.schema)
    if max_rows is not None and rows > max_rows:
        table = table.slice(0, max_rows).replace_schema_metadata({TRUNCATED: str(max_rows).encode()})
    return table
