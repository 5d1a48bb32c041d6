"""The fence: what a statement that a caller wrote may name. Everything else is refused, by its name.

It may name the views and tables of schema.sql, its own common table expressions, and the functions of
`allowed_functions`. DuckDB's parser gives the statement as a tree, in which every name is looked up here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NoReturn

from featurestore.display.text import nearest_name
from featurestore.errors import BadRequest
from featurestore.sql.allowed_functions import AGGREGATE, OTHER_SEARCHES, SCALAR, SEARCHES, TABLE, WINDOW
from featurestore.tables import schema

ROW_FUNCTIONS = SCALAR | AGGREGATE
# Kinds of nodes of the tree. One that is not listed, of a newer DuckDB or of a statement that writes, is refused.
QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
EXPRESSIONS = {
    *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"),
    *("LAMBDA", "LAMBDA_REF", "OPERATOR", "PARAMETER", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW"),
}
SOURCES = {"BASE_TABLE", "TABLE_FUNCTION", "SHOW_REF", "EMPTY", "JOIN", "SUBQUERY", "EXPRESSION_LIST", "PIVOT"}
LISTS_OF_TABLES = {'"tables"', "__show_tables_expanded"}  # SHOW TABLES, and SHOW ALL TABLES or DESCRIBE
NOTHING: frozenset[str] = frozenset()

Names = frozenset[str]


def check_query(tree: dict[str, Any], tables: Names = NOTHING) -> None:
    """Raise BadRequest, with the name, for a table or function that a parsed SELECT may not name.

    `tables` are the names of further tables, such as the hits of searches.
    """
    pending: list[tuple[Any, Names]] = [(tree["statements"], tables)]
    while pending:
        value, known = pending.pop()
        if isinstance(value, list):
            pending.extend((item, known) for item in value)
        elif isinstance(value, dict):
            pending.extend(_check_node(value, known))


def check_expression(tree: Any, name: str) -> None:
    """Raise BadRequest for an expression with a subquery, or with a function that is not one of values.

    `name` says in the message what the expression is.
    """
    pending = [tree]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        elif isinstance(value, dict):
            kind = value.get("class")
            if kind == "SUBQUERY":
                raise BadRequest(f"{name}: it has a subquery; over HTTP that takes a key with the scope sql")
            if kind == "WINDOW":
                raise BadRequest(f"{name}: {value.get('function_name')}() over rows; a condition is about one feature")
            if isinstance(kind, str) and kind not in EXPRESSIONS:
                raise BadRequest(f"{name}: {kind} is no part of a condition")
            if kind == "FUNCTION":
                _check_function(value, SCALAR, name)
            pending.extend(value.values())


def _check_node(node: dict[str, Any], known: Names) -> Iterator[tuple[Any, Names]]:
    """Check one node, and yield what it holds with the names of tables that are known there."""
    kind, type_ = node.get("class"), node.get("type")
    if isinstance(kind, str):
        if kind not in EXPRESSIONS:
            _refuse(kind.lower())
        if kind == "FUNCTION":
            _check_function(node, ROW_FUNCTIONS)
        elif kind == "WINDOW":
            _check_function(node, AGGREGATE | WINDOW)
    elif isinstance(type_, str) and type_.endswith("_NODE") and type_ not in QUERIES:
        raise BadRequest("SQL: only reading is possible here, with SELECT; a part of this writes")
    if type_ == "RECURSIVE_CTE_NODE":
        known |= {node["cte_name"].lower()}
    for entry in (node.get("cte_map") or {}).get("map") or []:
        # A common table expression can name those before it, and itself where its node says that it is recursive.
        yield entry["value"], known
        known |= {entry["key"].lower()}
    if "from_table" in node:
        _check_source(node["from_table"], known)
    if type_ == "JOIN":
        _check_source(node["left"], known)
        _check_source(node["right"], known)
    elif type_ == "PIVOT":
        _check_source(node["source"], known)
    elif type_ == "BASE_TABLE":
        _check_table(node, known)
    elif type_ == "SHOW_REF" and not node.get("query") and node.get("table_name") not in LISTS_OF_TABLES:
        _refuse(f"SHOW {node.get('table_name', '')}")
    for name, value in node.items():
        if type_ == "TABLE_FUNCTION" and name == "function":
            _check_function(value, TABLE)
            yield value["arguments"], known
        elif name != "cte_map":
            yield value, known


def _check_source(source: Any, known: Names) -> None:
    if source and source.get("type") not in SOURCES:
        _refuse(str(source.get("type")))


def _check_function(node: dict[str, Any], allowed: Names, name: str = "SQL") -> None:
    function = str(node.get("function_name", "")).lower()
    if function not in _lower(allowed):
        searches = SEARCHES if allowed is TABLE else ()
        meant = OTHER_SEARCHES.get(function) if searches else None
        meant = meant or nearest_name(function, [*searches, *sorted(_lower(allowed))])
        _refuse(f"{function}()", name, f", did you mean {meant}()?" if meant else "")


@functools.cache
def _lower(names: Names) -> Names:
    return frozenset(name.lower() for name in names)


def _check_table(node: dict[str, Any], known: Names) -> None:
    path = [str(name) for name in (node.get("qualified_name") or {}).get("path") or []]
    fields = [str(node[name]) for name in ("catalog_name", "schema_name", "table_name") if node.get(name)]
    if node.get("at_clause"):
        _refuse("AT")
    for spelled in (path or fields, fields):
        lower = tuple(name.lower() for name in spelled)
        if len(lower) == 1 and lower[0] in known:
            continue
        if len(lower) == 2 and lower[0] == "recurring" and lower[1] in known:
            continue
        if lower not in _readable():
            views = [".".join(name) for name in _readable() if len(name) == 1]
            meant = nearest_name(lower[-1], sorted(views))
            question = f", did you mean {meant}?" if meant else ";"
            _refuse(".".join(spelled), hint=f"{question} `show tables` lists what there is")


@functools.cache
def _readable() -> frozenset[tuple[str, ...]]:
    """Return the names of the views and tables of schema.sql, alone and after their schema's."""
    views = {column.relation for column in schema.columns()}
    names = {(view,) for view in views} | {("main", view) for view in views} | {("stored", t) for t in schema.tables()}
    return frozenset(names | {("stored", "labelled_features"), ("stored", "unlabelled_features")})


def _refuse(what: str, name: str = "SQL", hint: str = "") -> NoReturn:
    raise BadRequest(f"{name}: {what:.200} cannot be used here{hint}")
