"""The pages a person sees. Each is the JSON of the same name, drawn; they use the interface only."""

from __future__ import annotations

import itertools
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.records import Feature, FeatureId
from featurestore.web import draw
from featurestore.web.api.v1 import MAX_ROWS, SQL_SECONDS, as_rows
from featurestore.web.examples import QUERIES, SEARCHES, TEXTS
from featurestore.web.reply import given, text, whole

NEIGHBOURS = 8
PAGE = 50  # features of a dictionary shown at once
ORDERS = {
    "density": ("densest", "density DESC NULLS LAST"),
    "rarest": ("rarest", "density NULLS LAST"),
    "max": ("strongest", "max_activation DESC NULLS LAST"),
    "index": ("by index", "feature"),
}
STATES = ("live", "always-on", "dead", "unharvested")


def blueprint(store: FeatureStore) -> Blueprint:
    """The pages over `store`."""
    pages = Blueprint("pages", __name__)

    @pages.get("/")
    def home() -> Response | str:
        fields = {name: values for name, values in request.args.to_dict(flat=False).items() if any(values)}
        dictionaries = store.dictionaries()
        shown: dict[str, Any] = {
            "dictionaries": dictionaries,
            "fields": fields,
            "examples": SEARCHES,
            "hits": None,
            "error": None,
        }
        if "text" not in fields:
            return render_template("home.html", info=store.info(), **shown)
        asked = fields["text"][0].strip()
        if draw.looks_like_id(asked):
            return redirect(f"/features/{asked}")  # type: ignore[return-value]
        try:
            shown["hits"] = store.run(Query.from_text(fields))
        except FeatureStoreError as exc:
            return make_response(render_template("home.html", **shown | {"error": str(exc)}), exc.status)
        return render_template("home.html", **shown)

    @pages.get("/features/<model>/<source>/<index>")
    def feature(model: str, source: str, index: str) -> str:
        given()
        page = store.feature(f"{model}/{source}/{index}")
        dictionary = store.dictionary(page.dictionary)
        return render_template(
            "feature.html",
            page=page,
            dictionary=dictionary,
            bands=[(band, list(some)) for band, some in itertools.groupby(page.examples, key=lambda one: one.band)],
            near=_neighbours(store, page),
            before=page.feature - 1 if page.feature else None,
            after=page.feature + 1 if page.feature + 1 < dictionary.d_sae else None,
        )

    @pages.get("/dictionaries/<model>/<source>")
    def dictionary(model: str, source: str) -> str:
        asked = given(order=text, page=whole, state=text)
        one = store.dictionary(f"{model}/{source}")
        order, number, state = asked.get("order", "density"), asked.get("page", 1), asked.get("state")
        if order not in ORDERS:
            raise BadRequest(f"order: '{order}' is not one of {', '.join(ORDERS)}")
        if state is not None and state not in STATES:
            raise BadRequest(f"state: '{state}' is not one of {', '.join(STATES)}")
        if not 1 <= number <= 1_000_000:
            raise BadRequest(f"page: {number} is not a page")
        # The id was looked up, so it holds no quote of a stranger's.
        mine = "dictionary = '{}'".format(one.dictionary.replace("'", "''"))
        states = store.sql(
            f"SELECT state, count(*) AS n, count(label) AS labelled FROM features WHERE {mine} GROUP BY 1"
        )
        counts = {row["state"]: row["n"] for row in states.to_pylist()}
        some = mine if state is None else f"{mine} AND state = '{state}'"
        rows = store.sql(
            f"SELECT feature, label, density, max_activation, state FROM features WHERE {some} "
            f"ORDER BY {ORDERS[order][1]}, feature LIMIT {PAGE} OFFSET {(number - 1) * PAGE}"
        ).to_pylist()
        densities = store.sql(
            "SELECT floor(log10(density) * 4)::INTEGER AS bin, count(*) AS n FROM features "
            f"WHERE {mine} AND density > 0 GROUP BY 1 ORDER BY 1"
        ).to_pylist()
        return render_template(
            "dictionary.html",
            one=one,
            counts=counts,
            labelled=sum(states["labelled"].to_pylist()),
            rows=rows,
            densities=densities,
            orders=ORDERS,
            order=order,
            state=state,
            number=number,
            last=-(-(counts.get(state, 0) if state else sum(counts.values())) // PAGE),
        )

    @pages.get("/text")
    def text_page() -> Response | str:
        asked = given(text=text, dictionary=text, order=text, k=whole, feature=text)
        shown: dict[str, Any] = {"dictionaries": store.dictionaries(), "asked": asked, "examples": TEXTS}
        if not asked.get("text", "").strip():
            return render_template("text.html", found=None, chosen=None, error=None, **shown)
        try:
            found = store.activating(
                asked["text"], asked.get("dictionary") or None, asked.get("k", 20), asked.get("order", "specific")
            )
        except FeatureStoreError as exc:
            page = render_template("text.html", found=None, chosen=None, error=str(exc), **shown)
            return make_response(page, exc.status)
        chosen = next((one for one in found.features if one.id == asked.get("feature")), None)
        chosen = chosen or (found.features[0] if found.features else None)
        return render_template("text.html", found=found, chosen=chosen, error=None, **shown)

    @pages.get("/sql")
    def sql() -> Response | str:
        asked = given(sql=text)
        statement = asked.get("sql", "").strip()
        columns = store.sql(
            "SELECT table_name AS relation, column_name AS name, data_type AS type FROM information_schema.columns "
            "WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"
        ).to_pylist()
        schema = [(name, list(some)) for name, some in itertools.groupby(columns, key=lambda row: row["relation"])]
        shown = {"statement": statement, "schema": schema, "examples": QUERIES, "table": None, "error": None}
        if not statement:
            return render_template("sql.html", **shown)
        try:
            shown["table"] = as_rows(store.sql(statement, max_rows=MAX_ROWS // 10, timeout=SQL_SECONDS))
        except FeatureStoreError as exc:
            return make_response(render_template("sql.html", **shown | {"error": str(exc)}), exc.status)
        return render_template("sql.html", **shown)

    return pages


def error_page(exc: FeatureStoreError, status: int) -> Response:
    """An error as a page."""
    return make_response(render_template("error.html", message=str(exc), status=status), status)


def _neighbours(store: FeatureStore, page: Feature) -> list[Any]:
    try:
        return list(store.run(Query.of(near=str(FeatureId(page.dictionary, page.feature)), k=NEIGHBOURS)))
    except BadRequest:
        return []  # a zero decoder vector is near nothing
