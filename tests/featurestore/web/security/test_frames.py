"""Pages in frames of other sites: only where the service names the site, without forms, and nothing else changes."""

import pytest

from featurestore import BadRequest
from featurestore.client import Client
from featurestore.display.notebook import render_frame
from featurestore.web import Settings, create_app
from featurestore.web.security.headers import HEADERS, check_ancestors
from tests.support.servers import real_server

PAGES = ["/features/tiny/0-res/8", "/dictionaries/tiny/0-res", "/neighbourhood/tiny/0-res/8", "/graphs/colons"]
BLOG = "https://blog.example"
FRAME = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}


@pytest.fixture(scope="module")
def store(graph_store):
    return graph_store


@pytest.fixture(scope="module")
def http(store):
    settings = Settings(frame_ancestors=frozenset({BLOG, "http://localhost:8888"}), writes=True)
    return create_app(store, settings).test_client()


@pytest.mark.parametrize("page", PAGES)
def test_an_embedded_page(http, page):
    answer = http.get(f"{page}?embed=true", headers=FRAME)
    policy = answer.headers.getlist("Content-Security-Policy")
    assert answer.status_code == 200 and len(policy) == 1
    assert policy[0].endswith(f"frame-ancestors http://localhost:8888 {BLOG}") and "default-src 'none'" in policy[0]
    assert "X-Frame-Options" not in answer.headers and answer.headers["X-Content-Type-Options"] == "nosniff"
    assert '<base target="_blank">' in answer.text
    assert "<form" not in answer.text and "<header" not in answer.text


@pytest.mark.parametrize("path", [*PAGES, f"{PAGES[0]}?embed=false", "/", "/sql", "/text", "/v1/info"])
def test_all_else_stays_out_of_frames(http, path):
    answer = http.get(path)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]
    assert http.get(path, headers=FRAME).status_code == 403


@pytest.mark.parametrize("path", ["/sql?embed=true", "/text?embed=true", "/v1/info?embed=true", "/?embed=true"])
def test_no_other_page_takes_it(http, path):
    assert http.get(path).status_code == 400
    assert http.get(path, headers=FRAME).status_code == 403
    assert http.get(path).headers["X-Frame-Options"] == "DENY"


def test_a_service_that_names_no_site(store):
    http = create_app(store).test_client()
    answer = http.get(f"{PAGES[0]}?embed=true")
    assert answer.status_code == 200 and "<header" not in answer.text
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert http.get(f"{PAGES[0]}?embed=true", headers=FRAME).status_code == 403


def test_what_embed_may_be(http):
    answer = http.get(f"{PAGES[0]}?embed=yes")
    assert answer.status_code == 400 and "neither true nor false" in answer.text
    assert http.get(f"{PAGES[0]}?embed=true&embed=true").status_code == 400
    picture = FRAME | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert http.get(f"{PAGES[0]}?embed=true", headers=picture).status_code == 403
    assert http.post(f"{PAGES[0]}?embed=true", data={"label": "x"}, headers=FRAME).status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://a.example", "http://localhost:8888", "https://*.a.example", "http://[::1]:80", "'self'", "app:"]
)
def test_origins(origin):
    assert check_ancestors([origin]) == {origin}


@pytest.mark.parametrize("origin", ["*", "a.example", "https://a.example/x", "https://a; script-src *", "", "'none'"])
def test_what_is_no_origin(origin):
    with pytest.raises(BadRequest, match="--frame-ancestors: "):
        check_ancestors([origin])


def test_features_know_their_page(store):
    with real_server.serving(create_app(store)) as url, Client(url) as client:
        page = client.feature("tiny/0-res/8")
        assert page.url == f"{url}/features/tiny/0-res/8"
        assert [each.url for each in client.features(["tiny/0-res/8"])] == [page.url]
        assert next(client.features_where("feature = 8")).url == page.url
        assert page == store.feature("tiny/0-res/8")
        frame = page.embed(height=300)
        assert f'src="{page.url}?embed=true"' in frame._repr_html_() and 'height="300"' in frame
    local = store.feature("tiny/0-res/8")
    assert local.url is None and "<iframe" not in local.embed() and local.label in local.embed()._repr_html_()
    assert 'src="http://h:1/features/tiny/0-res/8?embed=true"' in local.embed("http://h:1/")
    assert 'title="&lt;b&gt;"' in render_frame("x", "<b>", "100%", 5)
