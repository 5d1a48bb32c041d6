"""The page of a feature in a real Chromium: on a text, by keyboard alone, on a phone, with and without scripts."""

import numpy
import pytest

import featurestore
from featurestore.web import Settings, create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

PATH = "/features/tiny/0-res/8"
ON_TEXT = f"{PATH}/on-text?text=hello+world"


@pytest.fixture(scope="module")
def url(tiny_store):
    def run(dictionaries, text):
        fired = (numpy.array([8]), numpy.array([1]), numpy.array([1.5], numpy.float32))
        return ["hello", " world"], {dictionary.dictionary: fired for dictionary in dictionaries}

    with pytest.MonkeyPatch.context() as patch, featurestore.connect(tiny_store) as store:
        patch.setattr("featurestore.search.activating._model_runner", lambda: run)
        with real_server.serving(create_app(store)) as address:
            yield address


@pytest.fixture
def page(chromium, url):
    with open_page(chromium, url) as page:
        yield page


@pytest.mark.parametrize("path", [PATH, ON_TEXT, f"{PATH}?contains=zzz"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, path, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    for label in ("values",) if "on-text" in path or path == PATH else ():
        page.get_by_label(label, exact=True).check()
    assert find_violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_where_one_may_write(chromium, tiny_store, scheme):
    with (
        featurestore.connect(tiny_store) as store,
        real_server.serving(create_app(store, Settings(writes=True))) as url,
        open_page(chromium, url, color_scheme=scheme) as page,
    ):
        page.goto(PATH)
        assert page.get_by_role("button", name="Take back").count() >= 1
        assert find_violations(page) == []


@pytest.mark.parametrize("path", [PATH, ON_TEXT])
def test_it_fits_a_phone(page, path):
    page.set_viewport_size({"width": 400, "height": 800})
    page.goto(path)
    page.get_by_label("values", exact=True).check()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_by_keyboard_alone(page):
    page.goto(PATH)
    page.get_by_label("This feature on my text").focus()
    page.keyboard.type("hello world")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/on-text?text=hello+world#on-text")
    assert "Largest 1.5 on" in page.locator(".on-text [role=status]").inner_text()
    values = page.get_by_label("values", exact=True)
    values.focus()
    page.keyboard.press("Space")
    shown = page.locator(".examples .t.peak").first.evaluate("e => getComputedStyle(e, '::after').content")
    assert page.locator(".examples .t.peak").first.get_attribute("data-v") in shown
    page.get_by_label("Jump to an index").focus()
    page.keyboard.type("9")
    page.keyboard.press("Enter")
    page.wait_for_url("**/features/tiny/0-res/9")


def test_lines_and_the_vector_are_copied(chromium, url):
    with open_page(chromium, url, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(PATH)
        for name, expected in (("id", "tiny/0-res/8"), ("Python", "store.feature('tiny/0-res/8')"), ("vector", "[")):
            page.get_by_role("button", name=f"Copy {name}", exact=True).click()
            page.get_by_role("button", name=f"Copied: {name}").wait_for()
            assert page.evaluate("navigator.clipboard.readText()").startswith(expected)


def test_it_works_without_scripts(chromium, url):
    page = chromium.new_page(base_url=url, java_script_enabled=False)
    page.goto(PATH)
    page.get_by_label("This feature on my text").fill("hello world")
    page.get_by_role("button", name="Run the model").click()
    assert page.locator(".on-text .t").inner_text().strip().startswith("world")
    page.get_by_label("Filter examples by text").fill("zzz nowhere")
    page.get_by_role("button", name="Filter").click()
    assert page.locator(".wide [role=status]").inner_text().startswith("0 of ")
    page.get_by_role("link", name="random").click()
    page.wait_for_url("**/features/tiny/0-res/*")
    page.close()
