"""The first page: one box for words, ids, vectors and texts; hits as cards with facets; what the store holds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from flask import g, redirect, render_template, request
from flask.typing import ResponseReturnValue

from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.dictionary import Dictionary
from featurestore.values.hits import Hit, Hits
from featurestore.web.pages.examples import QUERIES, SEARCHES, TEXTS
from featurestore.web.pages.page import Page
from featurestore.web.pages.search import facets
from featurestore.web.pages.search.facets import Facet
from featurestore.web.pages.search.hit_cards import make_cards
from featurestore.web.pages.search.search_box import Typed, read_typed
from featurestore.wire.limits import SQL_SECONDS

COUNTED = 100  # first matches that facets and the total are counted among
SCORES = """
SELECT dictionary || '/' || feature AS id, max(score) AS score FROM label_scores
WHERE (dictionary || '/' || feature) IN (SELECT unnest($ids::VARCHAR[])) AND score IS NOT NULL GROUP BY 1
"""
Fields = dict[str, list[str]]


class Asked(NamedTuple):
    """What a request asks for: the query, the fields of the form as they were sent, and the facets chosen in them."""

    query: Query
    fields: Fields
    chosen: dict[str, str]


def show_home(store: FeatureStore) -> ResponseReturnValue:
    """Return the search form, with the hits of its fields or, without fields, with the store's dictionaries.

    A text that is the id of a feature or a dictionary leads to its page, one of several lines to the page of texts.
    """
    # A form sends its empty fields too.
    fields = {name: values for name, values in request.args.to_dict(flat=False).items() if any(values)}
    dictionaries = store.dictionaries()
    typed = read_typed(fields.get("text", [""])[0], {dictionary.dictionary for dictionary in dictionaries})
    if typed.kind in PATHS:
        return redirect(PATHS[typed.kind].format(quote(typed.value, safe="/" if typed.kind != "passage" else "")))
    context: dict[str, Any] = {
        "dictionaries": dictionaries,
        "fields": fields,
        "typed": typed,
        "hits": None,
        "error": None,
        "info": store.info(),
    }
    if not fields or g.get("only_shown"):
        queries = dict(itertools.islice(QUERIES.items(), 4))
        return render_template("home.html", **context, examples=SEARCHES, texts=TEXTS, queries=queries)
    try:
        asked = _read_fields(store, fields, typed)
        hits = store.run(asked.query)
        cards = make_cards(store, hits.hits)
        answer = {
            "hits": hits,
            "cards": cards,
            "runnable": _list_runnable(hits),
            **_count(store, asked, hits, dictionaries),
        }
    except FeatureStoreError as exc:
        return render_template("home.html", **context | {"error": str(exc)}), exc.status
    return render_template("home.html", **context | answer, **_links(asked, hits))


PATHS = {"feature": "/features/{}", "dictionary": "/dictionaries/{}", "passage": "/text?text={}"}


def _read_fields(store: FeatureStore, fields: Fields, typed: Typed) -> Asked:
    """Return the query of a form's fields. Raises BadRequest for fields that make none."""
    chosen = {name: fields[name][0] for name in facets.FIELDS if name in fields}
    texts = {name: values for name, values in fields.items() if name not in chosen}
    where = facets.write_condition(chosen, fields.get("where", [None])[0], lambda: _list_explainers(store))
    if where is not None:
        texts["where"] = [where]
    if typed.kind == "vector":
        texts.pop("text")
        texts["vector"] = [",".join(map(repr, typed.vector))]
        for name in ("mode", "over"):
            texts.pop(name, None)
    return Asked(Query.from_text(texts), fields, chosen)


def _list_runnable(hits: Hits) -> list[str]:
    """Return the ids of the hits, if one model can run them all on a text."""
    models = {hit.dictionary.partition("/")[0] for hit in hits}
    return [hit.id for hit in hits] if len(models) == 1 else []


def _list_explainers(store: FeatureStore) -> set[str]:
    return {explainer for coverage in store.coverage() for explainer in coverage.explainers}


def _count(store: FeatureStore, asked: Asked, hits: Hits, dictionaries: Sequence[Dictionary]) -> dict[str, Any]:
    """Return the facets of the first matches, how many match, and whether there may be more."""
    first = hits.hits
    if hits.next or asked.query.cursor:
        wide = msgspec.structs.replace(asked.query, k=max(COUNTED, asked.query.k), group=False, cursor=None)
        first = store.run(wide).hits
    matching = [hit for hit in first if not hit.weak]
    by_id = {dictionary.dictionary: dictionary for dictionary in dictionaries}
    chosen = asked.chosen | _name_dictionary(asked.query, by_id)
    counted = facets.count_facets(first, by_id, _read_scores(store, first), chosen)
    return {
        "facets": [(facet, _link_values(asked, facet)) for facet in counted],
        "matching": len(matching),
        "at_least": len(first) >= COUNTED and len(matching) == len(first),
        "counted": len(first),
    }


def _name_dictionary(query: Query, dictionaries: Mapping[str, Dictionary]) -> dict[str, str]:
    name = query.within[0] if query.within else None
    return {} if name is None else {"dictionary" if name in dictionaries else "model": name}


def _read_scores(store: FeatureStore, hits: Sequence[Hit]) -> dict[str, float]:
    """Return the scores of labels by the feature's id; nothing where the store has none."""
    if not store.info().rows.get("scores"):
        return {}
    rows = store.sql(SCORES, {"ids": [hit.id for hit in hits]}, timeout=SQL_SECONDS).to_pylist()
    return {row["id"]: row["score"] for row in rows}


def _link_values(asked: Asked, facet: Facet) -> list[tuple[facets.Value, str]]:
    """Return each value of a facet with the URL that filters by it, or that of the search without this filter."""
    field = "within" if facet.field in ("model", "dictionary") else facet.field
    others = {name: values for name, values in asked.fields.items() if name not in (field, "cursor")}
    return [
        (value, f"/?{urlencode(others if value.chosen else others | {field: [value.value]}, doseq=True)}")
        for value in facet.values
    ]


def _links(asked: Asked, hits: Hits) -> dict[str, str | None]:
    """Return the URLs of the hits as JSON, of the first and the next page, and of the same search over all states."""
    query = asked.query.to_dict()
    if "vector" in query:
        query["vector"] = ",".join(map(repr, query["vector"]))
    query = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    first = {name: values for name, values in asked.fields.items() if name != "cursor"}
    return {
        "json": f"/v1/{'nearest' if asked.query.text is None else 'search'}?{urlencode(query, doseq=True)}",
        "first": f"/?{urlencode(first, doseq=True)}" if asked.query.cursor else None,
        "more": f"/?{urlencode(first | {'cursor': [hits.next]}, doseq=True)}" if hits.next else None,
        "everything": None if asked.query.all else f"/?{urlencode(first | {'all': ['true']}, doseq=True)}",
    }


PAGES = (Page("/", show_home, lane="search", has_blank_form=True),)
