"""The pages of graphs in a real Chromium: nothing serious for axe-core, every width, and the keyboard alone."""

import pytest

from featurestore.web import create_app
from tests.support.browser import find_violations, open_page
from tests.support.servers import real_server

PATHS = ["/graphs", "/graphs/colons?share=1", "/graphs/colons?node=0_8_2&share=1", "/features/tiny/0-res/8"]


@pytest.fixture(scope="module")
def url(graph_store):
    with real_server.serving(create_app(graph_store)) as address:
        yield address


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_their_window(chromium, url, path, scheme):
    with open_page(chromium, url, color_scheme=scheme) as page:
        page.goto(path)
        assert find_violations(page) == []
        for width in (375, 400, 2560):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_node_is_chosen_by_the_keyboard(chromium, url):
    with open_page(chromium, url) as page:
        page.goto("/graphs")
        page.get_by_role("link", name="colons").click()
        page.locator(".circuit a.feature").first.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".circuit a.chosen")
        assert page.locator(".circuit .link").count() == 1
        assert page.get_by_role("heading", name="It leads to").is_visible()


def test_the_slider_prunes_and_without_scripts_a_button_does(chromium, url):
    with open_page(chromium, url) as page:
        page.goto("/graphs/colons?share=1")
        whole = page.locator(".circuit a").count()
        page.get_by_role("slider").focus()
        page.keyboard.press("Home")
        page.wait_for_url("**share=0.05*")
        assert page.locator(".circuit a").count() < whole
    with open_page(chromium, url, java_script_enabled=False) as page:
        page.goto("/graphs/colons?share=0.05")
        page.get_by_role("button", name="Show").click()
        assert page.locator(".circuit a").count() >= 1
