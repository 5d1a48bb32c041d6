"""An endpoint over HTTP that answers by a script: rate limits, failures, refusals, keys."""

import collections

import pytest

from featurestore import BadRequest, Unavailable
from featurestore.progress import no_progress
from labeler.llm.endpoint import Endpoint
from labeler.runs import label_run
from tests.labeler.scripted_llm import Server, say
from tests.support import tiny


def failure(status, message, **headers):
    return status, headers, {"error": {"message": message, "type": "error", "code": None, "param": None}}


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def label_with(store, server, retries=3, concurrency=8, **options):
    endpoint = Endpoint("judge-1", server.url, retries=retries, concurrency=concurrency)
    return label_run.label_with_model(store, endpoint, progress=no_progress, **options)


def test_a_model_labels_features_and_is_named(store):
    with Server(lambda n, body: say('{"label": "names of exceptions"}')) as server:
        report = label_with(store, server, where="feature < 5 AND layer = 0", concurrency=2)
    assert (report.explainer, report.labelled, report.skipped, report.failed) == ("judge-1", 5, 0, {})
    rows = store.sql("SELECT * FROM labels WHERE explainer = 'judge-1'").to_pylist()
    assert {row["feature"] for row in rows} == {0, 1, 2, 3, 4}
    assert {(row["label"], row["prompt"], row["examples"]) for row in rows} == {("names of exceptions", "pairs/1", 3)}
    asked = server.requests[0]
    assert (asked["path"], asked["model"]) == ("/v1/chat/completions", "judge-1")
    assert "<< x>>" in asked["messages"][1]["content"]
    assert "' ValueError'" in asked["messages"][1]["content"]


def test_dead_features_are_not_asked_about(store):
    with Server(lambda n, body: say("{}")) as server:
        report = label_with(store, server, where="feature = 22")
    assert (report.labelled, server.requests) == (0, [])


def test_a_second_run_asks_only_what_is_left(store):
    with Server(lambda n, body: say('{"label": "x"}')) as server:
        label_with(store, server, dictionaries=["tiny/0-res"], limit=4)
        report = label_with(store, server, dictionaries=["tiny/0-res"], limit=6)
        assert (report.labelled, report.skipped, len(server.requests)) == (6, 4, 10)
        report = label_with(store, server, dictionaries=["tiny/0-res"], limit=3, redo=True)
        assert (report.labelled, report.skipped) == (3, 0)


def test_rate_limits_and_failures_are_waited_out(store):
    def answer(n, body):
        if n == 1:
            return failure(429, "slow down", **{"Retry-After": "0"})
        return failure(500, "oops") if n == 2 else say('{"label": "patience"}')

    with Server(answer) as server:
        report = label_with(store, server, dictionaries=["tiny/0-res"], limit=1, concurrency=1)
    assert (report.labelled, len(server.requests)) == (1, 3)


REPLIES = {
    "": "empty reply",
    '{"lab': "reply was cut off",
    '{"answer": "x"}': "JSON without a label",
    '{"label": ""}': "empty label",
    "I'm sorry, I cannot help": "refusal",
    "word " * 100: "reply too long for a label",
}


def test_replies_without_a_label_are_counted_and_never_stored(store):
    replies = list(REPLIES)
    said_of = {}

    def answer(n, body):
        """The same to the same feature, however often it asks."""
        about = body["messages"][1]["content"]
        return say(said_of.setdefault(about, replies[len(said_of) % len(replies)]))

    with Server(answer) as server:
        report = label_with(store, server, where="layer = 0", limit=len(replies), concurrency=1)
        assert [len(asked["messages"]) for asked in server.requests].count(4) == len(replies), "each is asked once more"
    assert report.labelled == 0
    assert report.failed == dict(collections.Counter(REPLIES.values()))
    assert store.sql("SELECT count(*) AS n FROM labels WHERE explainer = 'judge-1'")["n"].to_pylist() == [0]


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (failure(401, "bad key"), Unavailable, "wants a key: set OPENAI_API_KEY"),
        (failure(404, "no such model"), BadRequest, "has no model 'judge-1': .*no such model"),
        (failure(400, "context too long"), BadRequest, "refuses the request: .*context too long"),
        (failure(503, "overloaded"), Unavailable, "keeps failing with status 503"),
    ],
)
def test_endpoints_that_refuse(store, answer, kind, words):
    with Server(lambda n, body: answer) as server, pytest.raises(kind, match=words):
        label_with(store, server, retries=0, limit=2)
    assert store.sql("SELECT count(*) AS n FROM labels WHERE explainer = 'judge-1'")["n"].to_pylist() == [0]


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":' + b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b"\xff\xfe{}",
        b"<html></html>",
        b'{"choices": []}',
    ],
    ids=["deep and cut", "deep", "other bytes", "markup", "nothing chosen"],
)
def test_a_body_that_is_no_completion_is_that_features_failure(store, body):
    """Whatever it is; and the run goes on."""
    with Server(lambda n, request: (200, {}, body) if n == 2 else say('{"label": "dates"}')) as server:
        report = label_with(store, server, retries=0, limit=3, concurrency=1)
    assert (report.labelled, report.failed) == (2, {"answers that are no completions": 1})


def test_addresses_that_are_slips_of_the_pen(store):
    with pytest.raises(BadRequest, match="'localhost:8080/v1' is no URL: it begins with http:// or https://"):
        Endpoint("judge-1", "localhost:8080/v1")
    wrong = pytest.raises(BadRequest, match=r"should it end in /v1\?")
    with Server(lambda n, body: failure(404, "no such path")) as server, wrong:
        label_run.label_with_model(store, Endpoint("judge-1", server.url.removesuffix("/v1")), progress=no_progress)


def test_an_endpoint_that_is_not_there(store):
    with pytest.raises(Unavailable, match=r"nothing answers at http://127\.0\.0\.1:9/v1"):
        label_run.label_with_model(
            store, Endpoint("m", "http://127.0.0.1:9/v1", retries=0), progress=no_progress, limit=1
        )


def test_what_was_answered_before_a_failure_is_kept(store):
    def answer(n, body):
        return say('{"label": "kept"}') if n <= 3 else failure(401, "key expired")

    with Server(answer) as server, pytest.raises(Unavailable, match="wants a key"):
        label_with(store, server, dictionaries=["tiny/0-res"], concurrency=1)
    assert store.sql("SELECT count(*) AS n FROM labels WHERE explainer = 'judge-1'")["n"].to_pylist() == [3]


def test_the_key_is_sent_and_needed_for_the_real_api(store, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with Server(lambda n, body: say('{"label": "x"}')) as server:
        label_run.label_with_model(store, Endpoint("m", server.url, "MY_KEY"), progress=no_progress, limit=1)
        assert server.requests[0]["key"] == "Bearer sk-mine"
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(Unavailable, match="set OPENAI_API_KEY, or name a server"):
        Endpoint("m")


SCHEMA = {"name": "label", "schema": {"type": "object"}}
TALK = [{"role": "user", "content": "what is it?"}]


def asked_formats(answer, questions=3):
    """Whether each request to an endpoint had a response_format, over some questions with a schema."""
    with Server(answer) as server:
        endpoint = Endpoint("m", server.url, retries=0)
        for _ in range(questions):
            assert endpoint.ask(TALK, schema=SCHEMA).text == '{"label": "x"}'
        return ["response_format" in request for request in server.requests]


def test_an_endpoint_that_gives_structured_output_is_used_so():
    assert asked_formats(lambda n, body: say('{"label": "x"}')) == [True, True, True]


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "message",
    ["Unsupported parameter: 'response_format'.", "json_schema is not available", "extra fields not permitted"],
)
def test_one_that_does_not_is_asked_without_from_then_on(status, message):
    """Whether its refusal names the field or not."""

    def answer(n, body):
        return failure(status, message) if "response_format" in body else say('{"label": "x"}')

    assert asked_formats(answer) == [True, False, False, False]


def test_a_refusal_of_something_else_is_not_taken_for_one_of_the_schema():
    """Once a request with a schema was answered, a refusal is about its question."""

    def answer(n, body):
        return failure(400, "the prompt is too long") if n == 2 else say('{"label": "x"}')

    with Server(answer) as server:
        endpoint = Endpoint("m", server.url, retries=0)
        endpoint.ask(TALK, schema=SCHEMA)
        with pytest.raises(BadRequest, match="the prompt is too long"):
            endpoint.ask(TALK, schema=SCHEMA)
        endpoint.ask(TALK, schema=SCHEMA)
        assert all("response_format" in request for request in server.requests)
