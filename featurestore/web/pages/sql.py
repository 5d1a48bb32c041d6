"""The page of SQL: a form for one statement, its rows, a chart of two of its columns, and what it may name."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple
from urllib.parse import quote, urlencode

from flask import g, render_template
from flask.typing import ResponseReturnValue
from msgspec import Meta

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.web.pages.drawings.table_chart import KINDS, TableChart, choose_kind, draw_table, is_number
from featurestore.web.pages.examples import QUERIES
from featurestore.web.pages.page import Page
from featurestore.web.pages.statement.cells import Cell, make_rows
from featurestore.web.pages.statement.names import list_searches, list_views
from featurestore.web.requests import read
from featurestore.web.responses import first_rows, rows
from featurestore.wire.limits import MOST_SQL, SQL_SECONDS
from featurestore.wire.requests import Request

MAX_ROWS = 500  # read for the page and its chart; the downloads have all of them
LAST_ROW = 100_000  # that the page turns to
NUMERIC = ("int", "uint", "float", "double", "decimal")  # how names of numeric Arrow types begin
# The forms of a download, by the name that the page has for each.
DOWNLOADS = {
    "CSV": "csv",
    "CSV for a spreadsheet": "spreadsheet",
    "Parquet": "parquet",
    "Arrow": "arrow",
    "JSON lines": "json",
}


class SqlFields(Request, frozen=True):
    """The fields of the page: a statement, the row to begin with, and the columns and the kind of a chart."""

    sql: Annotated[str, Meta(max_length=MOST_SQL)] = ""
    first: int = 0
    x: str = ""
    y: str = ""
    kind: str = ""
    log_x: bool = False
    log_y: bool = False


class Shown(NamedTuple):
    """The rows of a page: their cells, the links of those that are features, and the pages before and after."""

    columns: list[dict[str, Any]]
    rows: list[list[Cell]]
    links: list[str | None]
    before: str | None
    after: str | None
    chart: TableChart | None
    chart_error: str


def show_sql(store: FeatureStore) -> ResponseReturnValue:
    """Return the form for a statement and, with one, its rows."""
    fields = read(SqlFields)
    statement = fields.sql.strip()
    context: dict[str, Any] = {
        "statement": statement,
        "fields": fields,
        "views": list_views(),
        "searches": list_searches(),
        "examples": QUERIES,
        "downloads": DOWNLOADS,
        "kinds": KINDS,
        "shown": None,
        "error": None,
    }
    if not 0 <= fields.first <= LAST_ROW:
        raise BadRequest(f"first: {fields.first} is not a row; this page turns to rows 0 to {LAST_ROW:,}")
    if fields.kind not in ("", *KINDS):
        raise BadRequest(f"kind: '{fields.kind:.80}' is not one of {', '.join(KINDS)}")
    if not statement or g.get("only_shown"):
        return render_template("sql.html", **context)
    try:
        shown = _run(store, statement, fields)
    except FeatureStoreError as exc:
        return render_template("sql.html", **context | {"error": str(exc)}), exc.status
    return render_template("sql.html", **context | {"shown": shown}, json=f"/v1/sql?sql={quote(statement)}")


def _run(store: FeatureStore, statement: str, fields: SqlFields) -> Shown:
    """Return the rows of a statement from the first one on. Raises what the statement raises."""
    table = rows(first_rows(store.stream(statement, timeout=SQL_SECONDS), MAX_ROWS, skip=fields.first))
    columns, found = table["columns"], table["rows"]
    for column in columns:
        column["numeric"] = column["type"].startswith(NUMERIC)
    cells = make_rows(found)
    kept = {"sql": statement} | {name: getattr(fields, name) for name in ("x", "y", "kind") if getattr(fields, name)}
    kept |= {name: "true" for name in ("log_x", "log_y") if getattr(fields, name)}
    following = fields.first + len(cells)
    has_more = (table["truncated"] or len(cells) < len(found)) and following <= LAST_ROW
    chart, chart_error = _draw([column["name"] for column in columns], found, fields)
    return Shown(
        columns,
        cells,
        _link_features([column["name"] for column in columns], found),
        f"?{urlencode(kept)}" if fields.first else None,
        f"?{urlencode(kept | {'first': following})}" if has_more else None,
        chart,
        chart_error,
    )


def _link_features(names: list[str], found: list[list[Any]]) -> list[str | None]:
    """Return the path of the feature that each row is about, where it names a dictionary and a feature."""
    if "dictionary" not in names or "feature" not in names:
        return [None] * len(found)
    dictionary, feature = names.index("dictionary"), names.index("feature")
    return [
        f"/features/{quote(row[dictionary])}/{row[feature]}"
        if isinstance(row[dictionary], str) and isinstance(row[feature], int) and not isinstance(row[feature], bool)
        else None
        for row in found
    ]


def _draw(names: list[str], found: list[list[Any]], fields: SqlFields) -> tuple[TableChart | None, str]:
    """Return the chart that the fields ask for, or None and what is wrong with them."""
    if not fields.y and not fields.x:
        return None, ""
    for field, name in (("x", fields.x), ("y", fields.y)):
        if name not in names:
            return None, f"{field}: '{name:.80}' is not a column of these rows, which are {', '.join(names):.400}"
    xs, ys = ([row[names.index(name)] for row in found] for name in (fields.x, fields.y))
    if found and not any(is_number(y) for y in ys):
        return None, f"y: the column {fields.y:.80} has no numbers to draw"
    return draw_table(xs, ys, fields.kind or choose_kind(xs), fields.log_x, fields.log_y), ""


PAGES = (Page("/sql", show_sql, scope="sql", lane="sql", has_blank_form=True),)
