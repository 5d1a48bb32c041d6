"""Statements as DuckDB's own parser sees them: how many there are, of which kind, and as a tree."""

from __future__ import annotations

import functools
import json
import os
import re
from typing import Any

import duckdb

from featurestore.errors import BadRequest, BadStore, FeatureStoreError, Unavailable

MAX_STATEMENT = 200_000  # characters

_TRACEBACK = "Traceback (most recent call last)"
_FILE_ERROR = re.compile(r"^(?:[\w.]+\.)?(BadStore|Unavailable): (.*)$", re.MULTILINE)


def check_select(statement: str) -> set[str]:
    """Return the names of the statement's parameters; those written `?` are called "1", "2" and so on.

    Raises BadRequest unless it is exactly one SELECT (or FROM, WITH, VALUES, DESCRIBE).
    """
    if len(statement) > MAX_STATEMENT:
        raise BadRequest(f"SQL: the statement has {len(statement):,} characters; {MAX_STATEMENT:,} are taken at most")
    try:
        parsed = duckdb.extract_statements(statement)
    except duckdb.Error as exc:
        raise BadRequest(f"SQL: {shorten_error(exc)}") from None
    if len(parsed) != 1:
        count = "nothing" if not parsed else f"{len(parsed)} statements"
        raise BadRequest(f"SQL: one SELECT at a time is taken; found {count}")
    try:
        kind = parsed[0].type
    except ValueError:  # a kind of statement that DuckDB's Python has no name for
        raise BadRequest("SQL: only reading is possible here, with SELECT; this is something else") from None
    if kind == duckdb.StatementType.MULTI and "pivot" in statement.lower():
        raise BadRequest(
            "SQL: PIVOT has to name its columns here, as in: PIVOT features ON state IN ('live', 'dead') ..."
        )
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise BadRequest(f"SQL: only reading is possible here, with SELECT; this is {kind.name}")
    return set(parsed[0].named_parameters)


def parse(statement: str) -> dict[str, Any]:
    """Return the syntax tree of a SELECT. Raises BadRequest for a statement that DuckDB cannot show as a tree."""
    with _parser(os.getpid()).cursor() as con:
        raw = con.execute("SELECT json_serialize_sql(?)", [strip_semicolon(statement)]).fetchall()[0][0]
    try:
        tree: dict[str, Any] = json.loads(raw)
    except RecursionError:
        raise BadRequest("SQL: the statement is nested too deep; split it up") from None
    if tree["error"]:
        raise BadRequest(f"SQL: {tree['error_message']}")
    return tree


def unparse(tree: dict[str, Any]) -> str:
    """Return the SQL of a syntax tree that `parse` returned."""
    with _parser(os.getpid()).cursor() as con:
        statement: str = con.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchall()[0][0]
    return statement


@functools.cache
def _parser(process: int) -> duckdb.DuckDBPyConnection:
    """Return a connection of this process: one that was made before a fork has no threads any more."""
    return duckdb.connect()


def strip_semicolon(statement: str) -> str:
    """Return the statement without spaces around it and semicolons at its end."""
    return statement.strip().rstrip(";")


def find_file_error(error: Exception) -> FeatureStoreError | None:
    """Return the error of a file system written in Python, which DuckDB hands on as a traceback; None for its own."""
    # DuckDB's own errors begin with their kind; what follows may quote the statement, which can hold any text.
    text = str(error).lstrip()
    match = _FILE_ERROR.search(text) if text.startswith(_TRACEBACK) else None
    if match is None:
        return None
    return (Unavailable if match[1] == "Unavailable" else BadStore)(match[2])


def shorten_error(error: Exception | str) -> str:
    """Return an error of DuckDB on one line of at most 500 characters, without its lines of carets."""
    text = str(error).strip()
    if text.startswith(_TRACEBACK):  # from a file system written in Python
        text = next((line for line in text.splitlines()[1:] if line[:1].strip()), text)
    lines = [line for line in text.splitlines() if line.strip()]
    # DuckDB points at the place with a line of carets; without a fixed-width screen they say little.
    joined = " ".join(line for line in lines if not line.lstrip().startswith("^"))
    return re.sub(r"\s+", " ", joined)[:500]
