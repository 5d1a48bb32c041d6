"""The pages in a real Chromium: search, a feature, SQL; no error on the console, nothing that the policy blocks."""

import shutil
import threading

import pytest
from playwright.sync_api import sync_playwright
from waitress.server import create_server

import featurestore
from featurestore.web import create_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: install the package chromium")


@pytest.fixture(scope="module")
def url(tiny_store):
    with featurestore.connect(tiny_store) as store:
        server = create_server(create_app(store), host="127.0.0.1", port=0, threads=4)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.effective_port}"
        server.close()
        thread.join(5)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, url):
    page = chromium.new_page(viewport={"width": 1200, "height": 800}, base_url=url)
    complaints = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def test_search_then_a_feature(page):
    page.goto("/")
    page.get_by_label("What should the feature mean?").fill("exception handling")
    page.keyboard.press("Enter")
    first = page.locator(".hits a.label").first
    assert "exception handling" in first.inner_text()
    first.click()
    page.wait_for_url("**/features/tiny/**")
    assert page.locator(".histogram rect").count() >= 1
    lit = page.locator(".examples .t.peak").first
    assert lit.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
    assert page.locator(".side .hits li").count() == 8


def test_keys_move_between_features(page):
    page.goto("/features/tiny/0-res/8")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/features/tiny/0-res/9")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"


def test_sql_runs_and_links_to_features(page):
    page.goto("/sql")
    page.get_by_label("SQL").fill("SELECT dictionary, feature, label FROM features WHERE feature = 5 ORDER BY ALL")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/sql?sql=*")
    assert page.locator(".result tr").count() == 3
    page.locator(".result a[href^='/features/']").first.click()
    page.wait_for_url("**/features/tiny/0-res/5")


@pytest.mark.parametrize("width", [1200, 400])
@pytest.mark.parametrize(
    "path", ["/", "/?text=self", "/features/tiny/0-res/8", "/dictionaries/tiny/0-res", "/text", "/sql"]
)
def test_pages_fit_their_window(page, path, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
