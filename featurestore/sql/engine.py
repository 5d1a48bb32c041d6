"""Guarded SQL: one SELECT at a time over the views of schema.sql; no writing, no files beyond the store, with limits.

All reading goes through here, the owner's and a visitor's alike: one DuckDB in memory for each snapshot of the store,
locked down before the first query. A visitor's query runs in a separate process besides (process_pool.py), because some
single function calls can neither be interrupted nor held to a memory limit from inside.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import duckdb
import pyarrow

from featurestore.errors import BadRequest, BadStore, FeatureStoreError, Unavailable
from featurestore.sql.checks import check_statement
from featurestore.sql.conditions import Selection, compose
from featurestore.sql.results import check_types, check_values
from featurestore.sql.rules import rules_of
from featurestore.sql.statements import find_file_error, shorten_error
from featurestore.storage.directory import Directory
from featurestore.storage.locations import hide_path
from featurestore.storage.log import Snapshot
from featurestore.tables import schema
from featurestore.tables.best_label import stale_features
from featurestore.values.parameters import Parameters, check_names
from featurestore.values.row_stream import RowStream

TRUNCATED = b"featurestore.truncated"
BATCH_ROWS = 8192
TOO_LARGE = "the query needs more memory than it may use"


class Engine:
    """DuckDB over one snapshot of a store. Safe to share between threads: each query has its own cursor."""

    def __init__(
        self,
        directory: Directory,
        snapshot: Snapshot,
        memory: int | None = None,
        limit_parsing: Callable[[], AbstractContextManager[None]] = nullcontext,
        is_served: bool = False,
    ):
        """`memory` limits DuckDB, in bytes; None leaves DuckDB's default, 80 % of the machine's memory.

        A caller's statement is parsed inside `limit_parsing()`: nothing interrupts DuckDB's parser. With `is_served`
        its callers are others than the store's owner, and do not see paths of this machine.
        """
        self.commit = snapshot.commit
        self.broken = False  # whether DuckDB failed inside, after which it answers nothing more
        self._limit_parsing = limit_parsing
        self._directories = directory.storage.sql_directories()
        self._con = duckdb.connect(
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        )
        stale = {part.file for part in stale_features(snapshot)}
        files = {table: [directory.sql_path(part) for part in snapshot.parts(table)] for table in schema.tables()}
        for name, wanted in (("labelled_features", False), ("unlabelled_features", True)):
            files[name] = [directory.sql_path(p) for p in snapshot.parts("features") if (p.file in stale) == wanted]
        try:
            directory.storage.register(self._con, {part.file: part.bytes for part in snapshot.all()})
            self._lock_down(files.values(), memory)
            schema.create(self._con, files, rules_of(snapshot, directory.location))
            if is_served:
                self._hide_paths()
        except duckdb.Error as exc:
            raise find_file_error(exc) or BadStore(f"{directory.location}: {self._describe(exc)}") from None
        if problem := schema.find_foreign_type(self._con):
            raise BadStore(f"{directory.location}: {problem}; `featurestore check` says in which file")

    def _lock_down(self, files: Iterable[list[str]], memory: int | None) -> None:
        """Take from DuckDB all but reading these files, before it is given anything that a store or a caller says."""
        # The parts of this snapshot and nothing beside them: neither the store's log nor parts that were replaced.
        self._run("SET allowed_paths = $paths", {"paths": _list_spellings(files)})
        self._run("SET parquet_metadata_cache = true")
        self._run("SET temp_directory = ''")
        self._run("SET python_enable_replacements = false")  # a variable of this program is no table
        if memory is not None:
            self._run("SET memory_limit = $limit", {"limit": f"{memory // 1_000_000} MB"})
        self._run("SET enable_external_access = false")
        self._run("SET lock_configuration = true")

    def _hide_paths(self) -> None:
        """Take from the rows of dictionaries where on this machine their models and weights lie."""
        rows = self._con.execute(
            "SELECT dictionary, import_location, model_location, weights_location FROM stored.dictionaries"
        ).fetchall()
        for dictionary, *places in rows:
            hidden = [hide_path(place) for place in places]
            if hidden != places:
                self._con.execute(
                    "UPDATE stored.dictionaries SET import_location = ?, model_location = ?, weights_location = ? "
                    "WHERE dictionary = ?",
                    [*hidden, dictionary],
                ).fetchall()

    def _run(self, statement: str, parameters: Mapping[str, Any] | None = None) -> None:
        self._con.execute(statement, parameters).fetchall()

    def stream(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        tables: Mapping[str, pyarrow.Table] | None = None,
        timeout: float | None = None,
    ) -> RowStream:
        """Return the result of one SELECT that a caller wrote, in batches as DuckDB makes them.

        `parameters` are values by name, as `parameters.normalize` gives them; `tables` can be named in the statement.
        Raises BadRequest for anything else than one readable SELECT with these parameters; the stream raises
        Unavailable when it takes longer than `timeout` seconds in all, or too much memory.
        """
        with self._limit_parsing():
            checked = check_statement(statement, frozenset(tables or ()))
        check_names(checked.parameters, parameters or {})
        return RowStream(self._batches(checked.statement, parameters or {}, tables or {}, timeout))

    def select(self, selection: Selection, timeout: float | None = None) -> RowStream:
        """Return dictionary and feature of the features of a selection, in batches.

        Raises BadRequest for a condition that is not one, and as `stream` does.
        """
        with self._limit_parsing():
            statement, parameters = compose(selection)
        return RowStream(self._batches(statement, parameters, {}, timeout))

    def _batches(
        self,
        statement: str,
        parameters: Mapping[str, Any],
        tables: Mapping[str, pyarrow.Table],
        timeout: float | None,
    ) -> Generator[Any, None, None]:
        with self._cursor(timeout, tables) as cursor:
            relation = cursor.sql(statement, params=dict(parameters) or None)
            check_types(relation.columns, relation.types)
            reader = relation.to_arrow_reader(BATCH_ROWS)
            yield reader.schema
            for batch in reader:
                check_values(batch)
                yield batch

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
            raise timeout_error(timeout) from None
        except duckdb.OutOfMemoryException as exc:
            raise memory_error(self._describe(exc)) from None
        except duckdb.PermissionException as exc:
            raise BadRequest(f"SQL may only read the store's tables: {self._describe(exc)}") from None
        except duckdb.IOException as exc:
            raise BadStore(f"a file of the store cannot be read: {self._describe(exc)}") from None
        except (duckdb.FatalException, duckdb.InternalException) as exc:
            self.broken = True
            raise BadRequest(
                f"SQL: DuckDB failed at this statement; write it otherwise ({self._describe(exc)})"
            ) from None
        except duckdb.Error as exc:
            raise find_file_error(exc) or BadRequest(f"SQL: {self._describe(exc)}") from None
        except (pyarrow.ArrowException, OSError) as exc:  # what fails after the first batch comes through Arrow
            self.broken = self.broken or str(exc).lstrip().startswith(("INTERNAL", "FATAL"))
            raise find_file_error(exc) or _convert_arrow_error(self._describe(exc), timeout) from None
        except MemoryError:
            raise memory_error("the machine has no more") from None
        finally:
            if timer:
                timer.cancel()
            cursor.close()

    def _describe(self, exc: Exception) -> str:
        """Return an error's text in which files of the store have names relative to it."""
        text = str(exc)
        for directory in self._directories:
            text = text.replace(directory.rstrip("/") + "/", "")
        return shorten_error(text)

    def close(self) -> None:
        """Close the store's files."""
        self._con.close()


def _convert_arrow_error(text: str, timeout: float | None) -> FeatureStoreError:
    # An error begins with its kind; what follows may quote the statement, which can hold any text.
    if text.startswith("INTERRUPT"):
        return timeout_error(timeout)
    if text.startswith("Out of Memory"):
        return memory_error(text)
    if text.startswith("IO Error"):
        return BadStore(f"a file of the store cannot be read: {text}")
    return BadRequest(f"SQL: {text}")


def _list_spellings(files: Iterable[list[str]]) -> list[str]:
    """Return the files as they are named and, of this machine's, without escapes and without symbolic links."""
    names = {name for of_table in files for name in of_table}
    # DuckDB looks a name with an escape up as a pattern, and then for the file that it finds.
    here = {re.sub(r"\[([*?\[])\]", r"\1", name) for name in names if "://" not in name}
    folders = {folder: os.path.realpath(folder) for folder in map(os.path.dirname, here)}
    resolved = {f"{folders[os.path.dirname(name)]}/{os.path.basename(name)}" for name in here}
    return sorted(names | here | resolved)


def timeout_error(timeout: float | None) -> Unavailable:
    """Return the error of a query that ran out of time."""
    duration = f"longer than {timeout:g} s" if timeout else "too long"
    return Unavailable(f"the query ran {duration} and was stopped; narrow it")


def memory_error(reason: str) -> Unavailable:
    """Return the error of a query that ran out of memory."""
    return Unavailable(f"{TOO_LARGE}; narrow it ({reason})")


def collect(stream: RowStream, max_rows: int | None) -> pyarrow.Table:
    """Return the rows of a stream as a table.

    Of more than `max_rows` rows it has the first ones, and the metadata key `featurestore.truncated`.
    """
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
