"""Conditions over the view `features`: the SQL that chooses features, whoever writes it.

Somebody whose rights end at reading features writes an expression over one feature's columns. Whoever may run SQL can
put subqueries into it.
"""

from __future__ import annotations

import contextvars
import re
from typing import Any

import msgspec

from featurestore.errors import BadRequest
from featurestore.sql import fence, statements
from featurestore.sql.text_scan import check_text

MOST_WHERE = 20_000  # characters
# Whether the condition of the request under way may hold subqueries. A service sets this for each request.
subqueries_allowed: contextvars.ContextVar[bool] = contextvars.ContextVar("subqueries_allowed", default=True)
_QUERY = re.compile(r"\b(select|from|with|values|table|describe|desc|show|summarize|pivot|unpivot)\b", re.IGNORECASE)
# What besides a condition could follow WHERE, once its bracket is closed early.
_MORE = ("modifiers", "having", "qualify", "group_expressions", "group_sets", "sample")


class Selection(msgspec.Struct, frozen=True):
    """Which features to choose: those of a condition, perhaps only the first `limit` of them `after` a feature."""

    where: str
    subqueries: bool = True
    ordered: bool = False
    after: tuple[str, int] | None = None
    limit: int | None = None

    @classmethod
    def of(cls, where: str, **options: Any) -> Selection:
        """Return a selection that may hold subqueries where the request under way may."""
        return cls(where, subqueries=subqueries_allowed.get(), **options)


def may_have_subquery(where: str) -> bool:
    """Return whether a condition has a word that a subquery begins with, perhaps in a text or a name."""
    return _QUERY.search(where) is not None


def compose(selection: Selection) -> tuple[str, dict[str, Any]]:
    """Return the statement that gives dictionary and feature of a selection, and its parameters.

    Raises BadRequest for a condition that is not one, or that names what it may not.
    """
    statement = (
        f"SELECT dictionary, feature FROM features WHERE {check_condition(selection.where, selection.subqueries)}"
    )
    parameters: dict[str, Any] = {}
    if selection.after is not None:
        # Around the condition, which could hold an OR that takes a common one apart.
        statement = f"FROM ({statement}) WHERE dictionary > $after OR (dictionary = $after AND feature > $index)"
        parameters = {"after": selection.after[0], "index": selection.after[1]}
    if selection.ordered or selection.limit is not None:
        statement += " ORDER BY dictionary, feature"
    if selection.limit is not None:
        statement += " LIMIT $most"
        parameters["most"] = selection.limit
    return statement, parameters


def check_condition(where: str, subqueries: bool = True) -> str:
    """Return the condition in brackets, to be put after WHERE.

    Raises BadRequest when it is not one SQL expression, or names what it may not.
    """
    if not where.strip():
        raise BadRequest("where: the condition is empty")
    try:
        check_text(where, MOST_WHERE, "where")
    except BadRequest as exc:
        # Brackets can be closed early, to smuggle in a UNION or a LIMIT.
        more = f"'{where:.200}' is more than a condition: " if "closes nothing" in str(exc) else ""
        raise BadRequest(str(exc).replace("where: ", f"where: {more}", 1)) from None
    statement = f"SELECT 1 WHERE (\n{where}\n)"
    if names := statements.check_select(statement):
        raise BadRequest(f"where: a condition takes no parameters, and this has ${min(names)}; write the value instead")
    tree = statements.parse(statement)
    node = tree["statements"][0]["node"]
    is_condition = node["type"] == "SELECT_NODE" and node["from_table"]["type"] == "EMPTY" and node["where_clause"]
    if not is_condition or any(node.get(name) for name in _MORE) or node["cte_map"]["map"]:
        raise BadRequest(f"where: '{where:.200}' is more than a condition")
    if subqueries:
        fence.check_query(tree)
    else:
        fence.check_expression(node["where_clause"], "where")
    return f"(\n{where}\n)"
