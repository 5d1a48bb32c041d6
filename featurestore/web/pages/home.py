"""The first page: a form to search by label or by direction, the hits, and what the store holds."""

from __future__ import annotations

import itertools
import re
from typing import Any
from urllib.parse import urlencode

from flask import g, redirect, render_template, request
from flask.typing import ResponseReturnValue

from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.hits import Hits
from featurestore.web.pages.examples import QUERIES, SEARCHES, TEXTS
from featurestore.web.pages.page import Page


def show_home(store: FeatureStore) -> ResponseReturnValue:
    """Return the search form, with the hits of its fields or, without fields, with the store's dictionaries.

    A text that is the id of a feature leads to that feature's page.
    """
    # A form sends its empty fields too.
    fields = {name: values for name, values in request.args.to_dict(flat=False).items() if any(values)}
    text = fields.get("text", [""])[0].strip()
    if _looks_like_id(text):
        return redirect(f"/features/{text}")
    context: dict[str, Any] = {"dictionaries": store.dictionaries(), "fields": fields, "hits": None, "error": None}
    if not fields or g.get("only_shown"):
        queries = dict(itertools.islice(QUERIES.items(), 4))
        return render_template(
            "home.html", **context, info=store.info(), examples=SEARCHES, texts=TEXTS, queries=queries
        )
    try:
        query = Query.from_text(fields)
        hits = store.run(query)
    except FeatureStoreError as exc:
        return render_template("home.html", **context | {"error": str(exc)}), exc.status
    return render_template("home.html", **context | {"hits": hits}, **_links(fields, query, hits))


def _looks_like_id(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9]{1,9}", text) is not None


def _links(fields: dict[str, list[str]], query: Query, hits: Hits) -> dict[str, str | None]:
    """Return the URLs of the hits as JSON, of the first and the next page, and of the same search over all states."""
    first = {name: values for name, values in fields.items() if name != "cursor"}
    return {
        "json": f"/v1/{'nearest' if query.text is None else 'search'}?{urlencode(fields, doseq=True)}",
        "first": f"/?{urlencode(first, doseq=True)}" if query.cursor else None,
        "more": f"/?{urlencode(first | {'cursor': [hits.next]}, doseq=True)}" if hits.next else None,
        "everything": None if query.all else f"/?{urlencode(first | {'all': ['true']}, doseq=True)}",
    }


PAGES = (Page("/", show_home, lane="search", has_blank_form=True),)
