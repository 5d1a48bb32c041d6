"""All pages as one Flask blueprint, with the filters and functions that their templates use."""

from __future__ import annotations

import functools
from collections.abc import Callable

from flask import Blueprint, Response, make_response, render_template

import featurestore
from featurestore.display.characters import find_first
from featurestore.display.charts import draw_activations, draw_densities, draw_magnitudes, draw_shares
from featurestore.display.numbers import format_percent, format_value
from featurestore.display.text import shorten
from featurestore.display.tokens import find_bars, render_runs, show_controls, show_whitespace, split_characters
from featurestore.errors import FeatureStoreError
from featurestore.interface import FeatureStore
from featurestore.storage.locations import hide_path
from featurestore.web.pages import dictionary, feature, feature_map, graphs, home, lists, neighbourhood, sql, text
from featurestore.web.pages.comparison import compare
from featurestore.web.pages.page import Page

PAGES: tuple[Page, ...] = (
    *home.PAGES,
    *feature.PAGES,
    *neighbourhood.PAGES,
    *dictionary.PAGES,
    *feature_map.PAGES,
    *graphs.PAGES,
    *lists.PAGES,
    *text.PAGES,
    *compare.PAGES,
    *sql.PAGES,
)
# The pages that every page leads to, in this order; one that is not among PAGES is left out.
NAVIGATION = {
    "/": "Search",
    "/text": "Text",
    "/compare": "Compare",
    "/graphs": "Graphs",
    "/lists": "Lists",
    "/sql": "SQL",
}
MOST_BRIEF = 240  # characters of a label, but where the page of its feature lists what was said
FILTERS: dict[str, Callable[..., str]] = {
    "number": format_value,
    "percent": format_percent,
    "visible": show_whitespace,
    "controls": show_controls,
    "brief": lambda label: show_controls(shorten(label, MOST_BRIEF)),
    "place": lambda location: hide_path(location) or "",
}


def list_navigation() -> list[tuple[str, str]]:
    """Return path and name of each page that every page leads to."""
    paths = {page.path for page in PAGES}
    return [(path, name) for path, name in NAVIGATION.items() if path in paths] + [("/docs", "API")]


FUNCTIONS = (
    draw_activations,
    draw_densities,
    draw_magnitudes,
    draw_shares,
    find_bars,
    find_first,
    list_navigation,
    render_runs,
    split_characters,
)


def create_pages(store: FeatureStore) -> Blueprint:
    """Return the blueprint that answers PAGES from `store`."""
    blueprint = Blueprint("pages", __name__)
    for name, template_filter in FILTERS.items():
        blueprint.add_app_template_filter(template_filter, name)
    for function in FUNCTIONS:
        blueprint.add_app_template_global(function, function.__name__)
    blueprint.add_app_template_global(lambda: featurestore.__version__, "show_version")
    for page in PAGES:
        view = functools.partial(page.view, store)
        blueprint.add_url_rule(page.path, page.view.__name__, view, methods=[page.method])
    return blueprint


def render_error(exc: FeatureStoreError, status: int) -> Response:
    """Return an error as a page."""
    return make_response(render_template("error.html", message=str(exc), status=status), status)
