"""The service as programs and strangers meet it: JSON, problems, headers, pages."""

import json

import pyarrow
import pytest

import featurestore
from featurestore.web import create_app


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


HTML = {"Accept": "text/html"}


def test_answers_are_objects_and_echo_the_query(http):
    found = http.get("/v1/search?text=closing+brackets&k=3&within=tiny/0-res&within=tiny/1-res").json
    assert found["query"] == {"text": "closing brackets", "k": 3, "within": ["tiny/0-res", "tiny/1-res"]}
    assert len(found["hits"]) == 3
    more = http.get("/v1/search?text=closing+brackets&k=3&within=tiny/0-res&within=tiny/1-res&cursor=" + found["next"])
    assert len(more.json["hits"]) == 3
    assert not {hit["id"] for hit in found["hits"]} & {hit["id"] for hit in more.json["hits"]}
    posted = http.post("/v1/search", json={"text": "closing brackets", "k": 3, "within": ["tiny/0-res", "tiny/1-res"]})
    assert posted.json == found


def test_nearest_takes_an_id_or_a_vector(http):
    by_id = http.get("/v1/nearest?near=tiny/0-res/3&k=2").json["hits"]
    assert by_id[0]["id"] == "tiny/1-res/3"
    by_vector = http.get("/v1/nearest?vector=1,0,0,0,0,0,0,0&k=2").json["hits"]
    assert by_vector == http.post("/v1/nearest", json={"vector": [1, 0, 0, 0, 0, 0, 0, 0], "k": 2}).json["hits"]


def test_sql_as_json_and_as_arrow(http):
    statement = (
        "SELECT feature, CASE WHEN feature > 0 THEN 'nan'::FLOAT END AS x FROM features ORDER BY feature LIMIT 3"
    )
    found = http.post("/v1/sql", json={"sql": statement, "max_rows": 2}).json
    assert found == {
        "columns": [{"name": "feature", "type": "int32"}, {"name": "x", "type": "float"}],
        "rows": [[0, None], [0, None]],
        "truncated": True,
    }
    answer = http.post("/v1/sql", json={"sql": statement}, headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert pyarrow.ipc.open_stream(answer.data).read_all().num_rows == 3


@pytest.mark.parametrize(
    ("path", "status", "code", "words"),
    [
        ("/v1/features/tiny/0-res/99", 404, "not_found", "d_sae is 24"),
        ("/v1/features/tiny/0-res/x", 400, "bad_request", "is not a feature id"),
        ("/v1/features/tiny/nope/1", 404, "not_found", "there are: tiny/0-res, tiny/1-res"),
        (
            "/v1/features/tiny/0-res/1?exampels=2",
            400,
            "bad_request",
            "unknown field 'exampels', did you mean examples? there are: examples",
        ),
        ("/v1/features/tiny/0-res/1?examples=two", 400, "bad_request", "examples: 'two' is not a whole number"),
        ("/v1/search?text=x&limt=3", 400, "bad_request", "unknown field 'limt', did you mean k? there are: text, mode"),
        ("/v1/search?text=x&text=y", 400, "bad_request", "text: given 2 times, takes one value"),
        ("/v1/search?near=tiny/0-res/1", 400, "bad_request", "/v1/nearest takes near or vector"),
        ("/v1/nearest?text=x", 400, "bad_request", "/v1/search takes text"),
        ("/v1/nearest?vector=1,2,x", 400, "bad_request", "vector"),
        ("/v1/search", 400, "bad_request", "text: say words to find in labels"),
        ("/v1/sql", 400, "bad_request", "say which SELECT"),
        ("/v1/sql?sql=DROP+VIEW+features", 400, "bad_request", "only reading is possible"),
        ("/v1/sql?sql=SELECT+1&max_rows=0", 400, "bad_request", "max_rows: '0' is not a whole number of at least 1"),
        ("/v1/activating", 400, "bad_request", "say which text"),
        ("/v1/nothing", 404, "not_found", "nothing is at /v1/nothing; /docs lists the routes"),
    ],
)
def test_problems_have_codes_and_say_what_is_wrong(http, path, status, code, words):
    answer = http.get(path)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    assert (answer.json["code"], answer.json["status"]) == (code, status)
    assert words in answer.json["detail"]


def test_bodies_that_cannot_be(http):
    assert http.post("/v1/search", data="{").json["detail"].startswith("the body is not JSON")
    assert http.post("/v1/search", data="[1]").json["detail"] == "the body is not a JSON object"
    assert http.delete("/v1/search").status_code == 405
    assert http.post("/v1/search", data=b"x" * 10_000_001).status_code == 413


def test_a_failure_inside_is_logged_and_not_shown(http, monkeypatch, caplog):
    monkeypatch.setattr("featurestore.store.store.Store.info", lambda self: 1 / 0)
    answer = http.get("/v1/info")
    assert (answer.status_code, answer.json["code"]) == (500, "error")
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/?text=exception+handling",
        "/?text=closing&mode=keyword&within=tiny/0-res&where=layer+%3D+0&all=true",
        "/features/tiny/0-res/8",
        "/features/tiny/0-res/22",
        "/features/tiny/0-res/23",
        "/dictionaries/tiny/0-res",
        "/dictionaries/tiny/0-res?order=max&state=dead",
        "/text",
        "/sql",
        "/sql?sql=SELECT+dictionary,+feature,+label+FROM+features",
    ],
)
def test_pages_are_there_and_safe(http, path):
    answer = http.get(path, headers=HTML)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "style=" not in answer.text
    assert "<script>" not in answer.text


def test_a_feature_page_shows_what_the_feature_is(http):
    page = http.get("/features/tiny/0-res/8", headers=HTML).text
    for shown in (
        "exception handling",
        "gpt-x",
        "Sampled from activations in [1, 2)",
        "<svg",
        "document 0",
        "ValueError",
    ):
        assert shown in page
    assert 'class="t s10 peak"' in page or 'class="t s2 peak"' in page
    dead = http.get("/features/tiny/0-res/22", headers=HTML).text
    assert "It never fired in the corpus" in dead


def test_mistakes_are_pages_for_people(http):
    answer = http.get("/features/tiny/0-res/99", headers=HTML)
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert "indices run 0 to 23" in answer.text
    answer = http.get("/?text=x&where=nose+%3D+1", headers=HTML)
    assert (answer.status_code, "nose" in answer.text) == (400, True)
    assert http.get("/sql?sql=SELEC+1", headers=HTML).status_code == 400
    assert http.get("/nothing", headers=HTML).status_code == 404


def test_what_a_stranger_types_is_escaped(http):
    evil = "<script>alert(1)</script>"
    for path in ("/", "/text", "/sql"):
        answer = http.get(path, query_string={"sql" if path == "/sql" else "text": evil}, headers=HTML)
        assert evil not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_an_id_typed_into_the_search_box_is_found(http):
    answer = http.get("/?text=tiny/0-res/3", headers=HTML)
    assert (answer.status_code, answer.location) == (302, "/features/tiny/0-res/3")


def test_healthz(http):
    assert json.loads(http.get("/healthz").data) == {"status": "ok"}
