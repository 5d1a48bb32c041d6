"""The map of a dictionary in a real Chromium, of 100,000 points: drawn, moved, zoomed, pointed at, lit by a search."""

import numpy
import pyarrow
import pytest

import featurestore
from featurestore.web import create_app
from featurestore.web.pages import feature_map
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

COUNT = 100_000
PATH = "/map/tiny/0-res"
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def make_points(statement):
    rng = numpy.random.default_rng(0)
    if "value" in statement:
        return pyarrow.table({"feature": numpy.arange(COUNT), "value": rng.random(COUNT)})
    places = rng.normal(0, 0.3, (2, COUNT)).clip(-1, 1)
    places[:, 8] = 0  # the feature that is pointed at, alone in the middle
    places[:, numpy.abs(places).sum(0) < 0.02] += 0.1
    places[:, 8] = 0
    return pyarrow.table({"feature": numpy.arange(COUNT), "x": places[0], "y": places[1]})


@pytest.fixture(scope="module")
def url(tiny_store):
    with pytest.MonkeyPatch.context() as patch, featurestore.connect(tiny_store) as store:
        patch.setattr(feature_map, "_read", lambda store, statement, dictionary: make_points(statement))
        patch.setattr(feature_map, "_count", lambda store, dictionary: COUNT)
        with real_server.serving(create_app(store)) as address:
            yield address


@pytest.fixture
def page(chromium, url):
    with open_page(chromium, url) as page:
        page.goto(PATH)
        page.locator(".map[data-ready]").wait_for()
        yield page


def middle(page):
    box = page.locator(".map canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_points_are_drawn_and_change_when_it_is_zoomed_and_moved(page):
    drawn = "document.querySelector('.map canvas').toDataURL()"
    pictures = {page.evaluate(drawn)}
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.evaluate(FRAMES)
    assert page.evaluate("view.scale") > 1
    pictures.add(page.evaluate(drawn))
    page.mouse.down()
    page.mouse.move(x + 120, y + 40, steps=3)
    page.mouse.up()
    page.evaluate(FRAMES)
    assert page.evaluate("view.x") < 0
    pictures.add(page.evaluate(drawn))
    page.locator(".map canvas").focus()
    page.keyboard.press("+")
    page.evaluate(FRAMES)
    pictures.add(page.evaluate(drawn))
    assert len(pictures) == 4


def test_a_point_says_its_label_and_leads_to_its_feature(page):
    x, y = middle(page)
    page.mouse.move(x + 1, y)
    page.locator(".tip", has_text="8: ").wait_for()
    page.mouse.click(x + 1, y)
    page.wait_for_url("**/features/tiny/0-res/8")


def test_hits_of_a_search_are_lit_and_the_colour_is_chosen(page):
    page.locator(".mapbar [name=text]").fill("brackets")
    page.keyboard.press("Enter")
    page.locator(".lit a").first.wait_for()
    before = page.evaluate("colours[0]")
    page.locator(".mapbar [name=column]").select_option("max_activation")
    page.wait_for_url("**column=max_activation**")
    assert isinstance(before, int)


@pytest.mark.parametrize("width", [375, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_it_fits(page, scheme, width):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    assert find_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
