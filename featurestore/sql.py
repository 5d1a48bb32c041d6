"""Guarded SQL: one SELECT at a time over the views of schema.sql; no writing, no files beyond the store, with limits.

All reading goes through here, the owner's and a stranger's alike: one DuckDB in memory for each snapshot of the store,
locked down before the first query.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow

from featurestore import schema
from featurestore.errors import BadRequest, BadStore, Unavailable
from featurestore.parts import Directory, Snapshot

TRUNCATED = b"featurestore.truncated"


class Engine:
    """DuckDB over one snapshot of a store. Safe to share between threads: every query has a cursor of its own."""

    def __init__(self, directory: Directory, snapshot: Snapshot):
        self._con = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        files = {table: [str(directory.full_path(part)) for part in snapshot.parts(table)] for table in schema.tables()}
        try:
            schema.create(self._con, files)
        except duckdb.Error as exc:
            raise BadStore(f"{directory.path}: {_first_line(exc)}") from None
        self._run(f"SET allowed_directories = ['{_quoted(directory.path.resolve())}', '{_quoted(directory.path)}']")
        self._run("SET parquet_metadata_cache = true")
        self._run("SET temp_directory = ''")
        self._run("SET enable_external_access = false")
        self._run("SET lock_configuration = true")

    def _run(self, statement: str) -> None:
        self._con.execute(statement).fetchall()

    def select(self, statement: str, max_rows: int | None = None, timeout: float | None = None) -> pyarrow.Table:
        """The result of one SELECT that somebody else wrote.

        With more than `max_rows` rows, the first ones, and the metadata key `featurestore.truncated`. Raises BadRequest
        for anything else than one readable SELECT, Unavailable when it runs past `timeout` seconds.
        """
        check_select(statement)
        with self._cursor(timeout) as cursor:
            reader = cursor.sql(_bare(statement)).to_arrow_reader(8192)
            batches, rows = [], 0
            for batch in reader:
                batches.append(batch)
                rows += batch.num_rows
                if max_rows is not None and rows > max_rows:
                    break
            table = pyarrow.Table.from_batches(batches, schema=reader.schema)
        if max_rows is not None and rows > max_rows:
            table = table.slice(0, max_rows).replace_schema_metadata({TRUNCATED: str(max_rows).encode()})
        return table

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one of our own statements."""
        with self._cursor(None) as cursor:
            return cursor.execute(statement, list(parameters)).fetchall()

    def table(self, statement: str, parameters: Sequence[Any] = ()) -> pyarrow.Table:
        """The result of one of our own statements."""
        with self._cursor(None) as cursor:
            return cursor.sql(statement, params=list(parameters)).to_arrow_table()

    @contextmanager
    def _cursor(self, timeout: float | None) -> Iterator[duckdb.DuckDBPyConnection]:
        cursor = self._con.cursor()
        timer = threading.Timer(timeout, cursor.interrupt) if timeout else None
        try:
            if timer:
                timer.start()
            # A SELECT can carry a writing CTE (WITH x AS (DELETE ... RETURNING *) ...): the transaction refuses it.
            cursor.execute("BEGIN TRANSACTION READ ONLY").fetchall()
            yield cursor
        except duckdb.InterruptException:
            raise Unavailable(f"the query ran longer than {timeout:g} s and was stopped; narrow it") from None
        except duckdb.OutOfMemoryException as exc:
            raise Unavailable(f"the query needs more memory than it may use; narrow it ({_first_line(exc)})") from None
        except duckdb.PermissionException as exc:
            raise BadRequest(f"SQL may only read the store's tables: {_first_line(exc)}") from None
        except duckdb.IOException as exc:
            raise BadStore(f"a file of the store cannot be read: {_first_line(exc)}") from None
        except duckdb.Error as exc:
            raise BadRequest(f"SQL: {_first_line(exc)}") from None
        finally:
            if timer:
                timer.cancel()
            cursor.close()

    def close(self) -> None:
        """Let go of the files."""
        self._con.close()


def check_select(statement: str) -> None:
    """Raises BadRequest unless `statement` is exactly one SELECT (or FROM, WITH, VALUES, DESCRIBE)."""
    try:
        parsed = duckdb.extract_statements(statement)
    except duckdb.Error as exc:
        raise BadRequest(f"SQL: {_first_line(exc)}") from None
    if len(parsed) != 1:
        found = "nothing" if not parsed else f"{len(parsed)} statements"
        raise BadRequest(f"SQL: one SELECT at a time is taken; found {found}")
    kind = parsed[0].type
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise BadRequest(f"SQL: only reading is possible here, with SELECT; this is {kind.name}")


def condition(where: str) -> str:
    """`where` as a condition to put after WHERE. Raises BadRequest when it is not one SQL expression."""
    statement = f"SELECT 1 WHERE (\n{where}\n)"
    check_select(statement)
    with duckdb.connect() as con:
        raw = con.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()[0][0]
    node = json.loads(raw)["statements"][0]["node"]
    # Brackets can be closed early, to smuggle in a UNION or a LIMIT: then there is more than a condition.
    more = [node.get(name) for name in ("modifiers", "having", "qualify", "group_expressions")]
    if node["type"] != "SELECT_NODE" or any(more) or node["from_table"]["type"] != "EMPTY":
        raise BadRequest(f"where: '{where}' is more than a condition")
    return f"(\n{where}\n)"


def _bare(statement: str) -> str:
    return statement.strip().rstrip(";")


def _first_line(exc: Exception) -> str:
    lines = [line for line in str(exc).strip().splitlines() if line.strip()]
    # DuckDB points at the place with a line of carets; without a fixed-width screen they say little.
    return " ".join(line for line in lines if not line.lstrip().startswith("^"))[:500]


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
