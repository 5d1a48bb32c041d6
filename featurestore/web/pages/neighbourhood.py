"""The page of a neighbourhood: a feature, its nearest and theirs, as a drawing and as a list."""

from __future__ import annotations

from flask import render_template
from flask.typing import ResponseReturnValue

from featurestore.interface import FeatureStore
from featurestore.web.pages.drawings.neighbourhood_layout import lay_out
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Request


class NeighbourhoodFields(Request, frozen=True):
    """The fields of the page: how many nearest features each feature has."""

    k: int = 8


def show_neighbourhood(store: FeatureStore, model: str, source: str, index: str) -> ResponseReturnValue:
    """Return the page of what is near a feature."""
    k = read(NeighbourhoodFields).k
    neighbourhood = store.neighbourhood(f"{model}/{source}/{index}", k)
    drawing = lay_out(neighbourhood)
    return render_template("neighbourhood.html", neighbourhood=neighbourhood, drawing=drawing, k=k)


PAGES = (Page("/neighbourhood/<model>/<source>/<index>", show_neighbourhood, may_embed=True),)
