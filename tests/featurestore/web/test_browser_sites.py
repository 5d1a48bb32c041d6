"""Sites in a real Chromium: our own form writes a label; a page of another site reaches nothing, but its link works."""

import http.server
import threading
from urllib.parse import quote

import pytest

from featurestore.web import Settings, create_app
from tests.support import tiny
from tests.support.servers import real_server

STATEMENT = "SELECT 'ra' || 'n' AS word"
OTHER_SITE = """<!doctype html><title>another site</title>
<img src="{url}/v1/sql?sql={sql}"><iframe src="{url}/sql?sql={sql}"></iframe>
<script src="{url}/v1/search?text=x"></script>
<form id="plain" method="post" action="{url}/features/tiny/0-res/3"><input name="label" value="of another site"></form>
<a id="page" href="{url}/features/tiny/0-res/3">a page</a> <a id="sql" href="{url}/sql?sql={sql}">a statement</a>
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("stores") / "s", index=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def seen():
    """What the service was asked for, with the site that the browser said, and the status of the answer."""
    return []


@pytest.fixture(scope="module")
def url(store, seen):
    app = create_app(store, Settings(writes=True))
    inner = app.wsgi_app

    def watched(environ, start_response):
        def start(status, headers, exc_info=None):
            seen.append((environ["PATH_INFO"], environ.get("HTTP_SEC_FETCH_SITE"), int(status[:3])))
            return start_response(status, headers, exc_info)

        return inner(environ, start)

    app.wsgi_app = watched
    with real_server.serving(app) as address:
        yield address


@pytest.fixture(scope="module")
def other_site(url):
    """The address of a page of another site: to a browser, localhost is another site than 127.0.0.1."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(OTHER_SITE.format(url=url, sql=quote(STATEMENT)).encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(chromium, url):
    page = chromium.new_page(base_url=url)
    yield page
    page.close()


def test_a_label_typed_into_our_form_is_written(page, store):
    page.goto("/features/tiny/0-res/8")
    page.get_by_label("What it means").fill("seen by a person")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.get_by_role("button", name="Say so").click()
    assert answered.value.status == 303
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == "seen by a person"
    assert store.feature("tiny/0-res/8").label == "seen by a person"
    # Even where a page of ours is told to send no referrer, so that the form's Origin is null.
    page.evaluate("() => document.head.insertAdjacentHTML('beforeend', '<meta name=referrer content=no-referrer>')")
    page.get_by_label("What it means").fill("seen again")
    with page.expect_request(lambda request: request.method == "POST") as asked:
        page.get_by_role("button", name="Say so").click()
    page.wait_for_load_state()
    assert asked.value.all_headers()["origin"] == "null"
    assert store.feature("tiny/0-res/8").label == "seen again"


def test_a_page_of_another_site_reaches_nothing(page, store, url, other_site, seen):
    before = store.feature("tiny/0-res/3").label
    seen.clear()
    page.goto(other_site)
    page.wait_for_load_state("networkidle")
    fetched = page.evaluate(
        """async (url) => {
          const tried = [];
          for (const options of [{mode: "no-cors"}, {mode: "cors"}, {mode: "no-cors", method: "POST", body: "{}"}]) {
            const path = options.method ? "/v1/sql" : "/v1/sql?sql=SELECT+1";
            tried.push(await fetch(url + path, options).then((answer) => answer.type, () => "refused"));
          }
          return tried;
        }""",
        url,
    )
    assert fetched == ["opaque", "refused", "opaque"]
    assert len(seen) == 6
    assert {(site, status) for _, site, status in seen} == {("cross-site", 403)}
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.evaluate("() => document.getElementById('plain').submit()")
    assert answered.value.status == 403
    assert store.feature("tiny/0-res/3").label == before


def test_links_of_another_site_open_pages_and_run_no_sql(page, other_site):
    page.goto(other_site)
    page.locator("#page").click()
    page.wait_for_url("**/features/tiny/0-res/3")
    assert page.locator("h1.feature").count() == 1
    page.goto(other_site)
    page.locator("#sql").click()
    page.wait_for_url("**/sql?sql=*")
    assert page.get_by_label("SQL").input_value() == STATEMENT
    assert "nothing was run" in page.locator(".notes[role=status]").inner_text()
    page.get_by_role("button", name="Run").click()
    page.wait_for_load_state()
    assert page.locator(".result td").all_inner_texts() == ["ran"]
