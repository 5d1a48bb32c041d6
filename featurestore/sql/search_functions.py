"""Searches inside SQL: search(...), semantic(...), keyword(...), nearest(...) and activating(...) as table functions.
So is what is computed of one attribution graph: pruned_nodes(...), pruned_links(...), graph_paths(...) and
graph_groups(...).

The statement is parsed, each such call is run as the search it is, and its hits take its place as a table:

    SELECT f.label, h.score FROM semantic('deception', k := 1000) h JOIN features f USING (dictionary, feature)

Arguments are constants or parameters (`$text`), the first the text (or, for nearest, a feature's id or a list of
numbers; of a graph its name); the others are named, for a search the fields of Query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import pyarrow

from featurestore.display.characters import find_first
from featurestore.display.text import suggest
from featurestore.errors import BadRequest
from featurestore.query import Query
from featurestore.sql import statements
from featurestore.sql.allowed_functions import SEARCHES
from featurestore.sql.text_scan import check_text
from featurestore.values.hits import Activating, Hits
from featurestore.values.parameters import check_names, from_json, to_json

MODES = {"search": None, "semantic": "semantic", "keyword": "keyword"}
OF_GRAPHS = ("pruned_nodes", "pruned_links", "graph_paths", "graph_groups")
NAMES = SEARCHES
MAX_SEARCHES = 8  # in one statement
MOST_DIGITS = 400  # of a number; the largest one of 64 bits has 309 in full

HITS = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("rank", pyarrow.int32()),
        ("dictionary", pyarrow.string()),
        ("feature", pyarrow.int32()),
        ("score", pyarrow.float64()),
        ("why", pyarrow.string()),
    ]
)
ACTIVE = pyarrow.schema(
    [
        ("id", pyarrow.string()),
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


class SearchCall(msgspec.Struct):
    """A search in a statement: the table that takes its place, its function, and its arguments (as JSON types)."""

    table: str
    function: str
    arguments: dict[str, Any]


class _ActivatingArguments(msgspec.Struct):
    """The arguments of activating(...) beside its text."""

    dictionary: str | list[str] | None = None
    k: int = 10
    order: str = "specific"


# What each search takes by name, beside its first argument.
COMMON_ARGUMENTS = ("k", "within", "among", "where", "all", "structural")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(MODES, (*COMMON_ARGUMENTS, "over")),
    "nearest": (*COMMON_ARGUMENTS, "space", "unlike", "opposite"),
    "activating": _ActivatingArguments.__struct_fields__,
}


class SearchPlan(msgspec.Struct):
    """A statement with a table in the place of each search, the names of its parameters, and the searches to run."""

    statement: str
    parameters: list[str]
    calls: list[SearchCall]


def bind(
    statement: str,
    parameters: Mapping[str, Any],
    run: Callable[[Query], Hits],
    activating: Callable[..., Activating],
    of_graph: Callable[[str, str, Mapping[str, Any]], pyarrow.Table],
    make_plan: Callable[[str, Mapping[str, Any]], SearchPlan],
) -> BoundStatement:
    """Run every search in the statement and return it with the name of a table in the place of each.

    `of_graph` gives the rows of a function of OF_GRAPHS, of a graph's name and the other arguments. `make_plan` parses
    the statement: `plan_searches`, here or in another process. Raises what the searches raise, and BadRequest, naming
    the function, for arguments that are not constants or not fields.
    """
    if not re.search(rf"\b({'|'.join(NAMES)})\s*\(", statement, re.IGNORECASE):
        return BoundStatement(statement, parameters, {})
    plan = make_plan(statement, parameters)
    tables = {
        call.table: _run_call(call.function, from_json(call.arguments), run, activating, of_graph)
        for call in plan.calls
    }
    return BoundStatement(plan.statement, {name: parameters[name] for name in plan.parameters}, tables)


def plan_searches(statement: str, parameters: Mapping[str, Any]) -> SearchPlan:
    """Parse a statement and return it with the name of a table in the place of each search.

    Raises BadRequest for a malformed statement, and for arguments that are neither constants nor parameters.
    """
    check_text(statement, statements.MAX_STATEMENT, "SQL")
    names = statements.check_select(statement)
    check_names(names, parameters)
    tree = statements.parse(statement)
    calls: list[SearchCall] = []
    names_by_call: dict[str, str] = {}  # the same call twice is one search
    for node in _find_calls(tree["statements"]):
        name = node["function"]["function_name"].lower()
        values = _read_arguments(name, node["function"]["arguments"], parameters)
        key = repr((name, values))
        if key not in names_by_call:
            if len(names_by_call) == MAX_SEARCHES:
                raise BadRequest(f"SQL: more than {MAX_SEARCHES} searches in one statement")
            names_by_call[key] = f"{name}_{len(names_by_call) + 1}"
            calls.append(SearchCall(names_by_call[key], name, to_json(values)))
        _replace(node, names_by_call[key], node["alias"] or name)
    if not calls:
        return SearchPlan(statement, sorted(names), [])
    statement = statements.unparse(tree)
    return SearchPlan(statement, sorted(statements.check_select(statement)), calls)


def _find_calls(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every call of a search in a FROM clause, at any depth."""
    if isinstance(value, dict):
        if value.get("type") == "TABLE_FUNCTION" and value["function"].get("function_name", "").lower() in NAMES:
            yield value
            return
        for inner in list(value.values()):
            yield from _find_calls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _find_calls(inner)


def _replace(node: dict[str, Any], table: str, alias: str) -> None:
    position = {name: node[name] for name in ("sample", "query_location", "query_location_length", "column_name_alias")}
    node.clear()
    node.update(position)
    node.update(
        type="BASE_TABLE",
        alias=alias,
        schema_name="",
        table_name=table,
        catalog_name="",
        at_clause=None,
        qualified_name={"path": [table]},
    )


def _read_arguments(name: str, arguments: list[dict[str, Any]], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by name. The first one needs no name and is called `of` here."""
    values: dict[str, Any] = {}
    for n, argument in enumerate(arguments):
        key = argument["name"] or argument["expression"].get("alias") or ("of" if n == 0 else "")
        if not key:
            raise BadRequest(f"SQL: {name}(...) takes one argument without a name; name the others, as in k := 100")
        if key in values:
            raise BadRequest(f"SQL: {name}(...) has {key} twice")
        values[key] = _read_constant(name, argument["expression"], parameters)
    if "of" not in values:
        raise _missing_subject(name)
    return values


def _missing_subject(name: str) -> BadRequest:
    subjects = {"nearest": "a feature or vector"} | dict.fromkeys(OF_GRAPHS, "the name of a graph")
    return BadRequest(f"SQL: {name}(...) needs {subjects.get(name, 'a text')} first")


def _read_constant(name: str, node: dict[str, Any], parameters: Mapping[str, Any]) -> Any:
    if node["class"] == "PARAMETER":
        return parameters[node["identifier"]]
    if node["class"] == "CONSTANT":
        literal = node.get("literal")
        if literal is None:
            value = node.get("value", {})
            return None if value.get("is_null") else value.get("value")
        kind, text = literal["kind"], literal.get("text") or ""
        if kind == "STRING":
            return text
        if kind == "BOOLEAN":
            return text == "true"
        if kind == "NULL_LITERAL":
            return None
        if kind in ("INTEGER", "NUMERIC"):
            return _read_number(name, text)
    if node["class"] == "FUNCTION":
        inner = [_read_constant(name, argument["expression"], parameters) for argument in node["arguments"]]
        if node["function_name"] == "list_value":
            return inner
        if node["function_name"] == "-" and len(inner) == 1 and isinstance(inner[0], int | float):
            return -inner[0]
    raise BadRequest(
        f"SQL: the arguments of {name}(...) must be constants (texts, numbers, true, false or lists of them) "
        "or parameters"
    )


def _read_number(name: str, text: str) -> int | float:
    """Return the number of a literal. Raises BadRequest for one that no argument takes."""
    if len(text) <= MOST_DIGITS:
        try:
            value = int(text)
        except ValueError:
            return float(text)
        if -(2**63) <= value < 2**63:
            return value
    raise BadRequest(f"SQL: {name}(...) takes no number as large as {text:.40}{'...' * (len(text) > 40)}")


def _run_call(
    name: str,
    values: dict[str, Any],
    run: Callable[[Query], Hits],
    activating: Callable[..., Activating],
    of_graph: Callable[[str, str, Mapping[str, Any]], pyarrow.Table],
) -> pyarrow.Table:
    """Return the rows of one call. Raises BadRequest for arguments that it does not take."""
    of = values.pop("of")
    if of is None:
        raise _missing_subject(name)
    if name in OF_GRAPHS:
        if not isinstance(of, str):
            raise _missing_subject(name)
        return of_graph(name, of, values)
    return _run_search(name, of, values, run, activating)


def _run_search(
    name: str, of: Any, values: dict[str, Any], run: Callable[[Query], Hits], activating: Callable[..., Activating]
) -> pyarrow.Table:
    if name == "activating":
        if not isinstance(of, str):
            raise BadRequest("SQL: activating(...) needs a text first")
        unknown = sorted(set(values) - set(ARGUMENTS[name]))
        if unknown:
            raise BadRequest(f"SQL: activating(...) takes dictionary, k and order, not {unknown[0]}")
        return _active_table(activating(of, **_check_activating(values)))
    fields = dict(values)
    for field in ("within", "among"):
        if isinstance(fields.get(field), str):
            fields[field] = [fields[field]]
    unknown = sorted(set(fields) - set(ARGUMENTS[name]))
    if unknown:
        taken = ", ".join(ARGUMENTS[name])
        raise BadRequest(
            f"SQL: {name}(...) does not take {unknown[0]}{suggest(unknown[0], ARGUMENTS[name])}; it takes {taken}"
        )
    if name == "nearest":
        query = Query.of({"vector" if _is_vector(of) else "near": of} | fields)
    else:
        query = Query.of({"text": of, "mode": MODES[name], "group": False} | fields)  # SQL groups as it likes
    return _hits_table(run(query))


def _check_activating(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of activating(...) beside its text; null stands for one that is not given.

    Raises BadRequest, naming the argument, for a value of another type.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return msgspec.structs.asdict(msgspec.convert(given, _ActivatingArguments))
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        raise BadRequest(f"SQL: activating(...): {where.rstrip('`')}: {what[0].lower()}{what[1:]}") from None


def _is_vector(of: Any) -> bool:
    return isinstance(of, list) and not any(isinstance(item, str) for item in of)


def _hits_table(hits: Hits) -> pyarrow.Table:
    rows = [
        {name: getattr(hit, name) for name in HITS.names if name != "rank"} | {"rank": n}
        for n, hit in enumerate(hits, 1)
    ]
    return pyarrow.Table.from_pylist(rows, schema=HITS)


def _active_table(activating: Activating) -> pyarrow.Table:
    rows = [
        {
            "id": active.id,
            "rank": n,
            "dictionary": active.dictionary,
            "feature": active.feature,
            "activation": active.activation,
            "position": active.token,
            "token": activating.tokens[find_first(activating.tokens, active.token)],
        }
        for n, active in enumerate(activating.features, 1)
    ]
    return pyarrow.Table.from_pylist(rows, schema=ACTIVE)
