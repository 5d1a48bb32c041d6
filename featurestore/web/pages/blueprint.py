"""All pages as one Flask blueprint, with the filters and functions that their templates use."""

from __future__ import annotations

import functools
from collections.abc import Callable

from flask import Blueprint, Response, make_response, render_template

from featurestore.display.characters import find_first
from featurestore.display.charts import draw_activations, draw_densities
from featurestore.display.numbers import format_percent, format_value
from featurestore.display.tokens import find_bars, show_whitespace, split_characters
from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.web.pages import dictionary, feature, home, neighbourhood, sql, text
from featurestore.web.pages.page import Page

PAGES: tuple[Page, ...] = (
    *home.PAGES,
    *feature.PAGES,
    *neighbourhood.PAGES,
    *dictionary.PAGES,
    *text.PAGES,
    *sql.PAGES,
)
FILTERS: dict[str, Callable[..., str]] = {"number": format_value, "percent": format_percent, "visible": show_whitespace}
FUNCTIONS = (draw_activations, draw_densities, find_bars, find_first, split_characters)


def create_pages(store: FeatureStore) -> Blueprint:
    """Return the blueprint that answers PAGES from `store`."""
    blueprint = Blueprint("pages", __name__)
    for name, template_filter in FILTERS.items():
        blueprint.add_app_template_filter(template_filter, name)
    for function in FUNCTIONS:
        blueprint.add_app_template_global(function, function.__name__)
    for page in PAGES:
        view = functools.partial(page.view, store)
        blueprint.add_url_rule(page.path, page.view.__name__, view, methods=[page.method])
    return blueprint


def render_error(exc: FeatureStoreError, status: int) -> Response:
    """Return an error as a page."""
    return make_response(render_template("error.html", message=str(exc), status=status), status)
