"""The rule for the best label: an SQL expression that a store carries, checked before DuckDB sees it as one.

A store may come from anybody, so its rule is no more than a condition over HTTP is: an expression over one label's
columns, with functions of values alone.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from featurestore.errors import BadRequest, BadStore
from featurestore.sql import fence, statements
from featurestore.sql.text_scan import check_text
from featurestore.storage.log import Snapshot
from featurestore.tables import schema
from featurestore.tables.best_label import own_rule

MOST_RULE = 20_000  # characters
_PARAMETERS = re.compile(r"CREATE MACRO label_rank\(([^)]*)\)")
_NOW = ("current_date", "current_timestamp", "localtimestamp")  # written like columns
_MORE = ("modifiers", "having", "qualify", "group_expressions", "group_sets", "where_clause", "sample")


def check_rule(rule: str) -> None:
    """Check that `rule` is one SQL expression over the columns of a label, and that DuckDB can compute it.

    Raises BadRequest otherwise.
    """
    check_expression(rule)
    schema.try_rule(rule)


def check_expression(rule: str) -> None:
    """Check that `rule` is one SQL expression over the columns of a label, without computing anything.

    Raises BadRequest for a query in it, a function that is not one of values, a parameter, or another column.
    """
    if not rule.strip():
        raise BadRequest("rule: it is empty; name what ranks labels, as in: votes")
    check_text(rule, MOST_RULE, "rule")
    statement = f"SELECT (\n{rule}\n)"
    if names := statements.check_select(statement):
        raise BadRequest(f"rule: a rule takes no parameters, and this has ${min(names)}; write the value instead")
    node = statements.parse(statement)["statements"][0]["node"]
    simple = node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1 and node["from_table"]["type"] == "EMPTY"
    if (
        not simple
        or any(node.get(name) for name in _MORE)
        or node["cte_map"]["map"]
        or _has(node, ("SUBQUERY", "STAR"))
    ):
        raise BadRequest(f"rule: '{rule:.200}' is not one expression; a rule is as in: votes, or coalesce(score, 0.5)")
    fence.check_expression(node["select_list"], "rule")
    for column in _find_columns(node["select_list"]):
        if column not in (*columns(), *_NOW):
            raise BadRequest(f"rule: {column:.100} is no column of a label; there are: {', '.join(columns())}")


@functools.cache
def columns() -> tuple[str, ...]:
    """Return the names that a rule may use, as schema.sql has them."""
    names = next(match[1] for text in schema.statements() if (match := _PARAMETERS.search(text)))
    return tuple(name.strip() for name in names.split(","))


def rule_of(snapshot: Snapshot, location: str) -> str | None:
    """Return the rule that a store carries, checked; None where schema.sql's applies. Raises BadStore."""
    rule = own_rule(snapshot)
    if rule is None:
        return None
    try:
        check_expression(rule)
    except BadRequest as exc:
        raise BadStore(
            f"{location}: its rule for the best label is not one that featurestore takes, so it was not run ({exc}); "
            "`featurestore label rule --default` removes it"
        ) from None
    return rule


def _has(value: Any, kinds: tuple[str, ...]) -> bool:
    if isinstance(value, dict):
        return value.get("class") in kinds or any(_has(item, kinds) for item in value.values())
    return isinstance(value, list) and any(_has(item, kinds) for item in value)


def _find_columns(value: Any, inside: frozenset[str] = frozenset()) -> list[str]:
    """Return the columns that an expression names; parameters of lambdas in it, `inside`, are not columns."""
    if isinstance(value, list):
        return [name for item in value for name in _find_columns(item, inside)]
    if not isinstance(value, dict):
        return []
    kind = value.get("class")
    if kind == "COLUMN_REF":
        names = [str(name) for name in value["column_names"]]
        return [] if names[0].lower() in inside else [names[0].lower()]
    if kind == "LAMBDA":
        inside |= set(_find_columns(value["lhs"]))
        return _find_columns(value["expr"], inside)
    return [name for item in value.values() for name in _find_columns(item, inside)]
