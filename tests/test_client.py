"""The client alone: addresses, retries, limits, and answers of programs that are no featurestore."""

import httpx2
import pytest

import featurestore
from featurestore import BadRequest, Unavailable, client
from featurestore.client import Client
from featurestore.web import create_app
from featurestore.web.api import v1


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
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))
    store, asked = answering(status)
    with pytest.raises(Unavailable, match=f"status {status[:3]}: it is not a featurestore"):
        store.info()
    assert len(asked) == 3


def test_a_refused_connection_is_tried_again_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))
    tried = []

    def refuse(request):
        tried.append(request.url)
        raise httpx2.ConnectError("refused")

    with pytest.raises(Unavailable, match="nothing answers at http://elsewhere: is `featurestore serve` running"):
        Client("http://elsewhere", transport=httpx2.MockTransport(refuse)).info()
    assert len(tried) == 3


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
    assert client.MOST_ROWS == v1.MOST_ROWS
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as remote:
        statement = f"SELECT range FROM range({v1.MAX_ROWS + 1})"
        assert remote.sql(statement).equals(local.sql(statement))
        cut = remote.sql(f"SELECT range FROM range({v1.MOST_ROWS + 1})")
        assert (cut.num_rows, cut.schema.metadata) == (v1.MOST_ROWS, {b"featurestore.truncated": b"100000"})


def test_a_query_past_its_time_fails_alike(local):
    endless = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as remote:
        for store in (local, remote):
            with pytest.raises(Unavailable, match=r"the query ran longer than 0\.2 s and was stopped"):
                store.sql(endless, timeout=0.2)


def test_a_refusal_that_says_when_is_asked_again(monkeypatch, local):
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(client, "MOST_PAUSE", 0.01)
    app, calls = create_app(local), []

    def busy(environ, start_response):
        calls.append(environ["PATH_INFO"])
        if len(calls) < 3:
            start_response(
                "429 Too Many Requests", [("Content-Type", "application/problem+json"), ("Retry-After", "1")]
            )
            return [b'{"code": "too_many_requests", "detail": "busy"}']
        return app(environ, start_response)

    with Client("http://x", transport=httpx2.WSGITransport(app=busy)) as store:
        assert len(store.dictionaries()) == 2
    assert len(calls) == 3


def test_a_key_in_the_url_is_sent_and_not_shown(tmp_path, local):
    from featurestore.web import Settings, keys

    key = keys.create(tmp_path / "keys.json", "reader")
    app = create_app(local, Settings(keys=keys.Keys(tmp_path / "keys.json")))
    with Client(f"http://any:{key}@x", transport=httpx2.WSGITransport(app=app)) as store:
        assert len(store.dictionaries()) == 2
        assert key not in repr(store)
    with Client("http://x", transport=httpx2.WSGITransport(app=app)) as store, pytest.raises(featurestore.Unauthorized):
        store.dictionaries()
