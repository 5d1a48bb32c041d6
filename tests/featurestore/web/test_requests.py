"""The HTTP door against what strangers send: fields, bodies, values without a JSON form, time, and signals."""

import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import numpy
import pyarrow
import pytest

import featurestore
from featurestore.errors import BadRequest
from featurestore.query import Query
from featurestore.web import Settings, create_app
from featurestore.wire.limits import MOST_SQL, MOST_TEXT
from featurestore.wire.questions import SEARCH

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
ENDLESS = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"


@pytest.fixture(scope="module")
def http(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store).test_client()


@pytest.mark.parametrize("name", ["strict", "cls", "self", "limt"])
def test_names_of_pythons_own_arguments_are_no_fields(http, name):
    for answer in (http.get(f"/v1/search?text=x&{name}=1"), http.post("/v1/search", json={"text": "x", name: False})):
        question = ", did you mean k?" if name == "limt" else ";"
        taken = [field for field in Query.__struct_fields__ if field not in SEARCH.without]
        message = f"unknown field '{name}'{question} there are: {', '.join(taken)}"
        assert (answer.status_code, answer.json["detail"]) == (400, message)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/features/tiny/0-res/1?examples=1&examples=2", "examples: given 2 times, takes one value"),
        ("/v1/sql?sql=SELECT+1&sql=SELECT+2", "sql: given 2 times, takes one value"),
        ("/v1/sql?sql=SELECT+1&timeout=0", "timeout: '0' is not a number above 0"),
        ("/v1/sql?sql=SELECT+1&timeout=60", "timeout: 60 s is more than the 30 s that a service gives a statement"),
        ("/v1/sql?sql=SELECT+1&timeout=inf", "timeout: inf s is more than the 30 s that a service gives a statement"),
        ("/v1/sql?sql=SELECT+1&timeout=nan", "timeout: 'nan' is not a number above 0"),
        ("/v1/info?x=1", "unknown field 'x'; there are: none here"),
    ],
)
def test_fields_are_never_dropped_silently(http, path, words):
    answer = http.get(path)
    assert (answer.status_code, answer.json["detail"]) == (400, words)


def test_texts_have_a_length(http):
    """Texts for a model, statements and conditions, at every route that takes one."""
    text, where, sql = "x" * (MOST_TEXT + 1), "true" + " AND true" * 500, f"SELECT '{'x' * MOST_SQL}'"
    for path, fields in (
        ("activating", {"text": text}),
        ("contrast", {"texts": ["x"], "against": [text]}),
        ("contrast", {"texts": [text], "against": ["x"]}),
        ("sql", {"sql": sql}),
        ("search", {"text": "x", "where": where}),
        ("nearest", {"near": ["tiny/0-res/1"], "where": where}),
        ("features", {"where": where}),
        ("examples", {"where": where}),
    ):
        answer = http.post(f"/v1/{path}", json=fields)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request"), path
        assert "at most" in answer.json["detail"] and len(answer.json["detail"]) < 500, path
    for path, fields in (
        ("/text", {"text": text}),
        ("/text", {"text": "x", "against": text}),
        ("/features/tiny/0-res/1", {"text": text}),
        ("/sql", {"sql": sql}),
        ("/", {"text": "x", "where": where}),
    ):
        assert http.get(path, query_string=fields).status_code == 400, path


@pytest.mark.parametrize("number", [1e39, 1e-60])
def test_numbers_beyond_32_bits_are_the_senders_mistake(http, number):
    answer = http.post("/v1/nearest", json={"vector": [number, 0, 0, 0, 0, 0, 0, 0]})
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


def test_a_post_takes_fields_from_its_body_alone(http):
    for path in ("/v1/search?k=3", "/v1/sql?max_rows=1", "/v1/activating?k=1"):
        answer = http.post(path, json={"text": "x", "sql": "SELECT 1"})
        assert (answer.status_code, "not from the URL" in answer.json["detail"]) == (400, True)


def test_a_body_in_another_encoding_is_the_senders_mistake(http):
    answer = http.post("/v1/search", data=b'{"text": "\xed\xa0\x80"}')
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


def test_a_refused_method_says_which_are_taken(http):
    answer = http.put("/v1/sql")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("'nan'::DOUBLE", None),
        ("['inf'::FLOAT, 1]", [None, 1.0]),
        ("{'a': '-inf'::DOUBLE}", {"a": None}),
        ("TIMESTAMPTZ '2026-01-02 03:04:05+00'", "2026-01-02T03:04:05Z"),
        ("TIMESTAMP_NS '2026-01-02 03:04:05.123456789'", "2026-01-02T03:04:05.123456789"),
        ("DATE '2026-01-02'", "2026-01-02"),
        ("1.50::DECIMAL(5, 2)", "1.50"),
        ("'ab'::BLOB", "YWI="),
    ],
)
def test_every_value_has_a_json_form(http, value, shown):
    answer = http.post("/v1/sql", json={"sql": f"SELECT {value} AS x"})
    assert (answer.status_code, answer.json.get("rows")) == (200, [[shown]])


def test_dates_that_no_answer_can_carry_are_named(http):
    statement = {"sql": "SELECT 1 AS fine, TIMESTAMP 'infinity' AS never"}
    for headers in (None, ARROW):
        answer = http.post("/v1/sql", json=statement, headers=headers)
        assert (answer.status_code, "column 'never'" in answer.json["detail"]) == (400, True)
    assert http.get("/sql", query_string=statement).status_code == 400
    statement["sql"] = "SELECT 1 AS fine, TIMESTAMP 'infinity'::VARCHAR AS never"
    answer = http.post("/v1/sql", json=statement, headers=ARROW)
    assert pyarrow.ipc.open_stream(answer.data).read_all()["never"].to_pylist() == ["infinity"]
    assert answer.headers["Vary"] == "Accept"


def test_a_query_may_be_given_less_time_than_the_service_allows(http):
    answer = http.post("/v1/sql", json={"sql": ENDLESS, "timeout": 0.2})
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert "ran longer than 0.2 s" in answer.json["detail"]


SERVED = """
import sys, time, featurestore
from featurestore.web import serve
store = featurestore.connect(sys.argv[1])
answer = store.info
def info():
    print("asked", flush=True)
    time.sleep(1)
    return answer()
store.info = info
serve(store, port=0)
"""


@pytest.fixture
def served(tiny_store):
    """A real process that serves, and its address; it says "asked" when asked for /v1/info and takes a second."""
    command = [sys.executable, "-c", SERVED, str(tiny_store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process, process.stdout.readline().split(" at ")[1].split()[0]
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_requests_end(served, number):
    process, url = served
    answers = []
    asking = threading.Thread(target=lambda: answers.append(urllib.request.urlopen(f"{url}/v1/info").status))
    asking.start()
    assert process.stdout.readline() == "asked\n"
    process.send_signal(number)
    asking.join(20)
    assert (answers, process.wait(20)) == ([200], 0)
    assert (process.stdout.read(), process.stderr.read()) == ("stopped\n", "")


def test_a_huge_body_is_refused_before_it_is_sent(served):
    host, port = served[1].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as asking:
        asking.sendall(b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert asking.recv(100).startswith(b"HTTP/1.1 413 ")


F = "tiny/0-res/1"
MISTAKES = [
    ("GET", "/v1/search?q=x", None, "unknown field 'q', did you mean text? there are: text, mode, over, within,"),
    ("GET", "/v1/search?text=x&k=abc", None, "k: 'abc' is not a whole number"),
    ("GET", "/v1/search?text=x&k=0", None, "k: '0' is not a whole number of at least 1"),
    ("GET", "/v1/search?text=x&all=maybe", None, "all: 'maybe' is not true or false"),
    ("GET", "/v1/nearest?vector=a,b", None, "vector: ['a', 'b'] is not a number"),
    ("GET", f"/v1/nearest?id={F}", None, "unknown field 'id', did you mean near? there are: near, vector, unlike,"),
    ("GET", f"/v1/nearest?feature={F}", None, "unknown field 'feature', did you mean near?"),
    ("GET", f"/v1/compare?ids={F}", None, "unknown field 'ids', did you mean id? there are: id, k, cosine, examples"),
    ("GET", "/v1/sql?query=select+1", None, "unknown field 'query', did you mean sql?"),
    ("GET", "/v1/sql?sql=from+feature", None, "SQL: feature cannot be used here, did you mean features? `show tables`"),
    ("GET", f"/v1/features/{F}?exampels=1", None, "unknown field 'exampels', did you mean examples?"),
    (
        "GET",
        f"/v1/feature/{F}",
        None,
        "did you mean /v1/features/<model>/<source>/<index> or /v1/features? /docs lists",
    ),
    ("GET", "/v1/features/0-res/1", None, "did you mean /v1/features/<model>/<source>/<index> or /v1/features?"),
    ("GET", "/search?text=x", None, "nothing is at /search, did you mean /v1/search? /docs lists the routes"),
    ("GET", "/api/search", None, "nothing is at /api/search, did you mean /v1/search? /docs lists the routes"),
    ("GET", "/v1/serch?text=x", None, "nothing is at /v1/serch, did you mean /v1/search? /docs lists the routes"),
    ("POST", "/v1/info", {}, "POST is not taken at /v1/info; GET is"),
    ("POST", "/v1/features", {"id": [F]}, "unknown field 'id', did you mean ids? there are: ids, where, limit,"),
    ("POST", "/v1/features", {"ids": F}, f"ids: '{F}' is not a list"),
    ("POST", "/v1/contrast", {"texts": "a", "against": ["b"]}, "texts: 'a' is not a list"),
    (
        "POST",
        "/v1/labels",
        {"labels": [{"feature": F, "label": "x"}]},
        "labels: unknown field 'feature', did you mean id?",
    ),
    ("PUT", f"/v1/labels/{F}", {"text": "x"}, "unknown field 'text', did you mean label? there are: label, explainer,"),
]


@pytest.fixture(scope="module")
def writable(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield create_app(store, Settings(writes=True)).test_client()


@pytest.mark.parametrize(("method", "path", "body", "words"), MISTAKES, ids=[case[1] for case in MISTAKES])
def test_a_natural_mistake_is_told_with_the_value_what_is_taken_and_what_was_meant(writable, method, path, body, words):
    answer = writable.open(path, method=method, json=body)
    assert answer.status_code in (400, 404, 405)
    assert words in answer.json["detail"]


def test_an_array_of_vectors_is_not_one(tiny_store):
    with featurestore.connect(tiny_store) as store, pytest.raises(BadRequest, match="one vector is wanted.* 2 x 8"):
        store.nearest(numpy.ones((2, 8)), space="tiny")
    with (
        featurestore.connect(tiny_store) as store,
        pytest.raises(BadRequest, match="'all' is not a number"),
    ):
        store.feature("tiny/0-res/1", examples="all")


@pytest.mark.parametrize(
    ("accept", "given", "begins"),
    [
        ("text/csv", "text/csv", b"a"),
        ("application/x-ndjson", "application/x-ndjson", b'{"a":1}'),
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet", b"PAR1"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream", b"\xff\xff\xff\xff"),
        ("application/json", "application/json", b'{"columns"'),
        ("text/csv;q=0.5, application/json", "application/json", b'{"columns"'),
        ("text/html, */*;q=0.8", "application/json", b'{"columns"'),
        ("image/png", "application/json", b'{"columns"'),
    ],
)
def test_accept_chooses_the_form_of_rows(http, accept, given, begins):
    answer = http.get("/v1/sql?sql=select+1+as+a", headers={"Accept": accept}, buffered=True)
    assert (answer.status_code, answer.content_type.partition(";")[0]) == (200, given)
    assert answer.data.lstrip(b'"').startswith(begins) and "Accept" in answer.headers["Vary"]
    named = http.get("/v1/sql?sql=select+1+as+a&format=csv", headers={"Accept": accept}, buffered=True)
    assert named.content_type.startswith("text/csv")


@pytest.mark.parametrize(("accept", "begins"), [("application/octet-stream", b"\x93NUMPY"), ("*/*", b'{"dictionary"')])
def test_accept_chooses_the_form_of_a_matrix(http, accept, begins):
    answer = http.get("/v1/matrices/tiny/0-res", headers={"Accept": accept}, buffered=True)
    assert answer.data.startswith(begins)
