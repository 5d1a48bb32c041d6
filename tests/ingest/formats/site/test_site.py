"""A static site: what its files hold, and its pages in a real Chromium, from web hosts and from a folder."""

import functools
import http.server
import json
import re
import threading

import pytest
from click.testing import CliRunner

import featurestore
from ingest.cli.export_files import export_files
from ingest.formats.site import data_files
from tests.support.browser import CHROMIUM, MISSING, find_violations, open_browser, open_page


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's own file server, which knows no ranges."""

    def log_message(self, *_):
        pass


class Ranged(Plain):
    """A file server that answers range requests, and counts them."""

    answered = 0

    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            return super().do_GET()
        with open(self.translate_path(self.path), "rb") as file:
            file.seek(int(asked[1]))
            content = file.read(int(asked[2]) - int(asked[1]) + 1)
        Ranged.answered += 1
        self.send_response(206)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def site(tiny_store, tmp_path_factory):
    target = tmp_path_factory.mktemp("site") / "tiny-site"
    result = CliRunner().invoke(
        export_files, ["site", str(target), "--store", str(tiny_store), "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return target, json.loads(result.stdout)


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip(MISSING)
    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module", params=[Plain, Ranged, None], ids=["plain", "ranged", "folder"])
def url(request, site):
    folder, _ = site
    if request.param is None:
        yield f"{folder.as_uri()}/index.html"
        return
    handler = functools.partial(request.param, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()


def test_the_report_counts_what_was_written(site, tiny_store):
    folder, counts = site
    with featurestore.connect(tiny_store) as store:
        features = store.sql("select count(*) as n from features")["n"][0].as_py()
    assert counts["features"] == features
    assert counts["labels"] == counts["vectors of labels"] > 0
    assert sorted(path.name for path in folder.iterdir()) == ["data", "index.html", "site.js", "style.css"]


def test_pages_and_searches(chromium, url, request):
    Ranged.answered = 0
    with open_page(chromium, url.rpartition("/")[0]) as page:
        page.goto(url)
        page.get_by_role("link", name="tiny/0-res").click()
        page.get_by_role("link", name="more").wait_for(state="detached")
        page.get_by_role("link", name="8", exact=True).click()
        page.get_by_role("heading", name="Raises").wait_for()
        assert "·ValueError" in page.locator("table").all_inner_texts()[-2]
        assert page.locator("svg.bars rect").count() >= 1
        lit = page.locator(".example .peak").first
        assert lit.evaluate("e => getComputedStyle(e).backgroundColor") != "rgba(0, 0, 0, 0)"
        check_access(page)
        for mode in ("words", "meaning", "both"):
            page.get_by_label("What should the feature mean?").fill("exception handling")
            page.get_by_label("Search by").select_option(mode)
            page.get_by_role("button", name="Search").click()
            page.wait_for_function("document.title === 'exception handling'")
            assert "exception handling" in page.locator(".hits a").first.inner_text()
            page.goto(url + "#")
        check_access(page)
    assert (Ranged.answered > 0) == ("ranged" in request.node.callspec.id)


def check_access(page):
    """Assert that axe-core finds nothing, from a web host and in a folder."""
    assert find_violations(page, **({"preload": False} if page.url.startswith("file:") else {})) == []


def test_what_is_not_there_is_said(chromium, url):
    with open_page(chromium, url.rpartition("/")[0]) as page:
        page.goto(f"{url}#tiny/0-res/99999")
        page.get_by_text("This site has no feature tiny/0-res/99999.").wait_for()
        page.goto(f"{url}#tiny/none")
        page.get_by_text("This site has no tiny/none.").wait_for()
        page.goto(f"{url}#?text=zzzz&mode=words")
        page.get_by_text("No label has these words.").wait_for()


def test_chosen_features_are_all_reached_across_their_gaps(chromium, tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "BLOCK_FEATURES", 2)
    chosen = [0, 3, 8, 9, 17]
    where = f"dictionary = 'tiny/0-res' AND feature IN ({', '.join(map(str, chosen))})"
    command = ["site", str(tmp_path / "site"), "--store", str(tiny_store), "--where", where]
    assert CliRunner().invoke(export_files, command, catch_exceptions=False).exit_code == 0
    address = f"{(tmp_path / 'site').as_uri()}/index.html"
    with open_page(chromium, address.rpartition("/")[0]) as page:
        seen = []
        page.goto(f"{address}#tiny/0-res")
        while True:
            page.get_by_role("link", name=str(chosen[len(seen)]), exact=True).wait_for()
            seen += [int(text) for text in page.locator("tbody tr td:first-child").all_inner_texts()]
            if not page.get_by_role("link", name="more").count():
                break
            page.get_by_role("link", name="more").click()
        assert seen == chosen
        page.goto(f"{address}#tiny/0-res/0")
        for feature in chosen[1:]:
            page.get_by_role("link", name="next").click()
            page.get_by_text(f"tiny/0-res/{feature}", exact=True).wait_for()
        assert page.get_by_role("link", name="next").count() == 0
        for feature in reversed(chosen[:-1]):
            page.get_by_role("link", name="previous").click()
            page.get_by_text(f"tiny/0-res/{feature}", exact=True).wait_for()
        assert page.get_by_role("link", name="previous").count() == 0
