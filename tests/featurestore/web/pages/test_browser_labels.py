"""A label that is written on a feature's page, in a real browser: found at once, taken back by its button."""

import pytest

import featurestore
from featurestore.web import Settings, create_app
from tests.support import tiny
from tests.support.browser import open_page
from tests.support.servers import real_server

PATH = "/features/tiny/0-res/4"
LABEL = "glowing marmalade"


@pytest.fixture
def page(chromium, tmp_path):
    tiny.write_tiny_store(tmp_path / "s").close()
    with (
        featurestore.connect(tmp_path / "s") as store,
        real_server.serving(create_app(store, Settings(writes=True))) as url,
        open_page(chromium, url) as page,
    ):
        yield page


def test_a_label_is_found_at_once_and_taken_back_by_its_button(page):
    search, hits = f"/?text={LABEL.replace(' ', '+')}", page.locator(f":not(textarea):text-is('{LABEL}')")
    remove = page.locator("button[name=remove][value=human]")
    page.goto(PATH)
    page.locator("input[name=label]").fill(LABEL)
    page.locator("input[name=label]").press("Enter")
    remove.wait_for()
    assert page.inner_text("h1.feature") == LABEL
    page.goto(search)
    assert hits.count() > 0
    page.goto(PATH)
    remove.click()
    remove.wait_for(state="detached")
    assert "took back" in page.text_content("main")
    page.goto(search)
    assert hits.count() == 0
