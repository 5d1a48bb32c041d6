"""Comparisons and neighbourhoods in a real Chromium: from a search, on a phone, without scripts, light and dark."""

import itertools

import pytest

import featurestore
from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

FEATURES = "/compare?id=tiny/0-res/8&id=tiny/0-res/3&id=tiny/1-res/8"
NEIGHBOURHOOD = "/neighbourhood/tiny/0-res/8?k=8"
DICTIONARIES = "/compare?id=tiny/0-res&id=tiny/1-res"


@pytest.fixture(scope="module")
def url(tiny_store):
    with featurestore.connect(tiny_store) as store, real_server.serving(create_app(store)) as address:
        yield address


@pytest.mark.parametrize("path", ["/compare", FEATURES, DICTIONARIES])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_their_window(chromium, url, path, scheme):
    with open_page(chromium, url, color_scheme=scheme) as page:
        page.goto(path)
        assert find_violations(page) == []
        for width in (375, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width
        page.set_viewport_size({"width": 375, "height": 800})
        assert find_violations(page) == []


def test_ticked_hits_are_compared(chromium, url):
    with open_page(chromium, url) as page:
        page.goto("/?text=exception+handling")
        boxes = page.locator(".cards input[name=id]")
        ids = [boxes.nth(n).get_attribute("value") for n in (0, 1)]
        for n in (0, 1):
            boxes.nth(n).check()
        page.get_by_role("button", name="Compare the ticked").click()
        page.wait_for_url("**/compare?*")
        assert page.locator(".cosines .id").all_inner_texts() == ids
        page.get_by_label("Feature 3", exact=True).fill("tiny/1-res/8")
        page.get_by_role("button", name="Compare features").click()
        page.wait_for_url("**/compare?*1-res*")
        assert page.locator(".pairs > li").count() == 3
        page.get_by_role("link", name=f"Compare without {ids[0]}").click()
        page.get_by_role("heading", name="Examples in turn").wait_for()
        assert page.locator(".pairs > li").count() == 1


def test_it_works_without_scripts(chromium, url):
    page = chromium.new_page(base_url=url, java_script_enabled=False)
    page.goto("/features/tiny/0-res/8")
    page.get_by_label("Compare with").fill("tiny/0-res/3")
    page.get_by_role("button", name="Compare", exact=True).click()
    assert page.locator(".cosines .cell").count() == 4
    page.goto("/compare")
    page.get_by_label("Dictionary 2").select_option("tiny/1-res")
    page.get_by_role("button", name="Compare dictionaries").click()
    page.locator(".matches .cosine a").first.click()
    assert page.locator(".cosines .cell").count() == 4
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_neighbourhood_is_accessible_and_fits_its_window(chromium, url, scheme):
    with open_page(chromium, url, color_scheme=scheme) as page:
        page.goto(NEIGHBOURHOOD)
        for opened in page.locator("details").all():
            opened.locator("summary").click()
        for width in (1200, 375):
            page.set_viewport_size({"width": width, "height": 800})
            assert find_violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


def test_no_label_covers_another_as_it_is_drawn(chromium, url):
    """By the browser's own fonts, which the layout only estimates."""
    with open_page(chromium, url) as page:
        page.goto(NEIGHBOURHOOD)
        for width in (1200, 375):
            page.set_viewport_size({"width": width, "height": 800})
            drawn = page.eval_on_selector_all(".graph .name", "all => all.map(e => e.getBoundingClientRect().toJSON())")
            boxes = [box for box in drawn if box["width"]]  # only the drawing for this width is shown
            assert 2 < len(boxes) < len(drawn)
            assert all(box["left"] >= 0 and box["right"] <= width for box in boxes)
            for one, other in itertools.combinations(boxes, 2):
                across = min(one["right"], other["right"]) - max(one["left"], other["left"])
                down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
                assert across <= 1 or down <= 4, "lines of text may touch by what is empty above their letters"
