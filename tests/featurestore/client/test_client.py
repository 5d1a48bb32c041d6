"""The client alone: addresses, retries, limits, and answers of programs that are no featurestore."""

import datetime
import subprocess
import sys

import httpx2
import numpy
import pytest

import featurestore
from featurestore import BadRequest, TooManyRequests, Unavailable, retry_after
from featurestore.client import Client, transport
from featurestore.web import create_app
from featurestore.wire import limits
from tests.support.servers import real_server


@pytest.fixture
def local(tiny_store):
    with featurestore.connect(tiny_store) as store:
        yield store


def answering(status="200 OK", body=b"", type_="text/plain"):
    """A client of a program that always answers this, and the requests it got."""
    asked = []

    def app(environ, start_response):
        asked.append(environ["PATH_INFO"])
        start_response(status, [("Content-Type", type_)])
        return [body]

    return Client("http://elsewhere", transport=httpx2.WSGITransport(app=app)), asked


@pytest.mark.parametrize("url", ["http://:bad", "http://[::1", "http://\x00"])
def test_what_is_no_url_is_said_at_once(url):
    with pytest.raises(BadRequest, match="is not a URL of a service"):
        featurestore.connect(url)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_a_gateways_error_is_tried_again_and_not_for_ever(monkeypatch, status):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.0)
    store, asked = answering(status)
    with pytest.raises(Unavailable, match=f"status {status[:3]}: it is not a featurestore"):
        store.info()
    assert len(asked) == 4


def test_a_refused_connection_is_tried_again_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(transport, "FIRST_PAUSE", 0.0)
    tried = []

    def refuse(request):
        tried.append(request.url)
        raise httpx2.ConnectError("refused")

    with pytest.raises(Unavailable, match="nothing answers at http://elsewhere: is `featurestore serve` running"):
        Client("http://elsewhere", transport=httpx2.MockTransport(refuse)).info()
    assert len(tried) == 4


def test_the_services_own_refusal_is_final():
    store, asked = answering("503 Service Unavailable", b'{"code": "unavailable", "detail": "no model here"}')
    with pytest.raises(Unavailable, match="^no model here$"):
        store.activating("x")
    assert len(asked) == 1


def test_slowness_is_said():
    def slow(request):
        raise httpx2.ReadTimeout("slow")

    with pytest.raises(Unavailable, match="took too long"):
        Client("http://elsewhere", transport=httpx2.MockTransport(slow)).info()


@pytest.mark.parametrize(
    "ask",
    [
        lambda s: s.info(),
        lambda s: s.dictionaries(),
        lambda s: s.feature("a/b/1"),
        lambda s: s.vector("a/b/1"),
        lambda s: s.search("x"),
        lambda s: s.sql("SELECT 1"),
        lambda s: s.activating("x"),
    ],
)
@pytest.mark.parametrize("body", [b"<html>", b"{}x", b'{"a": "\xff"}', b""])
def test_answers_of_another_program_are_named_as_such(ask, body):
    store, _ = answering(body=body)
    with pytest.raises(Unavailable, match="something else than is asked"):
        ask(store)


def test_other_statuses_are_named():
    store, _ = answering("301 Moved Permanently")
    with pytest.raises(Unavailable, match="answers with status 301"):
        store.info()
    store, _ = answering("404 Not Found", b'{"detail": "no code"}', "application/json")
    with pytest.raises(Unavailable, match="answers with status 404"):
        store.info()


def test_sql_takes_as_much_as_the_service_gives(local):
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as remote:
        statement = f"SELECT range FROM range({limits.DEFAULT_ROWS + 1})"
        assert remote.sql(statement).equals(local.sql(statement))
        cut = remote.sql(f"SELECT range FROM range({limits.MOST_ROWS + 1})")
        assert (cut.num_rows, cut.schema.metadata) == (limits.MOST_ROWS, {b"featurestore.truncated": b"100000"})


def test_a_query_past_its_time_fails_alike(local):
    endless = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as remote:
        for store in (local, remote):
            with pytest.raises(Unavailable, match=r"the query ran longer than 0\.2 s and was stopped"):
                store.sql(endless, timeout=0.2)


def answers(*several):
    """A client of a service that gives these answers one after another, what was asked, and the pauses between."""
    asked, left = [], list(several)

    def answer(request):
        asked.append(f"{request.method} {request.url.path}")
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return Client("http://elsewhere", transport=httpx2.MockTransport(answer)), asked


def refusal(status, **headers):
    code = {429: "too_many_requests", 503: "unavailable"}[status]
    return httpx2.Response(status, headers=headers, json={"code": code, "detail": "busy"})


NONE_THERE = {"dictionaries": []}


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that were waited, without waiting them; chance is taken out."""
    waited = []
    monkeypatch.setattr(transport.time, "sleep", waited.append)
    monkeypatch.setattr(transport.random, "uniform", lambda low, high: low)
    return waited


def test_pauses_double_and_follow_what_the_service_says(pauses):
    gateway = httpx2.Response(502, text="bad gateway")
    store, asked = answers(
        gateway, refusal(429, **{"Retry-After": "3"}), gateway, httpx2.Response(200, json=NONE_THERE)
    )
    assert store.dictionaries() == []
    assert asked == ["GET /v1/dictionaries"] * 4
    assert pauses == [0.2, 3.0, 0.8]


def test_a_date_says_when_too(pauses, monkeypatch):
    then = "Wed, 21 Oct 2026 07:28:00 GMT"

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, zone):
            return cls(2026, 10, 21, 7, 27, 55, tzinfo=zone)

    monkeypatch.setattr(retry_after.datetime, "datetime", Clock)
    store, _ = answers(refusal(503, **{"Retry-After": then}), httpx2.Response(200, json=NONE_THERE))
    assert store.dictionaries() == []
    assert pauses == [5.0]


def test_who_would_have_to_wait_long_is_told(pauses):
    store, asked = answers(refusal(429, **{"Retry-After": "3600"}))
    with pytest.raises(TooManyRequests, match="^busy$") as told:
        store.dictionaries()
    assert (told.value.retry_after, len(asked), pauses) == (3600.0, 1, [])


@pytest.mark.parametrize("said", ["soon", "", "-3", "1e9", "inf"])
def test_a_time_that_is_none_is_no_promise(pauses, said):
    store, asked = answers(refusal(503, **{"Retry-After": said}))
    with pytest.raises(Unavailable, match="^busy$"):
        store.dictionaries()
    assert (len(asked), pauses) == (1, [])


def test_what_may_have_been_done_is_not_done_twice(pauses):
    """Only a request that surely was not taken is sent again when it is no question."""
    wire = transport.Transport("http://elsewhere", None, 1.0, 3)
    for given, tries in [
        ([httpx2.ConnectError("refused"), refusal(429, **{"Retry-After": "0"}), httpx2.Response(200)], 3),
        ([httpx2.ReadError("cut")], 1),
        ([httpx2.Response(502, text="bad gateway")], 1),
    ]:
        store, asked = answers(*given)
        wire._clients = store._http._clients
        try:
            assert wire.send("POST", "labels", repeatable=False).status_code == 200
        except Unavailable:
            assert tries == 1
        assert len(asked) == tries


def test_questions_are_asked_again_when_the_line_was_cut(pauses):
    store, asked = answers(httpx2.ReadError("cut"), httpx2.ConnectTimeout("no"), httpx2.Response(200, json=NONE_THERE))
    assert store.dictionaries() == []
    assert len(asked) == 3


def test_a_stream_is_asked_for_again_until_it_begins(local, pauses):
    statement = "SELECT range FROM range(5000)"
    app, calls = create_app(local), []

    def flaky(environ, start_response):
        calls.append(environ["PATH_INFO"])
        if len(calls) < 3:
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"restarting"]
        return app(environ, start_response)

    with Client("http://x", transport=httpx2.WSGITransport(app=flaky)) as remote, remote.stream(statement) as found:
        assert found.read_all().equals(local.sql(statement))
    assert (len(calls), pauses) == (3, [0.2, 0.4])


def test_a_stream_that_breaks_off_is_an_error_and_no_short_answer(local):
    app = create_app(local)

    def cut(environ, start_response):
        whole = b"".join(app(environ, start_response))
        yield whole[: len(whole) // 2]
        raise OSError("the line was cut")

    for ask in (lambda s: s.stream("SELECT range FROM range(50000)").read_all(), lambda s: s.vectors(["tiny/0-res/1"])):
        with Client("http://x", transport=httpx2.WSGITransport(app=cut)) as remote, pytest.raises(Unavailable):
            ask(remote)


def test_retries_are_up_to_the_caller():
    for retries in (0, 1):
        tried = []

        def refuse(request, tried=tried):
            tried.append(request.url)
            raise httpx2.ConnectError("refused")

        with pytest.raises(Unavailable):
            Client("http://elsewhere", transport=httpx2.MockTransport(refuse), retries=retries).info()
        assert len(tried) == 1 + retries
    with pytest.raises(BadRequest, match="retries: -1 is not a number of tries"):
        Client("http://elsewhere", retries=-1)


def test_vectors_travel_as_their_bits(local, monkeypatch):
    seen = []
    app = create_app(local)

    def watching(environ, start_response):
        seen.append((environ["HTTP_ACCEPT"], environ["HTTP_ACCEPT_ENCODING"]))
        return app(environ, start_response)

    monkeypatch.setattr(limits, "MOST_IDS", 3)
    ids = [f"tiny/0-res/{n}" for n in range(7)]
    with Client("http://x", transport=httpx2.WSGITransport(app=watching)) as remote:
        numpy.testing.assert_array_equal(remote.vectors(ids), local.vectors(ids))
    assert seen == [("application/vnd.apache.arrow.stream", "identity")] * 3


LIGHT = """
import sys

class Missing:
    names = {"torch", "duckdb", "faiss", "tantivy", "transformers", "flask", "pandas", "polars", "openai", "sklearn"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import featurestore
from click.testing import CliRunner
from featurestore.cli.main import main

url = sys.argv[1]
with featurestore.connect(url) as store:
    hits = store.search("exception handling", k=3)
    id = hits[0].id
    print(len(store.info().rows), len(store.dictionaries()), len(hits), store.feature(id).id == id)
    print(store.vector(id).shape, store.vectors([id, id]).shape, len(store.features([id])))
    print(len(list(store.features_where("feature < 3"))), len(store.nearest(id)), len(store.rerank("x", [id])))
    counted = store.sql("SELECT count(*) AS n FROM features").to_pylist()
    print(counted, store.stream("SELECT 1 AS n").read_all().num_rows)
    first_page = next(store.pages(text="self"))
    print(len(store.neighbourhood(id).nodes) > 1, store.duplicates("tiny/0-res").compared, len(first_page))
    for ask in (lambda: store.activating("x"), lambda: store.contrast(["x"], ["y"])):
        try:
            ask()
        except featurestore.Unavailable as exc:
            print("the service says:", str(exc)[:30])
for command in (["search", "self"], ["feature", id], ["sql", "SELECT 1"], ["info"], ["dictionaries"], ["nearest", id]):
    print(command[0], CliRunner().invoke(main, [*command, "--store", url]).exit_code)
try:
    featurestore.connect(".")
except ImportError as exc:
    print("a local store needs", exc.name)
"""


def test_a_client_needs_none_of_what_a_store_needs(local):
    """In a process that has no torch, DuckDB, FAISS, tantivy, Flask, pandas or Polars."""
    with real_server.serving(create_app(local)) as url:
        done = subprocess.run([sys.executable, "-c", LIGHT, url], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    shown = done.stdout.splitlines()
    assert shown[:5] == [
        f"{len(local.info().rows)} 2 3 True",
        "(8,) (2, 8) 1",
        "6 10 1",
        "[{'n': 48}] 1",
        "True 22 10",
    ]
    assert [line.startswith("the service says: ") for line in shown[5:7]] == [True, True]
    assert shown[7:13] == [f"{name} 0" for name in ("search", "feature", "sql", "info", "dictionaries", "nearest")]
    assert shown[13].startswith("a local store needs ")


def test_a_key_in_the_url_is_sent_and_not_shown(tmp_path, local):
    from featurestore.web import Settings
    from featurestore.web.security import keys

    key = keys.create(tmp_path / "keys.json", "reader")
    app = create_app(local, Settings(keys=keys.Keys(tmp_path / "keys.json")))
    with Client(f"http://any:{key}@x", transport=httpx2.WSGITransport(app=app)) as store:
        assert len(store.dictionaries()) == 2
        assert key not in repr(store)
    with Client("http://x", transport=httpx2.WSGITransport(app=app)) as store, pytest.raises(featurestore.Unauthorized):
        store.dictionaries()
