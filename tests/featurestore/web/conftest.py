"""Chromium for the tests of pages; tests that want it are skipped where there is none."""

import pytest

from tests.support.browser import CHROMIUM, MISSING, open_browser


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with open_browser() as browser:
        yield browser
