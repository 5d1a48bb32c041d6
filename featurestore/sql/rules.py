"""Rules that a store carries, for the best label and for structural features: SQL, checked before DuckDB sees it.

A store may come from anybody, so a rule is no more than a condition over HTTP is: an expression over the columns of one
label or one feature, with functions of values alone.
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
from featurestore.tables.best_label import RULE_TABLE, own_rule
from featurestore.tables.structural import STRUCTURAL_TABLE, own_structural_rule

MOST_RULE = 20_000  # characters
_PARAMETERS = r"CREATE MACRO {}\(([^)]*)\)"
_EXAMPLES = {RULE_TABLE: "votes, or coalesce(score, 0.5)", STRUCTURAL_TABLE: "top_token_share > 0.9"}
_SUBJECTS = {RULE_TABLE: "a label", STRUCTURAL_TABLE: "a feature that a rule may use"}
_REMEDIES = {RULE_TABLE: "featurestore label rule --default", STRUCTURAL_TABLE: "featurestore structural --default"}
_TITLES = {RULE_TABLE: "rule for the best label", STRUCTURAL_TABLE: "rule for structural features"}
_NOW = ("current_date", "current_timestamp", "localtimestamp")  # written like columns
_MORE = ("modifiers", "having", "qualify", "group_expressions", "group_sets", "where_clause", "sample")


def check_rule(rule: str, table: str = RULE_TABLE) -> None:
    """Check that `rule` is one SQL expression over the columns of a label, and that DuckDB can compute it.

    `table` is the one that holds the rule; a rule for structural features is one over the columns of a feature. Raises
    BadRequest otherwise.
    """
    check_expression(rule, table)
    schema.try_rule(rule, table)


def check_expression(rule: str, table: str = RULE_TABLE) -> None:
    """Check that `rule` is one SQL expression over the columns that `table`'s rule has, without computing anything.

    Raises BadRequest for a query in it, a function that is not one of values, a parameter, or another column.
    """
    if not rule.strip():
        raise BadRequest(f"rule: it is empty; a rule is as in: {_EXAMPLES[table]}")
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
        raise BadRequest(f"rule: '{rule:.200}' is not one expression; a rule is as in: {_EXAMPLES[table]}")
    fence.check_expression(node["select_list"], "rule")
    for column in _find_columns(node["select_list"]):
        if column not in (*columns(table), *_NOW):
            known = ", ".join(columns(table))
            raise BadRequest(f"rule: {column:.100} is no column of {_SUBJECTS[table]}; there are: {known}")


@functools.cache
def columns(table: str = RULE_TABLE) -> tuple[str, ...]:
    """Return the names that a rule may use, as schema.sql has them."""
    pattern = re.compile(_PARAMETERS.format(schema.MACROS[table]))
    names = next(match[1] for text in schema.statements() if (match := pattern.search(text)))
    return tuple(name.strip() for name in names.split(","))


def rules_of(snapshot: Snapshot, location: str) -> dict[str, str]:
    """Return the rules that a store carries, checked, by table; those of schema.sql apply beside. Raises BadStore."""
    own = {RULE_TABLE: own_rule(snapshot), STRUCTURAL_TABLE: own_structural_rule(snapshot)}
    rules = {table: rule for table, rule in own.items() if rule is not None}
    for table, rule in rules.items():
        try:
            check_expression(rule, table)
        except BadRequest as exc:
            raise BadStore(
                f"{location}: its {_TITLES[table]} is not one that featurestore takes, so it was not run ({exc}); "
                f"`{_REMEDIES[table]}` removes it"
            ) from None
    return rules


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
