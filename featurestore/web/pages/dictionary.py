"""The page of a dictionary: what it is, its features in several orders or those of a condition, and its statistics."""

from __future__ import annotations

import itertools
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import render_template
from flask.typing import ResponseReturnValue

from featurestore.errors import BadRequest, FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.dictionary import Dictionary
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.limits import SQL_SECONDS
from featurestore.wire.requests import Request

PAGE_SIZE = 50  # features shown at once
LAST_PAGE = 1_000_000
STATES = ("live", "always-on", "dead", "unharvested")

# The sum of the densities is how many features fire on a token, on average.
COUNTS = """
SELECT state, count(*) AS n, count(*) FILTER (WHERE structural) AS structural, sum(density) AS active,
       count(label) AS labelled
FROM features WHERE dictionary = $dictionary GROUP BY 1
"""
# Bins are quarters of a power of ten.
BINS = """
SELECT 'density' AS what, floor(log10(density) * 4)::INTEGER AS bin, count(*) AS n
FROM features WHERE dictionary = $dictionary AND density > 0 GROUP BY 2
UNION ALL
SELECT 'largest', floor(log10(abs(max_activation)) * 4)::INTEGER, count(*)
FROM features WHERE dictionary = $dictionary AND abs(max_activation) > 0 GROUP BY 2
ORDER BY 1, 2
"""
SCORES = """
SELECT method, floor(value * 20)::INTEGER AS bin, count(*) AS n, sum(value) AS total
FROM scores WHERE dictionary = $dictionary AND value IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
HAS_MAP = "SELECT 1 FROM map_points WHERE dictionary = $dictionary LIMIT 1"
FEATURES = """
SELECT feature, label, density, max_activation, state, structural
FROM features WHERE dictionary = $dictionary AND feature >= $first
AND ($state::VARCHAR IS NULL OR state = $state OR ($state = 'structural' AND structural))
"""
ONE_PAGE = " LIMIT $limit OFFSET $offset"


class Order(NamedTuple):
    """An order of features: its name on the page, and the statement that gives one page of them."""

    title: str
    statement: str


ORDERS = {
    "index": Order("by index", f"{FEATURES} ORDER BY feature {ONE_PAGE}"),
    "density": Order("densest", f"{FEATURES} ORDER BY density DESC NULLS LAST, feature {ONE_PAGE}"),
    "rarest": Order("rarest", f"{FEATURES} ORDER BY density NULLS LAST, feature {ONE_PAGE}"),
    "max": Order("strongest", f"{FEATURES} ORDER BY abs(max_activation) DESC NULLS LAST, feature {ONE_PAGE}"),
}


class DictionaryFields(Request, frozen=True):
    """The fields of the page: the order of the features, the number of the page from 1, their state, the first index.

    A state may also be `structural` or `all`. With `text` or `where` the features are those that match, instead.
    """

    order: str = "index"
    page: int = 1
    state: str | None = None
    first: int = 0
    text: str = ""
    where: str = ""
    cursor: str | None = None


class Listed(NamedTuple):
    """Features of one page, the URLs of the pages before and after it, and which page of how many it is."""

    rows: list[Any]
    before: str | None
    after: str | None
    place: str
    notes: tuple[str, ...] = ()


class ScoreChart(NamedTuple):
    """The scores of a dictionary's labels by one method: how many, their mean, and bins of a twentieth."""

    method: str
    labels: int
    mean: float
    bins: list[dict[str, int]]


def show_dictionary(store: FeatureStore, model: str, source: str) -> ResponseReturnValue:
    """Return the page of a dictionary, with 50 of its features: without fields the live ones, by index."""
    fields = _read_fields()
    dictionary = store.dictionary(f"{model}/{source}")
    id = {"dictionary": dictionary.dictionary}
    counts = {row["state"]: row for row in _query(store, COUNTS, id)}
    state = fields.state or ("live" if "live" in counts else "all")
    status, error = 200, None
    try:
        listed = _list_features(store, dictionary, fields, state, counts)
    except FeatureStoreError as exc:
        status, error, listed = exc.status, str(exc), Listed([], None, None, "")
    bins = _query(store, BINS, id)
    live = counts.get("live", {}).get("n", 0)
    answer = render_template(
        "dictionary.html",
        dictionary=dictionary,
        counts={name: row["n"] for name, row in counts.items()},
        total=sum(row["n"] for row in counts.values()),
        structural=sum(row["structural"] for row in counts.values()),
        live=live,
        active=_sum([row["active"] for row in counts.values()]),
        labelled_live=counts.get("live", {}).get("labelled", 0),
        coverage=next((one for one in store.coverage() if one.dictionary == dictionary.dictionary), None),
        listed=listed,
        error=error,
        densities=[row for row in bins if row["what"] == "density"],
        magnitudes=[row for row in bins if row["what"] == "largest"],
        scores=_group_scores(_query(store, SCORES, id)),
        variance=_read_variance(dictionary.settings),
        has_map=bool(_query(store, HAS_MAP, id)),
        orders=ORDERS,
        states=STATES,
        fields=fields,
        state=state,
    )
    return answer, status


def _read_fields() -> DictionaryFields:
    """Return the fields of the request. Raises BadRequest for an order, a state or a page that does not exist."""
    fields = read(DictionaryFields)
    if fields.order not in ORDERS:
        raise BadRequest(f"order: '{fields.order}' is not one of {', '.join(ORDERS)}")
    if fields.state is not None and fields.state not in (*STATES, "structural", "all"):
        raise BadRequest(f"state: '{fields.state}' is not one of {', '.join((*STATES, 'structural', 'all'))}")
    if not 1 <= fields.page <= LAST_PAGE:
        raise BadRequest(f"page: {fields.page} is not a page; they run from 1 to {LAST_PAGE:,}")
    if not 0 <= fields.first < 2**31:
        raise BadRequest(f"first: {fields.first} is not the index of a feature")
    return fields


def _list_features(
    store: FeatureStore, dictionary: Dictionary, fields: DictionaryFields, state: str, counts: dict[str, Any]
) -> Listed:
    """Return the features that the fields ask for. Raises BadRequest for a condition that is not one."""
    if fields.first >= dictionary.d_sae:
        raise BadRequest(f"first: {dictionary.dictionary} has {dictionary.d_sae:,} features, from 0")
    if fields.text.strip():
        return _search(store, dictionary, fields)
    if fields.where.strip():
        return _select(store, dictionary, fields)
    chosen = None if state == "all" else state
    parameters = {"dictionary": dictionary.dictionary, "state": chosen, "first": fields.first}
    window = {"limit": PAGE_SIZE + 1, "offset": (fields.page - 1) * PAGE_SIZE}
    rows = _query(store, ORDERS[fields.order].statement, parameters | window)
    total = sum(_count(row, name, chosen) for name, row in counts.items())
    last = "" if fields.first else f" of {max(1, -(-total // PAGE_SIZE)):,}"
    kept = {"order": fields.order, "state": fields.state, "first": fields.first or None}
    return Listed(
        rows[:PAGE_SIZE],
        _link(kept, page=fields.page - 1) if fields.page > 1 else None,
        _link(kept, page=fields.page + 1) if len(rows) > PAGE_SIZE else None,
        f"page {fields.page:,}{last}",
    )


def _count(row: dict[str, Any], name: str, chosen: str | None) -> int:
    """Return how many features of the state `name` are among the chosen."""
    count: int = row["structural"] if chosen == "structural" else row["n"] if chosen in (None, name) else 0
    return count


def _search(store: FeatureStore, dictionary: Dictionary, fields: DictionaryFields) -> Listed:
    """Return the features whose labels match the text, and for which the condition holds, best first."""
    query = {
        "text": fields.text,
        "where": fields.where.strip() or None,
        "within": dictionary.dictionary,
        "k": PAGE_SIZE,
        "all": fields.state == "all",
        "cursor": fields.cursor,
    }
    hits = store.run(Query.of(query))
    rows = [
        {
            "feature": int(hit.id.rpartition("/")[2]),
            "label": hit.label,
            "density": hit.density,
            "max_activation": hit.max_activation,
            "state": hit.state,
        }
        for hit in hits
    ]
    kept = {"text": fields.text, "where": fields.where or None, "state": fields.state}
    return Listed(
        rows,
        _link(kept) if fields.cursor else None,
        _link(kept, cursor=hits.next) if hits.next else None,
        "best matches first",
        hits.notes,
    )


def _select(store: FeatureStore, dictionary: Dictionary, fields: DictionaryFields) -> Listed:
    """Return the features for which the condition holds, by index."""
    here = f"dictionary = '{dictionary.dictionary.replace(chr(39), chr(39) * 2)}' AND feature >= {fields.first}"
    found = store.features_where(f"({fields.where}\n) AND {here}", examples=0)
    features = list(itertools.islice(found, PAGE_SIZE + 1))
    if any(feature.dictionary != dictionary.dictionary for feature in features):
        raise BadRequest(f"where: the brackets of {fields.where!r:.200} do not match")
    kept = {"where": fields.where}
    after = _link(kept, first=features[PAGE_SIZE].feature) if len(features) > PAGE_SIZE else None
    before = _link(kept) if fields.first else None
    return Listed(features[:PAGE_SIZE], before, after, f"from {fields.first:,}" if fields.first else "by index")


def _link(kept: dict[str, Any], **changed: Any) -> str:
    return "?" + urlencode({name: value for name, value in (kept | changed).items() if value is not None})


def _group_scores(rows: list[dict[str, Any]]) -> list[ScoreChart]:
    charts = []
    for method, group in itertools.groupby(rows, key=lambda row: row["method"]):
        bins = list(group)
        count = sum(row["n"] for row in bins)
        charts.append(ScoreChart(method, count, sum(row["total"] for row in bins) / count, bins))
    return charts


def _read_variance(settings: str | None) -> float | None:
    """Return the share of variance explained, where who wrote the dictionary recorded it."""
    try:
        value = json.loads(settings or "{}").get("variance_explained")
    except (ValueError, AttributeError, RecursionError):
        return None
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _query(store: FeatureStore, statement: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = store.sql(statement, parameters, timeout=SQL_SECONDS).to_pylist()
    return rows


PAGES = (Page("/dictionaries/<model>/<source>", show_dictionary, lane="search", may_embed=True),)
