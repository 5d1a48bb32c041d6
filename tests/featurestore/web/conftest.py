"""Chromium for the tests of pages, which are skipped where there is none, and a store with an attribution graph."""

import pytest

import featurestore
from tests.support import attribution_graphs
from tests.support.browser import CHROMIUM, MISSING, open_browser
from tests.support.tiny import write_tiny_store


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def graph_store(tmp_path_factory):
    """The store of tests/support/tiny.py with the graph `colons`, open; a module's own, and it may write to it."""
    path = tmp_path_factory.mktemp("graphs") / "tiny.features"
    write_tiny_store(path).close()
    with featurestore.connect(path) as store:
        store.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        yield store
