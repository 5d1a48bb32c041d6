"""The page of a text in a real Chromium: tokens that are clicked, a phone, two texts, without scripts."""

import re

import numpy
import pytest

import featurestore
from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

TEXT = "/text?text=one+two%0Athree+four+five&order=activation"
TWO = "/text?text=one+two&against=three"


@pytest.fixture(scope="module")
def url(tiny_store):
    def run(dictionaries, text):
        tokens = re.findall(r"\s*\S+", text)
        features, places = numpy.array([3, 5, 8, 8]), numpy.array([0, 1, 0, 1]) % len(tokens)
        fired = (features, places, numpy.array([1.5, -2.5, 3.0, 7.0], numpy.float32) * len(tokens))
        return tokens, {dictionary.dictionary: fired for dictionary in dictionaries}

    with pytest.MonkeyPatch.context() as patch, featurestore.connect(tiny_store) as store:
        patch.setattr("featurestore.search.activating._model_runner", lambda: run)
        with real_server.serving(create_app(store)) as address:
            yield address


@pytest.mark.parametrize("path", [TEXT, f"{TEXT}&token=1", TWO])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_their_window(chromium, url, path, scheme):
    with open_page(chromium, url, color_scheme=scheme) as page:
        page.goto(path)
        if path != TWO:
            page.get_by_label("values", exact=True).check()
        for width in (1200, 375):
            page.set_viewport_size({"width": width, "height": 800})
            assert find_violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), width


def test_tokens_are_clicked_and_reached_by_keyboard(chromium, url):
    with open_page(chromium, url) as page:
        page.goto(TEXT)
        page.locator(".reading button", has_text="two").click()
        page.wait_for_url("**token=1*")
        assert page.locator(".fired .id").all_inner_texts()[:1] == ["tiny/0-res/8"]
        assert page.locator(".fired li").count() == 4
        page.locator(".reading button", has_text="one").focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**token=0*")
        page.get_by_role("button", name="All tokens").click()
        page.get_by_role("heading", name="On the whole text").wait_for()
        page.get_by_label("values", exact=True).check()
        cell = page.locator(".grid td[data-v]").first
        assert cell.get_attribute("data-v") in cell.evaluate("e => getComputedStyle(e, '::after').content")


def test_it_works_without_scripts(chromium, url):
    page = chromium.new_page(base_url=url, java_script_enabled=False)
    page.goto("/text")
    page.get_by_label("Text", exact=True).fill("one two\nthree")
    page.get_by_role("button", name="Run the model").click()
    page.get_by_role("button", name="show tiny/0-res/5 on the text").click()
    assert "tiny/0-res/5" in page.locator("#on-text h2").inner_text()
    page.locator(".grid thead button").nth(1).click()
    assert page.get_by_label("Text", exact=True).input_value() == "one two\nthree"
    page.get_by_text("and another text beside it").click()
    page.get_by_label("Another text").fill("three")
    page.get_by_role("button", name="Run the model").click()
    assert page.locator(".two .reading").count() == 2
    page.close()
