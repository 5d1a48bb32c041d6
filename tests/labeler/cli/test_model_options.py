"""The options of `label` and `score` that say what every reply may be."""

import json

import pytest

from featurestore.cli.main import main
from labeler.cli.model_options import parse_extra_body
from tests.labeler.scripted_llm import Server, say
from tests.support import ruled_store

OPTIONS = [
    "--max-tokens",
    "4000",
    "--temperature",
    "0.6",
    "--extra-body",
    '{"reasoning_effort": "low", "x": {"y": 1}}',
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Path of a store of ruled features; labels are added to it."""
    location = tmp_path_factory.mktemp("options") / "s"
    ruled_store.write(location).close()
    return str(location)


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        (["label", "--no-index", "--limit", "2"], '{"label": "numbers"}'),
        (["score", "--methods", "detection", "--explainer", "right", "--sample", "1"], '{"answers": [1]}'),
    ],
    ids=["label", "score"],
)
def test_every_request_says_what_the_options_say(path, tmp_path, invoke, monkeypatch, command, reply):
    monkeypatch.setattr("labeler.cli.score.build_index", lambda *store: [])  # it is slow, and of no use here
    with Server(lambda n, body: say(reply)) as server:
        asked = [*command, "--store", path, "--model", "m", "--base-url", server.url]
        done = invoke(main, [*asked, *OPTIONS, "--journal", str(tmp_path / "j")])
    assert done.exit_code == 0, done.output
    assert server.requests
    for request in server.requests:
        assert (request["max_tokens"], request["temperature"]) == (4000, 0.6)
        assert (request["reasoning_effort"], request["x"]) == ("low", {"y": 1})


def test_without_options_nothing_further_is_said(path, tmp_path, invoke):
    with Server(lambda n, body: say('{"label": "numbers"}')) as server:
        command = ["label", "--no-index", "--redo", "--limit", "1", "--store", path, "--model", "n"]
        assert invoke(main, [*command, "--base-url", server.url, "--journal", str(tmp_path / "j")]).exit_code == 0
        (request,) = server.requests
        assert (request["max_tokens"], request["temperature"]) == (200, 0)
        assert request.keys() == {"path", "key", "model", "messages", "temperature", "max_tokens", "response_format"}


def test_other_options_are_another_question_to_the_journal(path, tmp_path, invoke):
    """The same again costs nothing; another temperature asks anew."""
    with Server(lambda n, body: say('{"label": "numbers"}')) as server:
        command = ["label", "--no-index", "--redo", "--limit", "1", "--store", path, "--model", "o", "--json"]
        command += ["--base-url", server.url, "--journal", str(tmp_path / "j"), *OPTIONS]
        assert invoke(main, command).exit_code == 0
        report = json.loads(invoke(main, command).stdout)
        assert (report["cached"], report["paid"], len(server.requests)) == (1, 0, 1)
        report = json.loads(invoke(main, [*command, "--temperature", "1"]).stdout)
        assert (report["paid"], len(server.requests)) == (1, 2)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--extra-body", "{", "--extra-body: { is no JSON"),
        ("--extra-body", "[1]", "--extra-body: [1] is no JSON object"),
        ("--extra-body", '{"a": NaN}', "NaN is no number of JSON"),
        ("--extra-body", '{"stream": true}', "stream is not possible"),
        ("--extra-body", '{"max_tokens": 5}', "max_tokens is set with --max-tokens"),
        ("--max-tokens", "0", "0 is not in the range"),
        ("--temperature", "-1", "-1.0 is not in the range"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(path, invoke, option, value, message):
    done = invoke(
        main, ["label", "--store", path, "--model", "m", "--base-url", "http://127.0.0.1:9/v1", option, value]
    )
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("option", [["--max-tokens", "5"], ["--temperature", "1"], ["--extra-body", "{}"]])
def test_they_go_with_a_model(path, invoke, option):
    done = invoke(main, ["label", "--store", path, *option])
    assert (done.exit_code, f"{option[0]} goes with --model" in done.stderr) == (2, True)


def test_fields_of_a_body():
    assert parse_extra_body(None) is None
    assert parse_extra_body('{"chat_template_kwargs": {"enable_thinking": false}}') == {
        "chat_template_kwargs": {"enable_thinking": False}
    }
