"""Checks of a statement that a caller wrote, in order of cost: its text, its parse, then every name in it."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from featurestore.errors import BadRequest
from featurestore.sql import fence, statements
from featurestore.sql.text_scan import check_text

KEPT = 256  # statements whose check is remembered
MOST_KEPT = 10_000  # characters of one of them
_EXPLAIN = re.compile(r"explain\s+(?:\(\s*format\s+\w+\s*\)\s+)?(?P<analyze>analyze\b)?", re.IGNORECASE)


class CheckedText(NamedTuple):
    """A statement that may run, and the names of its parameters."""

    statement: str
    parameters: frozenset[str]


def check_statement(statement: str, tables: frozenset[str] = fence.NOTHING) -> CheckedText:
    """Return the statement as it may run; `tables` are tables that it may name beside those of schema.sql.

    Raises BadRequest for anything but one SELECT (or EXPLAIN of one) that names only what it may.
    """
    return (_check_again if len(statement) <= MOST_KEPT else _check)(statement, tables)


def _check(statement: str, tables: frozenset[str]) -> CheckedText:
    check_text(statement, statements.MAX_STATEMENT, "SQL")
    parameters = frozenset(statements.check_select(statement))
    query = statements.strip_semicolon(statement)
    # DuckDB shows no tree of an EXPLAIN, so what it explains is checked alone and put behind the word again.
    explain = _EXPLAIN.match(query)
    if explain and explain["analyze"]:
        raise BadRequest("SQL: EXPLAIN ANALYZE cannot be used here, since it names files; EXPLAIN can")
    fence.check_query(statements.parse(query[explain.end() :] if explain else query), tables)
    return CheckedText(query, parameters)


_check_again = functools.lru_cache(KEPT)(_check)
