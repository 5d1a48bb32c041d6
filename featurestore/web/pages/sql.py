"""The page of SQL: a form for one statement, its rows, and the columns there are."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote

from flask import g, render_template
from flask.typing import ResponseReturnValue

from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.tables.schema import Column, columns
from featurestore.web.pages.examples import QUERIES
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.web.responses import first_rows, rows
from featurestore.wire.limits import SQL_SECONDS
from featurestore.wire.requests import Request

MAX_ROWS = 1000  # shown on the page; its links give all of them
NUMERIC = ("int", "uint", "float", "double", "decimal")  # how names of numeric Arrow types begin


class SqlFields(Request, frozen=True):
    """The fields of the page."""

    sql: str = ""


def show_sql(store: FeatureStore) -> ResponseReturnValue:
    """Return the form for a statement and, with one, its first 1,000 rows."""
    statement = read(SqlFields).sql.strip()
    context: dict[str, Any] = {
        "statement": statement,
        "schema": _list_views(),
        "examples": QUERIES,
        "table": None,
        "error": None,
    }
    if not statement or g.get("only_shown"):
        return render_template("sql.html", **context)
    try:
        table = rows(first_rows(store.stream(statement, timeout=SQL_SECONDS), MAX_ROWS))
    except FeatureStoreError as exc:
        return render_template("sql.html", **context | {"error": str(exc)}), exc.status
    for column in table["columns"]:
        column["numeric"] = column["type"].startswith(NUMERIC)
    return render_template("sql.html", **context | {"table": table}, json=f"/v1/sql?sql={quote(statement)}")


def _list_views() -> list[tuple[str, list[Column]]]:
    """Return each view with its columns and their comments in schema.sql."""
    # A column that a view takes from another table has the comment that it has there.
    comments = {column.column: column.comment for column in columns() if column.relation in ("dictionaries", "labels")}
    described = [column._replace(comment=column.comment or comments.get(column.column)) for column in columns()]
    return [(name, list(group)) for name, group in itertools.groupby(described, key=lambda column: column.relation)]


PAGES = (Page("/sql", show_sql, scope="sql", lane="sql", has_blank_form=True),)
