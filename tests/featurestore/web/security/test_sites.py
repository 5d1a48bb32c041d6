"""Requests that pages of other sites can have a browser send: refused where they cost or tell; links lead here."""

import pytest

import featurestore
from featurestore.web import Settings, create_app

HTML = {"Accept": "text/html"}
# What Chromium sends with a picture, a script, a frame, fetch(no-cors), fetch(cors), a form, and a link.
PICTURE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
SCRIPT = PICTURE | {"Sec-Fetch-Dest": "script"}
FRAME = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
SIMPLE = PICTURE | {"Sec-Fetch-Dest": "empty"}
NEIGHBOUR = SIMPLE | {"Sec-Fetch-Site": "same-site"}  # another port of this machine
FETCH = SIMPLE | {"Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"}
OLD_FETCH = {"Origin": "https://evil.example"}  # of a browser without Sec-Fetch-Site
SENT = [PICTURE, SCRIPT, FRAME, SIMPLE, NEIGHBOUR, FETCH, OLD_FETCH]
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} | HTML
COSTS = [
    "/v1/sql?sql=SELECT+1",
    "/v1/search?text=x",
    "/v1/search?text=x&where=density+%3E+0",
    "/v1/nearest?near=tiny/0-res/1",
    "/v1/activating?text=x",
    "/v1/neighbourhood/tiny/0-res/1",
    "/v1/features/tiny/0-res/1",
    "/v1/info",
    "/metrics",
    "/",
    "/?text=x",
    "/sql?sql=SELECT+1",
    "/text?text=x",
    "/features/tiny/0-res/1",
    "/dictionaries/tiny/0-res",
]


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.fixture
def http(store):
    return create_app(store, Settings(origins=frozenset({"https://tool.example"}))).test_client()


@pytest.mark.parametrize("path", COSTS)
def test_what_costs_or_tells_is_refused_to_other_sites(http, path):
    for sent in SENT:
        answer = http.get(path, headers=sent)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden"), sent
        assert http.head(path, headers=sent).status_code == 403
    for own in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}, {"Origin": "http://localhost"}):
        assert http.get(path, headers=own).status_code in (200, 503), own


@pytest.mark.parametrize("path", ["/v1/sql", "/v1/search", "/v1/features", "/v1/activating", "/v1/rerank"])
def test_no_form_or_script_of_another_site_posts(http, path):
    for sent in [*SENT, LINK, LINK | {"Origin": "null"}]:
        answer = http.post(path, data='{"sql": "SELECT 1"}', headers=sent | {"Content-Type": "text/plain"})
        assert answer.status_code == 403, sent
        assert http.options(path, headers=sent).status_code == 403


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/static/style.css"])
def test_what_the_service_is_may_be_shown_anywhere(http, path):
    with http.get(path, headers=PICTURE) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/?text=closing+brackets", "/features/tiny/0-res/8", "/dictionaries/tiny/0-res"])
def test_a_link_of_another_site_opens_a_page(http, path):
    assert http.get(path, headers=LINK).status_code == 200
    assert http.get("/v1/features/tiny/0-res/8", headers=LINK).status_code == 200


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/sql?sql=SELECT+'ran'||'dom'+AS+x", "SELECT &#39;ran&#39;||&#39;dom&#39; AS x"),
        ("/text?text=some+words", "some words"),
        ("/?text=closing&where=density+%3E+0.5", "density &gt; 0.5"),
    ],
)
def test_a_link_of_another_site_fills_a_form_and_runs_nothing(http, store, monkeypatch, path, shown):
    for name in ("sql", "stream", "activating", "run"):
        monkeypatch.setattr(store, name, lambda *arguments, **named: pytest.fail("it was run"))
    answer = http.get(path, headers=LINK)
    assert (answer.status_code, shown in answer.text) == (200, True)
    assert "nothing was run" in answer.text


@pytest.mark.parametrize("path", ["/v1/sql?sql=SELECT+1", "/v1/search?text=x", "/v1/activating?text=x"])
def test_a_link_of_another_site_leads_to_no_answer_that_costs(http, path):
    assert http.get(path, headers=LINK).status_code == 403


def test_named_sites_ask_as_before(http):
    named = FETCH | {"Origin": "https://tool.example"}
    answer = http.get("/v1/sql?sql=SELECT+1", headers=named)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://tool.example")
    assert http.post("/v1/sql", json={"sql": "SELECT 1"}, headers=named).status_code == 200
    assert http.options("/v1/sql", headers=named).status_code == 204
    # A picture of that site carries no Origin, so nobody knows whose it is.
    assert http.get("/v1/sql?sql=SELECT+1", headers=PICTURE).status_code == 403


def test_a_form_with_its_origin_hidden_is_ours_where_the_browser_says_so(store):
    http = create_app(store, Settings(writes=True)).test_client()
    path, form = "/features/tiny/0-res/8", {"label": ""}
    ours = http.post(path, data=form, headers={"Origin": "null", "Sec-Fetch-Site": "same-origin"})
    assert (ours.status_code, ours.json["code"]) == (400, "bad_request")  # taken, and the label is empty
    for theirs in ({"Origin": "null"}, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, LINK, {}):
        assert http.post(path, data=form, headers=theirs | {"Accept": "application/json"}).status_code == 403
