"""The page of one feature, and the forms on it that add a label or take one back."""

from __future__ import annotations

import itertools
from typing import NamedTuple
from urllib.parse import quote

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from featurestore.display.tokens import Run, split_characters
from featurestore.errors import BadRequest, NotFound
from featurestore.interface import FeatureStore
from featurestore.query import Query
from featurestore.values.feature import Example, Feature, FeatureId, GivenLabel
from featurestore.values.hits import Hit
from featurestore.values.label_text import MOST_LABEL
from featurestore.web.api import labels
from featurestore.web.pages import graphs
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Nothing

NEIGHBOURS = 8


class Band(NamedTuple):
    """The examples of one band, each with its tokens as runs of text."""

    name: str
    examples: list[tuple[Example, list[Run]]]


def show_feature(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Return the page of a feature: statistics, labels, scores, examples, logit effects and nearest features."""
    read(Nothing)
    page = store.feature(f"{model}/{source}/{index}")
    dictionary = store.dictionary(page.dictionary)
    bands = _group_bands(page)
    return render_template(
        "feature.html",
        page=page,
        dictionary=dictionary,
        bands=bands,
        folded=any(run.far for band in bands for _, runs in band.examples for run in runs),
        near=_find_nearest(store, page),
        before=page.feature - 1 if page.feature else None,
        graphs=graphs.list_graphs_of(store, FeatureId.parse(page.id)),
        history=store.label_history(page.id),
        most=MOST_LABEL,
        after=page.feature + 1 if page.feature + 1 < dictionary.d_sae else None,
    )


def change_label(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Write the label of the form, or take back that of the explainer in it; lead back to the feature's page."""
    fields = list(request.form.items(multi=True))
    if [name for name, _ in fields] not in (["label"], ["remove"]):
        raise BadRequest("the form has one field, label or remove")
    id = f"{model}/{source}/{index}"
    ((name, value),) = fields
    if name == "remove":
        store.remove_label(id, value, labels.name_writer(store))
    else:
        store.add_labels([GivenLabel(id=id, label=value)], labels.name_writer(store))
    return redirect(f"/features/{quote(id)}", 303)


def _group_bands(page: Feature) -> list[Band]:
    return [
        Band(name, [(example, _split(example, page.max_activation)) for example in examples])
        for name, examples in itertools.groupby(page.examples, key=lambda example: example.band)
    ]


def _split(example: Example, largest: float | None) -> list[Run]:
    return split_characters(example.tokens, example.activations, largest, example.peak)


def _find_nearest(store: FeatureStore, page: Feature) -> list[Hit]:
    try:
        return list(store.run(Query.of({"near": page.id, "k": NEIGHBOURS})))
    except (BadRequest, NotFound):
        return []  # a zero decoder vector is near nothing, and some dictionaries have no vectors


PATH = "/features/<model>/<source>/<index>"
PAGES = (Page(PATH, show_feature, may_embed=True), Page(PATH, change_label, method="POST", scope="write", lane="write"))
