"""Searches inside SQL: search(...), semantic(...), keyword(...), nearest(...) and activating(...) as table functions.

The statement is parsed, each such call is run as the search it is, and its hits take its place as a table:

    SELECT f.label, h.score FROM semantic('deception', k := 1000) h JOIN features f USING (dictionary, feature)

Arguments are constants or parameters (`$text`), the first the text (or, for nearest, a feature's id or a list of
numbers); the others are the fields of Query, by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow

from featurestore.errors import BadRequest
from featurestore.query import Query
from featurestore.sql import statements
from featurestore.values.hits import Activating, Hits
from featurestore.values.parameters import check_names

MODES = {"search": None, "semantic": "semantic", "keyword": "keyword"}
NAMES = (*MODES, "nearest", "activating")
MOST = 8  # searches in one statement

HITS = pyarrow.schema(
    [
        ("rank", pyarrow.int32()),
        ("dictionary", pyarrow.string()),
        ("feature", pyarrow.int32()),
        ("score", pyarrow.float64()),
        ("why", pyarrow.string()),
    ]
)
ACTIVE = pyarrow.schema(
    [
        ("rank", pyarrow.int32()),
        ("dictionary", pyarrow.string()),
        ("feature", pyarrow.int32()),
        ("activation", pyarrow.float64()),
        ("position", pyarrow.int32()),
        ("token", pyarrow.string()),
    ]
)


class BoundStatement(NamedTuple):
    """A statement without searches: the parameters it still has, and the searches' hits as the tables it names."""

    statement: str
    parameters: Mapping[str, Any]
    tables: dict[str, pyarrow.Table]


def bind(
    statement: str,
    parameters: Mapping[str, Any],
    run: Callable[[Query], Hits],
    activating: Callable[..., Activating],
) -> BoundStatement:
    """Run every search in the statement and return it with the name of a table in the place of each.

    Raises BadRequest, naming the function, for arguments that are not constants or not fields, and what the searches raise.
    """
    if not re.search(rf"\b({'|'.join(NAMES)})\s*\(", statement, re.IGNORECASE):
        return BoundStatement(statement, parameters, {})
    check_names(statements.check_select(statement), parameters)
    tree = statements.parse(statement)
    tables: dict[str, pyarrow.Table] = {}
    asked: dict[str, str] = {}  # the same call twice is one search
    for node in _calls(tree["statements"]):
        name = node["function"]["function_name"].lower()
        values = _arguments(name, node["function"]["arguments"], parameters)
        key = repr((name, values))
        if key not in asked:
            if len(asked) == MOST:
                raise BadRequest(f"SQL: more than {MOST} searches in one statement")
            asked[key] = f"{name}_{len(asked) + 1}"
            tables[asked[key]] = _found(name, values, run, activating)
        _replace(node, asked[key], node["alias"] or name)
    if not tables:
        return BoundStatement(statement, parameters, {})
    statement = statements.unparse(tree)
    names = statements.check_select(statement)
    return BoundStatement(statement, {name: value for name, value in parameters.items() if name in names}, tables)


def _calls(value: Any) -> Iterator[dict[str, Any]]:
    """Every call of a search in a FROM clause, however deep."""
    if isinstance(value, dict):
        if value.get("type") == "TABLE_FUNCTION" and value["function"].get("function_name", "").lower() in NAMES:
            yield value
            return
        for inner in list(value.values()):
            yield from _calls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _calls(inner)


def _replace(node: dict[str, Any], table: str, alias: str) -> None:
    kept = {name: node[name] for name in ("sample", "query_location", "query_location_length", "column_name_alias")}
    node.clear()
    node.update(kept)
    node.update(
        type="BASE_TABLE",
        alias=alias,
        schema_name="",
        table_name=table,
        catalog_name="",
        at_clause=None,
        qualified_name={"path": [table]},
    )


def _arguments(name: str, arguments: list[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name; the first, which needs none, is called `of`."""
    values: dict[str, Any] = {}
    for n, argument in enumerate(arguments):
        key = argument["name"] or argument["expression"].get("alias") or ("of" if n == 0 else "")
        if not key:
            raise BadRequest(f"SQL: {name}(...) takes one argument without a name; name the others, as in k := 100")
        if key in values:
            raise BadRequest(f"SQL: {name}(...) has {key} twice")
        values[key] = _constant(name, argument["expression"], parameters)
    if "of" not in values:
        raise BadRequest(f"SQL: {name}(...) needs {'a feature or vector' if name == 'nearest' else 'a text'} first")
    return values


def _constant(name: str, node: dict[str, Any], parameters: Mapping[str, Any]) -> Any:
    if node["class"] == "PARAMETER":
        return parameters[node["identifier"]]
    if node["class"] == "CONSTANT":
        literal = node.get("literal")
        if literal is None:
            value = node.get("value", {})
            return None if value.get("is_null") else value.get("value")
        kind, text = literal["kind"], literal.get("text")
        if kind == "STRING":
            return text
        if kind == "BOOLEAN":
            return text == "true"
        if kind == "NULL":
            return None
        return int(text) if kind == "INTEGER" else float(text)
    if node["class"] == "FUNCTION":
        inner = [_constant(name, argument["expression"], parameters) for argument in node["arguments"]]
        if node["function_name"] == "list_value":
            return inner
        if node["function_name"] == "-" and len(inner) == 1 and isinstance(inner[0], int | float):
            return -inner[0]
    raise BadRequest(
        f"SQL: the arguments of {name}(...) must be constants (texts, numbers, true, false or lists of them) or parameters"
    )


def _found(
    name: str, values: dict[str, Any], run: Callable[[Query], Hits], activating: Callable[..., Activating]
) -> pyarrow.Table:
    of = values.pop("of")
    if name == "activating":
        if not isinstance(of, str):
            raise BadRequest("SQL: activating(...) needs a text first")
        unknown = sorted(set(values) - {"dictionary", "k", "order"})
        if unknown:
            raise BadRequest(f"SQL: activating(...) takes dictionary, k and order, not {unknown[0]}")
        return _active_table(activating(of, **values))
    fields = dict(values)
    if isinstance(fields.get("within"), str):
        fields["within"] = [fields["within"]]
    unknown = sorted(
        set(fields)
        - {"k", "within", "where", "all", *(("space", "unlike", "opposite") if name == "nearest" else ("over",))}
    )
    if unknown:
        raise BadRequest(f"SQL: {name}(...) does not take {unknown[0]}")
    if name == "nearest":
        query = Query.of({"vector" if _is_vector(of) else "near": of} | fields)
    else:
        query = Query.of({"text": of, "mode": MODES[name], "group": False} | fields)  # SQL groups as it likes
    return _hits_table(run(query))


def _is_vector(of: Any) -> bool:
    return isinstance(of, list) and not any(isinstance(one, str) for one in of)


def _hits_table(hits: Hits) -> pyarrow.Table:
    rows = [
        {"rank": n, "dictionary": hit.dictionary, "feature": hit.feature, "score": hit.score, "why": hit.why}
        for n, hit in enumerate(hits, 1)
    ]
    return pyarrow.Table.from_pylist(rows, schema=HITS)


def _active_table(found: Activating) -> pyarrow.Table:
    rows = [
        {
            "rank": n,
            "dictionary": one.dictionary,
            "feature": one.feature,
            "activation": one.activation,
            "position": one.token,
            "token": found.tokens[one.token],
        }
        for n, one in enumerate(found.features, 1)
    ]
    return pyarrow.Table.from_pylist(rows, schema=ACTIVE)
