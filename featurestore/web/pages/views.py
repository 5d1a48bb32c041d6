"""The pages a person sees. Each is the JSON of the same name, drawn; they use the interface only."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from flask import Blueprint, Response, make_response, redirect, render_template, request

from featurestore.display.charts import draw_activations, draw_densities
from featurestore.display.numbers import format_percent, format_value
from featurestore.display.tokens import Run, find_bars, show_whitespace, split_runs
from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.tables.schema import Column, columns
from featurestore.values.feature import Feature, GivenLabel
from featurestore.web.api import labels
from featurestore.web.pages.examples import QUERIES, SEARCHES, TEXTS
from featurestore.web.pages.neighbourhood import drawing
from featurestore.web.requests import read
from featurestore.web.responses import rows
from featurestore.wire.limits import MOST_LABEL, SQL_SECONDS
from featurestore.wire.requests import Nothing, Request

NEIGHBOURS = 8
PAGE = 50  # features of a dictionary shown at once
SQL_ROWS = 1000
ORDERS = {
    "density": ("densest", "density DESC NULLS LAST"),
    "rarest": ("rarest", "density NULLS LAST"),
    "max": ("strongest", "max_activation DESC NULLS LAST"),
    "index": ("by index", "feature"),
}
STATES = ("live", "always-on", "dead", "unharvested")
FILTERS: dict[str, Callable[..., str]] = {
    "number": format_value,
    "percent": format_percent,
    "visible": show_whitespace,
}  # of templates


class NeighbourhoodFields(Request, frozen=True):
    """The fields of a neighbourhood's page."""

    k: int = NEIGHBOURS


class DictionaryFields(Request, frozen=True):
    """The fields of a dictionary's page."""

    order: str = "density"
    page: int = 1
    state: str | None = None


class TextFields(Request, frozen=True):
    """The fields of the page of a text; `feature` is the one whose activations are shown."""

    text: str = ""
    dictionary: str | None = None
    order: str = "specific"
    k: int = 20
    feature: str | None = None


class SqlFields(Request, frozen=True):
    """The fields of the page of a statement."""

    sql: str = ""


def blueprint(store: FeatureStore) -> Blueprint:
    """The pages over `store`."""
    pages = Blueprint("pages", __name__)
    for name, text_filter in FILTERS.items():
        pages.add_app_template_filter(text_filter, name)
    for function in (draw_activations, draw_densities, find_bars, split_runs):
        pages.add_app_template_global(function, function.__name__)

    @pages.get("/")
    def home() -> Any:
        # A form sends its empty fields too.
        fields = {name: values for name, values in request.args.to_dict(flat=False).items() if any(values)}
        asked = fields.get("text", [""])[0].strip()
        if _looks_like_id(asked):
            return redirect(f"/features/{asked}")
        shown: dict[str, Any] = {"dictionaries": store.dictionaries(), "fields": fields, "hits": None, "error": None}
        if not fields:
            more = {"info": store.info(), "examples": SEARCHES, "texts": TEXTS, "queries": _some(QUERIES, 4)}
            return render_template("home.html", **shown, **more)
        try:
            query = Query.from_text(fields)
            shown["hits"] = hits = store.run(query)
        except FeatureStoreError as exc:
            return make_response(render_template("home.html", **shown | {"error": str(exc)}), exc.status)
        again = {name: values for name, values in fields.items() if name != "cursor"}
        return render_template(
            "home.html",
            json=f"/v1/{'nearest' if query.text is None else 'search'}?{urlencode(fields, doseq=True)}",
            first=f"/?{urlencode(again, doseq=True)}" if query.cursor else None,
            more=f"/?{urlencode(again | {'cursor': [hits.next]}, doseq=True)}" if hits.next else None,
            everything=None if query.all else f"/?{urlencode(again | {'all': ['true']}, doseq=True)}",
            **shown,
        )

    @pages.get("/features/<model>/<source>/<index>")
    def feature(model: str, source: str, index: str) -> str:
        read(Nothing)
        page = store.feature(f"{model}/{source}/{index}")
        dictionary = store.dictionary(page.dictionary)
        bands = _bands(page)
        return render_template(
            "feature.html",
            page=page,
            dictionary=dictionary,
            bands=bands,
            folded=any(run.far for _, some in bands for _, runs in some for run in runs),
            near=_neighbours(store, page),
            before=page.feature - 1 if page.feature else None,
            most=MOST_LABEL,
            after=page.feature + 1 if page.feature + 1 < dictionary.d_sae else None,
        )

    @pages.post("/features/<model>/<source>/<index>")
    def label(model: str, source: str, index: str) -> Any:
        fields = request.form.to_dict(flat=False)
        if set(fields) != {"label"} or len(fields["label"]) != 1:
            raise BadRequest("the form has one field, label")
        id = f"{model}/{source}/{index}"
        store.add_labels([GivenLabel(id=id, label=fields["label"][0])], labels.name_writer(store))
        return redirect(f"/features/{quote(id)}", 303)

    @pages.get("/neighbourhood/<model>/<source>/<index>")
    def neighbourhood(model: str, source: str, index: str) -> str:
        k = read(NeighbourhoodFields).k
        found = store.neighbourhood(f"{model}/{source}/{index}", k)
        return render_template("neighbourhood.html", found=found, drawing=drawing(found), k=k)

    @pages.get("/dictionaries/<model>/<source>")
    def dictionary(model: str, source: str) -> str:
        asked = read(DictionaryFields)
        one = store.dictionary(f"{model}/{source}")
        order, number, state = asked.order, asked.page, asked.state
        if order not in ORDERS:
            raise BadRequest(f"order: '{order}' is not one of {', '.join(ORDERS)}")
        if state is not None and state not in STATES:
            raise BadRequest(f"state: '{state}' is not one of {', '.join(STATES)}")
        if not 1 <= number <= 1_000_000:
            raise BadRequest(f"page: {number} is not a page")
        states = _rows(
            store,
            "SELECT state, count(*) AS n, count(label) AS labelled FROM features WHERE dictionary = $dictionary GROUP BY 1",
            {"dictionary": one.dictionary},
        )
        counts = {row["state"]: row["n"] for row in states}
        return render_template(
            "dictionary.html",
            one=one,
            counts=counts,
            labelled=sum(row["labelled"] for row in states),
            rows=_rows(
                store,
                "SELECT feature, label, density, max_activation, state FROM features "
                "WHERE dictionary = $dictionary AND ($state IS NULL OR state = $state) "
                f"ORDER BY {ORDERS[order][1]}, feature LIMIT $rows OFFSET $first",
                {"dictionary": one.dictionary, "state": state, "rows": PAGE, "first": (number - 1) * PAGE},
            ),
            densities=_rows(
                store,
                "SELECT floor(log10(density) * 4)::INTEGER AS bin, count(*) AS n FROM features "
                "WHERE dictionary = $dictionary AND density > 0 GROUP BY 1 ORDER BY 1",
                {"dictionary": one.dictionary},
            ),
            orders=ORDERS,
            states=STATES,
            order=order,
            state=state,
            number=number,
            last=-(-(counts.get(state, 0) if state else sum(counts.values())) // PAGE),
        )

    @pages.get("/text")
    def text_page() -> Any:
        asked = read(TextFields)
        shown: dict[str, Any] = {"dictionaries": store.dictionaries(), "asked": asked, "examples": TEXTS}
        if not asked.text.strip():
            return render_template("text.html", found=None, chosen=None, error=None, **shown)
        try:
            found = store.activating(asked.text, asked.dictionary or None, asked.k, asked.order)
        except FeatureStoreError as exc:
            page = render_template("text.html", found=None, chosen=None, error=str(exc), **shown)
            return make_response(page, exc.status)
        chosen = next((one for one in found.features if one.id == asked.feature), None)
        chosen = chosen or (found.features[0] if found.features else None)
        again = {name: value for name, value in msgspec.structs.asdict(asked).items() if value and name != "feature"}
        return render_template(
            "text.html",
            found=found,
            chosen=chosen,
            error=None,
            show=lambda id: f"/text?{urlencode(again | {'feature': id})}#on-text",
            json=f"/v1/activating?{urlencode(again)}",
            **shown,
        )

    @pages.get("/sql")
    def sql() -> Any:
        statement = read(SqlFields).sql.strip()
        shown = {"statement": statement, "schema": _schema(), "examples": QUERIES, "table": None, "error": None}
        if not statement:
            return render_template("sql.html", **shown)
        try:
            table = rows(store.sql(statement, max_rows=SQL_ROWS, timeout=SQL_SECONDS))
        except FeatureStoreError as exc:
            return make_response(render_template("sql.html", **shown | {"error": str(exc)}), exc.status)
        for column in table["columns"]:
            column["numeric"] = column["type"].startswith(("int", "uint", "float", "double", "decimal"))
        return render_template("sql.html", **shown | {"table": table}, json=f"/v1/sql?sql={quote(statement)}")

    return pages


def error_page(exc: FeatureStoreError, status: int) -> Response:
    """An error as a page."""
    return make_response(render_template("error.html", message=str(exc), status=status), status)


def _looks_like_id(text: str) -> bool:
    """Whether a text to search for is the id of a feature."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9]{1,9}", text) is not None


def _bands(page: Feature) -> list[tuple[str, list[Any]]]:
    """The examples by band, each with its tokens as runs of text."""
    return [
        (band, [(one, _runs(one, page.max_activation)) for one in some])
        for band, some in itertools.groupby(page.examples, key=lambda one: one.band)
    ]


def _runs(example: Any, largest: float | None) -> list[Run]:
    return split_runs(example.tokens, example.activations, largest, example.position - example.start)


def _neighbours(store: FeatureStore, page: Feature) -> list[Any]:
    try:
        return list(store.run(Query.of({"near": page.id, "k": NEIGHBOURS})))
    except BadRequest:
        return []  # a zero decoder vector is near nothing


def _rows(store: FeatureStore, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    return store.sql(statement, parameters, timeout=SQL_SECONDS).to_pylist()


def _schema() -> list[tuple[str, list[Column]]]:
    """The columns of each view, with what schema.sql says of them."""
    # A view that joins another table's column in says of it what that table says.
    said = {column.column: column.comment for column in columns() if column.relation in ("dictionaries", "labels")}
    described = [one._replace(comment=one.comment or said.get(one.column)) for one in columns()]
    return [(name, list(some)) for name, some in itertools.groupby(described, key=lambda one: one.relation)]


def _some(queries: dict[str, str], n: int) -> dict[str, str]:
    return dict(itertools.islice(queries.items(), n))
