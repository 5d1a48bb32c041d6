"""The one reader of schema.sql: its statements, its scratch tables that batches are checked in, its Arrow types."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow

from featurestore.display.text import first_line
from featurestore.errors import BadRequest

# What to do about checks whose expression does not say it.
REMEDIES = {
    "are_bins(histogram": "a histogram has 64 bins, or edges of its own in histogram_edges: ascending, one more than "
    "it has bins, or two for bins of equal width",
    "are_bins(logit_histogram": "a histogram of effects has 40 bins, or edges of its own in logit_histogram_edges: "
    "ascending, one more than it has bins, or two for bins of equal width",
    "json_valid": "extra is a JSON text",
}


class Column(NamedTuple):
    """A column of a table or view, as people read of it."""

    relation: str
    column: str
    type: str
    comment: str | None


# Paths carry no data: neither a store below `.../layer=5/` nor a dictionary `tiny/label=evil` makes columns.
OPTIONS = "hive_partitioning = false, filename = false, union_by_name = false"
OPTIONS_BY_NAME = OPTIONS.replace("union_by_name = false", "union_by_name = true")


@functools.cache
def statements() -> tuple[str, ...]:
    """Return the statements of schema.sql, in order."""
    package = Path(__file__).parents[1]
    # A wheel has schema.sql inside the package, a checkout at the top, where people look for it.
    path = next(p for p in (package / "schema.sql", package.parent / "schema.sql") if p.is_file())
    return tuple(statement.query for statement in duckdb.extract_statements(path.read_text("utf-8")))


@functools.cache
def tables() -> tuple[str, ...]:
    """Return the names of the stored tables, in order."""
    matches = (re.search(r"CREATE TABLE stored\.(\w+)", statement) for statement in statements())
    return tuple(match[1] for match in matches if match)


class _Stored(NamedTuple):
    """What DuckDB says of the stored tables."""

    schemas: dict[str, pyarrow.Schema]
    types: dict[tuple[str, str], str]  # by table or view, and column
    required: dict[str, frozenset[str]]


@functools.cache
def _read_stored() -> _Stored:
    # All at once, and nothing but the stored tables: making them takes longer than reading what they are.
    with _fresh(only_stored=True) as con:
        schemas = {table: con.sql(f"FROM stored.{table} LIMIT 0").to_arrow_table().schema for table in tables()}
        rows = con.execute(
            "SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns() WHERE schema_name = 'stored'"
        ).fetchall()
    required = {(table, column) for table, column, _, is_nullable in rows if not is_nullable}
    return _Stored(
        schemas,
        {(table, column): type_ for table, column, type_, _ in rows},
        {table: frozenset(column for owner, column in required if owner == table) for table in tables()},
    )


def arrow_schema(table: str) -> pyarrow.Schema:
    """Return the Arrow schema of a stored table."""
    return _read_stored().schemas[table]


def list_required_columns() -> dict[str, frozenset[str]]:
    """Return the columns of each stored table that have a value in every row."""
    return _read_stored().required


@functools.cache
def columns() -> tuple[Column, ...]:
    """Return every column of the views people query, in order; a view's column has its own comment or its table's."""
    with _fresh() as con:
        rows = con.execute(
            "SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns() "
            "WHERE schema_name IN ('main', 'stored') AND NOT internal ORDER BY table_name, column_index"
        ).fetchall()
    comments = {(table, column): comment for schema, table, column, _, comment in rows if schema == "stored"}
    # best_labels and labels share their columns.
    comments |= {("best_labels", column): text for (table, column), text in comments.items() if table == "labels"}
    return tuple(
        Column(table, column, type_, comment or comments.get((table, column)))
        for schema, table, column, type_, comment in rows
        if schema == "main"
    )


@functools.cache
def label_rule() -> str:
    """Return the expression that ranks labels in a store that has set no rule, as schema.sql writes it."""
    return default_rule("label_rule")


def default_rule(table: str) -> str:
    """Return the expression of a rule in a store that has set none, as schema.sql writes it."""
    heads = ((text, head) for text in statements() if (head := _MACRO.search(text)))
    return next(text[head.end() :].partition(";")[0].strip() for text, head in heads if head[1] == MACROS[table])


_MACRO = re.compile(r"CREATE MACRO (\w+)\([^)]*\) AS\s")


# The macro of schema.sql that a rule replaces, and the view that computes it, by the table that holds the rule.
MACROS = {"label_rule": "label_rank", "structural_rule": "structural_rule"}
_STRUCTURAL_OF_NOTHING = (
    "SELECT structural_rule(NULL::FLOAT, NULL::FLOAT, NULL::FLOAT, NULL::BIGINT, NULL::BIGINT, NULL::BIGINT, "
    "NULL::DOUBLE)"
)
_VIEWS = {"label_rule": "FROM best_labels", "structural_rule": "SELECT structural FROM features"}


def try_rule(rule: str, table: str) -> None:
    """Check that a rule can be computed from the columns it may use. Raises BadRequest otherwise."""
    con = duckdb.connect()
    try:
        create(con, {}, {table: rule})
        con.execute(_VIEWS[table]).fetchall()
        if table == "structural_rule" and str(con.execute(_STRUCTURAL_OF_NOTHING).description[0][1]) != "BOOLEAN":
            raise BadRequest(f"rule: '{rule:.200}' is neither true nor false; a rule is as in: top_token_share > 0.9")
    except duckdb.Error as exc:
        raise BadRequest(f"rule: {first_line(exc, 500)}") from None
    finally:
        con.close()


def create(
    con: duckdb.DuckDBPyConnection, parquet: dict[str, list[str]], rules: Mapping[str, str] | None = None
) -> None:
    """Run schema.sql in `con`; each table or view of schema `stored` that `parquet` names is one over those files.

    `parquet` maps names to files as DuckDB names them. Dictionaries, which are few, become a real table: DuckDB then
    knows that their key is unique. `rules` take the place of expressions of schema.sql, by the table that holds each.
    """
    own = {MACROS[table]: rule for table, rule in (rules or {}).items()}
    for statement in statements():
        macro = _MACRO.search(statement)
        if macro is not None and macro[1] in own:
            con.execute(f"{macro[0]}(\n{own[macro[1]]}\n)").fetchall()
            continue
        match = re.search(r"CREATE (?:TABLE|VIEW) stored\.(\w+)", statement)
        name = match[1] if match else ""
        if name == "dictionaries" and parquet.get(name):
            con.execute(statement).fetchall()
            # A column that is younger than a file is null there.
            insert = (
                "INSERT INTO stored.dictionaries BY NAME SELECT COLUMNS(lambda name: list_contains($names, name)) "
                "FROM read_parquet($files, hive_partitioning = false, filename = false, union_by_name = true)"
            )
            con.execute(insert, {"files": parquet[name], "names": arrow_schema(name).names}).fetchall()
        elif name in parquet and (parquet[name] or name not in tables()):
            _create_view(con, name, parquet[name])
        elif not statement.lstrip().upper().startswith("COMMENT"):
            con.execute(statement).fetchall()


def _create_view(con: duckdb.DuckDBPyConnection, name: str, files: list[str]) -> None:
    try:
        con.execute(f"CREATE VIEW stored.{name} AS {_reading(name, files)}").fetchall()
    except duckdb.BinderException:
        # No file has a column of the schema. To look for it in each takes time that whole stores do not need.
        held = con.execute("SELECT * FROM read_parquet($files, union_by_name = true) LIMIT 0", {"files": files})
        names = {column[0] for column in held.description or ()}
        con.execute(f"CREATE VIEW stored.{name} AS {_reading(name, files, names)}").fetchall()


def find_foreign_type(con: duckdb.DuckDBPyConnection) -> str | None:
    """Return a sentence on a column of the stored views whose type is not that of the schema, or None."""
    rows = con.execute(_TYPES).fetchall()
    types = _read_stored().types
    for view, column, type_ in rows:
        table = view if view in tables() else view.rpartition("_")[2]
        wanted = types.get((table, column), type_)
        if type_ != wanted:
            return (
                f"the column {column} of a part of {table} is {first_line(type_, 100)}, not {first_line(wanted, 100)}"
            )
    return None


_TYPES = "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'stored'"


def _reading(name: str, files: list[str], held: Collection[str] | None = None) -> str:
    """Return the SELECT over the files of a table; columns that are not `held` are null, where they may be."""
    table = name if name in tables() else name.rpartition("_")[2]  # labelled_features are features
    columns_read = arrow_schema(table).names
    if held is not None:
        missing = set(columns_read).difference(held, list_required_columns()[table])
        types = _read_stored().types
        columns_read = [f"NULL::{types[table, n]} AS {n}" if n in missing else n for n in columns_read]
    names = ", ".join(columns_read)
    if not files:
        return f"SELECT {names} FROM stored.{table} WHERE false"
    listed = ", ".join(_quote(path) for path in files)
    return f"SELECT {names} FROM read_parquet([{listed}], {OPTIONS if held is None else OPTIONS_BY_NAME})"


class Gate:
    """Scratch tables that batches must pass through: types, NOT NULL, CHECK and keys are enforced by DuckDB."""

    def __init__(self) -> None:
        self._con = duckdb.connect()
        self._made: set[str] = set()
        for statement in statements():
            if re.match(r"\s*CREATE (?:SCHEMA|MACRO) stored\b", statement):
                self._con.execute(statement).fetchall()

    def _make(self, table: str) -> None:
        # Made when first wanted: most batches are of one or two tables, and making all takes longer than they do.
        if table not in self._made:
            statement = next(s for s in statements() if re.search(rf"CREATE TABLE stored\.{table}\b", s))
            self._con.execute(statement).fetchall()
            self._made.add(table)

    def find_foreign_type(self, table: str, rows: pyarrow.Table) -> str | None:
        """Return a sentence on a column of rows whose type is not the schema's, or None."""
        self._con.register("batch", rows)
        types = _read_stored().types
        try:
            for column, type_, *_ in self._con.execute("DESCRIBE batch").fetchall():
                wanted = types.get((table, column), type_)
                if type_ != wanted:
                    return f"the column {column} is {first_line(type_, 100)}, not {first_line(wanted, 100)}"
        finally:
            self._con.unregister("batch")
        return None

    def check(self, table: str, rows: pyarrow.Table, order: str | None = None) -> pyarrow.Table:
        """Return `rows` with the schema's columns and types, sorted by `order`; absent nullable columns become null.

        Raises BadRequest naming the table and what the schema refused.
        """
        if table not in tables():
            raise BadRequest(f"no table '{table}' in the schema; there are: {', '.join(tables())}")
        unknown = set(rows.column_names) - set(arrow_schema(table).names)
        if unknown:
            raise BadRequest(f"{table} has no column {', '.join(sorted(unknown))}")
        _check_fields(table, rows.schema)
        names = ", ".join(rows.column_names)
        self._make(table)
        self._con.register("batch", rows)
        try:
            self._con.execute(f"INSERT INTO stored.{table} ({names}) SELECT {names} FROM batch").fetchall()
            by = f" ORDER BY {order}" if order else ""
            return self._con.sql(f"FROM stored.{table}{by}").to_arrow_table()
        except (duckdb.ConstraintException, duckdb.ConversionException, duckdb.InvalidInputException) as exc:
            remedy = next((f" ({words})" for check, words in REMEDIES.items() if check in str(exc)), "")
            raise BadRequest(f"{table}: {first_line(exc, 500)}{remedy}") from None
        except duckdb.BinderException as exc:
            raise BadRequest(f"{table}: a column has the wrong type: {first_line(exc, 500)}") from None
        finally:
            self._con.unregister("batch")
            self._con.execute(f"DELETE FROM stored.{table}").fetchall()

    def close(self) -> None:
        """Drop the scratch tables."""
        self._con.close()


def _check_fields(table: str, given: pyarrow.Schema) -> None:
    """Check that structs have fields of the schema: DuckDB would drop others in silence. Raises BadRequest."""
    for field in given:
        kinds = [field.type, arrow_schema(table).field(field.name).type]
        structs = [kind.value_type if pyarrow.types.is_list(kind) else kind for kind in kinds]
        if all(pyarrow.types.is_struct(kind) for kind in structs):
            unknown = {inner.name for inner in structs[0]} - {inner.name for inner in structs[1]}
            if unknown:
                raise BadRequest(f"{table}.{field.name} has no field {', '.join(sorted(unknown))}")


@contextmanager
def _fresh(only_stored: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    try:
        for statement in statements():
            if not only_stored or re.match(r"\s*CREATE \w+ stored\b", statement):
                con.execute(statement).fetchall()
        yield con
    finally:
        con.close()


def _quote(text: str) -> str:
    """Return a text as a literal of SQL: for CREATE VIEW alone, which takes no parameters.

    DuckDB's relations would write the same literals (`read_parquet(files).create_view(...)`) and take twice as long:
    0.6 s where this takes 0.25 s for 2,000 files. A variable of SQL would not reach the cursors of other threads.
    """
    return "'" + text.replace("'", "''") + "'"
