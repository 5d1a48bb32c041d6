"""Pages in frames of another site, in a real Chromium: shown where the service names the site, and nowhere else."""

import contextlib
import html

import pytest

from featurestore.client import Client
from featurestore.web import Settings, create_app
from tests.support.servers import real_server

SHOWN = {
    "/features/tiny/0-res/8": "closing brackets",
    "/dictionaries/tiny/0-res": "tiny/0-res",
    "/neighbourhood/tiny/0-res/8": "tiny/0-res/8",
    "/graphs/colons": "def x",
}


@contextlib.contextmanager
def blog(frames):
    """The origin of a site with one page, which has these frames."""

    def answer(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [f"<!doctype html><title>a blog</title><p>A post.</p>{''.join(frames)}".encode()]

    with real_server.serving(answer) as origin:
        yield origin


@contextlib.contextmanager
def service(store, *ancestors, writes=True):
    with real_server.serving(create_app(store, Settings(frame_ancestors=frozenset(ancestors), writes=writes))) as url:
        yield url


def read_frame(page, url):
    """The frame of `url` on a page, once it is there, and its text; "" for one that the browser refused to show."""
    page.wait_for_load_state("networkidle")
    frame = next((frame for frame in page.frames[1:] if frame.url.startswith(url)), None)
    return frame, frame.locator("body").inner_text() if frame is not None else ""


@pytest.mark.parametrize("path", SHOWN)
def test_a_page_of_a_named_site_shows_it(chromium, graph_store, path):
    frames = []
    with blog(frames) as origin, service(graph_store, origin) as url, contextlib.closing(chromium.new_page()) as page:
        frames.append(f'<iframe src="{html.escape(url + path)}?embed=true" width="800" height="600"></iframe>')
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(origin)
        frame, text = read_frame(page, url + path)
        assert SHOWN[path].casefold() in text.casefold()
        assert frame.locator("form, header").count() == 0
        assert frame.evaluate("document.styleSheets.length > 0 && innerWidth == 800")
        assert errors == []
        # A link of the frame opens a page of its own.
        if path.startswith("/features/"):
            with page.expect_popup() as popup:
                frame.get_by_role("link", name="open", exact=True).click()
            popup.value.wait_for_load_state()
            assert popup.value.url == url + path and popup.value.locator("header").count() == 1


@pytest.mark.parametrize("path", SHOWN)
def test_a_page_of_another_site_does_not(chromium, graph_store, path):
    """The service refuses where it names no site; where it names others, the browser does as the policy says."""
    for named in ((), ("https://blog.example",)):
        frames = []
        with blog(frames) as origin, service(graph_store, *named) as url:
            frames.append(f'<iframe src="{url}{path}?embed=true"></iframe>')
            with contextlib.closing(chromium.new_page()) as page:
                page.goto(origin)
                _, text = read_frame(page, url)
                assert SHOWN[path].casefold() not in text.casefold()


def test_a_named_site_frames_nothing_else(chromium, graph_store):
    """Without ?embed=true a page has forms, so it stays out of frames of sites that are named too."""
    frames = []
    with blog(frames) as origin, service(graph_store, origin) as url, contextlib.closing(chromium.new_page()) as page:
        frames += [f'<iframe src="{url}{path}"></iframe>' for path in (*SHOWN, "/", "/sql", "/v1/info")]
        page.goto(origin)
        page.wait_for_load_state("networkidle")
        for frame in page.frames[1:]:
            assert "tiny/0-res" not in frame.locator("body").inner_text()


def test_the_frame_that_a_feature_gives(chromium, graph_store):
    frames = []
    with blog(frames) as origin, service(graph_store, origin) as url, contextlib.closing(chromium.new_page()) as page:
        with Client(url) as client:
            feature = client.feature("tiny/0-res/8")
        assert feature.url == f"{url}/features/tiny/0-res/8"
        frames.append(str(feature.embed(height=400)))
        page.goto(origin)
        frame, text = read_frame(page, feature.url)
        assert feature.label in text
        assert frame.evaluate("innerHeight") == 400
