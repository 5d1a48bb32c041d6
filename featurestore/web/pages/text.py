"""The page of a text: which features fire on it, and on which of its tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import msgspec
from flask import g, render_template
from flask.typing import ResponseReturnValue

from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.values.feature import id_text
from featurestore.values.hits import Activating, ActiveFeature
from featurestore.web.pages.examples import TEXTS
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Request


class TextFields(Request, frozen=True):
    """The fields of the page; `feature` is the id of the feature whose activations are shown on the text."""

    text: str = ""
    dictionary: str | None = None
    order: str = "specific"
    k: int = 20
    feature: str | None = None


def show_text(store: FeatureStore) -> ResponseReturnValue:
    """Return the form for a text and, with one, the features that fire on it."""
    fields = read(TextFields)
    context: dict[str, Any] = {
        "dictionaries": store.dictionaries(),
        "fields": fields,
        "examples": TEXTS,
        "answer": None,
        "chosen": None,
        "error": None,
    }
    if not fields.text.strip() or g.get("only_shown"):
        return render_template("text.html", **context)
    try:
        answer = store.activating(fields.text, fields.dictionary or None, fields.k, fields.order)
        chosen = _choose(store, answer, fields.feature)
    except FeatureStoreError as exc:
        return render_template("text.html", **context | {"error": str(exc)}), exc.status
    again = {name: value for name, value in msgspec.structs.asdict(fields).items() if value and name != "feature"}
    return render_template(
        "text.html",
        **context | {"answer": answer, "chosen": chosen},
        show=lambda id: f"/text?{urlencode(again | {'feature': id})}#on-text",
        json=f"/v1/activating?{urlencode(again)}",
    )


def _choose(store: FeatureStore, answer: Activating, id: str | None) -> ActiveFeature | None:
    """Return the feature with this id, also one that is not in the answer; without one the first of the answer."""
    if not id:
        return answer.features[0] if answer.features else None
    wanted = id_text(id)
    listed = next((feature for feature in answer.features if feature.id == wanted), None)
    return listed or store.activating(answer.text, features=[wanted]).features[0]


PAGES = (Page("/text", show_text, lane="activating", has_blank_form=True),)
