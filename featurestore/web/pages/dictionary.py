"""The page of a dictionary: what it is, its features in several orders, and how dense they are."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import render_template
from flask.typing import ResponseReturnValue

from featurestore.errors import BadRequest
from featurestore.interface import FeatureStore
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.limits import SQL_SECONDS
from featurestore.wire.requests import Request

PAGE_SIZE = 50  # features shown at once
LAST_PAGE = 1_000_000
STATES = ("live", "always-on", "dead", "unharvested")

COUNTS = """
SELECT state, count(*) AS n, count(*) FILTER (WHERE structural) AS structural
FROM features WHERE dictionary = $dictionary GROUP BY 1
"""
# Bins are quarters of a power of ten.
DENSITIES = """
SELECT floor(log10(density) * 4)::INTEGER AS bin, count(*) AS n
FROM features WHERE dictionary = $dictionary AND density > 0 GROUP BY 1 ORDER BY 1
"""
FEATURES = """
SELECT feature, label, density, max_activation, state, structural
FROM features WHERE dictionary = $dictionary
AND ($state::VARCHAR IS NULL OR state = $state OR ($state = 'structural' AND structural))
"""
ONE_PAGE = " LIMIT $limit OFFSET $offset"


class Order(NamedTuple):
    """An order of features: its name on the page, and the statement that gives one page of them."""

    title: str
    statement: str


ORDERS = {
    "density": Order("densest", f"{FEATURES} ORDER BY density DESC NULLS LAST, feature {ONE_PAGE}"),
    "rarest": Order("rarest", f"{FEATURES} ORDER BY density NULLS LAST, feature {ONE_PAGE}"),
    "max": Order("strongest", f"{FEATURES} ORDER BY abs(max_activation) DESC NULLS LAST, feature {ONE_PAGE}"),
    "index": Order("by index", f"{FEATURES} ORDER BY feature {ONE_PAGE}"),
}


class DictionaryFields(Request, frozen=True):
    """The fields of the page: the order of the features, the number of the page from 1, and their state
    or `structural`."""

    order: str = "density"
    page: int = 1
    state: str | None = None


def show_dictionary(store: FeatureStore, model: str, source: str) -> ResponseReturnValue:
    """Return the page of a dictionary, with 50 of its features."""
    fields = _read_fields()
    dictionary = store.dictionary(f"{model}/{source}")
    id = {"dictionary": dictionary.dictionary}
    page = {"state": fields.state, "limit": PAGE_SIZE, "offset": (fields.page - 1) * PAGE_SIZE}
    states = _query(store, COUNTS, id)
    counts = {row["state"]: row["n"] for row in states}
    structural = sum(row["structural"] for row in states)
    of_state = counts | {"structural": structural}
    shown = of_state.get(fields.state, 0) if fields.state else sum(counts.values())
    return render_template(
        "dictionary.html",
        dictionary=dictionary,
        counts=counts,
        structural=structural,
        coverage=next((one for one in store.coverage() if one.dictionary == dictionary.dictionary), None),
        rows=_query(store, ORDERS[fields.order].statement, id | page),
        densities=_query(store, DENSITIES, id),
        orders=ORDERS,
        states=STATES,
        order=fields.order,
        state=fields.state,
        number=fields.page,
        last=-(-shown // PAGE_SIZE),
    )


def _read_fields() -> DictionaryFields:
    """Return the fields of the request. Raises BadRequest for an order, a state or a page that does not exist."""
    fields = read(DictionaryFields)
    if fields.order not in ORDERS:
        raise BadRequest(f"order: '{fields.order}' is not one of {', '.join(ORDERS)}")
    if fields.state is not None and fields.state not in (*STATES, "structural"):
        raise BadRequest(f"state: '{fields.state}' is not one of {', '.join(STATES)}, structural")
    if not 1 <= fields.page <= LAST_PAGE:
        raise BadRequest(f"page: {fields.page} is not a page; they run from 1 to {LAST_PAGE:,}")
    return fields


def _query(store: FeatureStore, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.sql(statement, parameters, timeout=SQL_SECONDS).to_pylist()
    return rows


PAGES = (Page("/dictionaries/<model>/<source>", show_dictionary, lane="search", may_embed=True),)
