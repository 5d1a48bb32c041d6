"""The page of a neighbourhood in a real Chromium: labels that do not overlap, a phone, light and dark."""

import itertools

import pytest

import featurestore
from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

PATH = "/neighbourhood/tiny/0-res/8?k=8"


@pytest.fixture(scope="module")
def url(tiny_store):
    with featurestore.connect(tiny_store) as store, real_server.serving(create_app(store)) as address:
        yield address


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_its_window(chromium, url, scheme):
    with open_page(chromium, url, color_scheme=scheme) as page:
        page.goto(PATH)
        for opened in page.locator("details").all():
            opened.locator("summary").click()
        for width in (1200, 375):
            page.set_viewport_size({"width": width, "height": 800})
            assert find_violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


def test_no_label_covers_another_as_it_is_drawn(chromium, url):
    """By the browser's own fonts, which the layout only estimates."""
    with open_page(chromium, url) as page:
        page.goto(PATH)
        boxes = page.eval_on_selector_all(".graph .name", "all => all.map(e => e.getBoundingClientRect().toJSON())")
        assert len(boxes) > 5
        for one, other in itertools.combinations(boxes, 2):
            across = min(one["right"], other["right"]) - max(one["left"], other["left"])
            down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
            assert across <= 1 or down <= 4, "lines of text may touch by what is empty above their letters"
