"""The transcript in docs/howto/assistants.md: its calls are answered, and with the facts that it shows.

The store of the tests is counted over fewer tokens than the demo's, so labels and densities are others here; vectors
and logits are the same.
"""

import importlib.util
import json
import sys

import numpy
import pytest

import featurestore
from featurestore.mcp.server import create_server
from tests.support import ROOT


@pytest.fixture(scope="module")
def transcript():
    spec = importlib.util.spec_from_file_location("transcript", ROOT / "docs" / "transcript.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["transcript"] = module  # where NamedTuple looks for what annotations name
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("transcript")


@pytest.fixture(scope="module")
def text(transcript):
    return transcript.PAGE.read_text("utf-8")


def test_its_calls_are_answered_with_what_it_shows(transcript, text, demo_features):
    calls = transcript.read_calls(text)
    assert {call.tool for call in calls} >= {"dictionaries", "sql", "feature", "nearest", "activating"}
    with featurestore.connect(demo_features) as store:
        check_transcript(transcript, calls, store)


def check_transcript(transcript, calls, store):
    for call, answer in zip(calls, transcript.ask(calls, create_server(store)), strict=True):
        if call.answer.endswith("…"):
            assert json.loads(answer)["id"] == call.arguments["id"]
            assert call.answer.startswith(f'{{"id":"{call.arguments["id"]}"')
            continue
        shown, told = json.loads(call.answer), json.loads(answer)
        assert set(shown) - {"next"} == set(told) - {"next"}
        if call.tool == "dictionaries":
            for name in ("dictionary", "features", "layer", "hook_point"):
                assert [each[name] for each in shown["dictionaries"]] == [each[name] for each in told["dictionaries"]]
        elif call.tool == "sql":
            for id, effect, _ in shown["rows"]:
                assert effect in {round(each.value, 2) for each in store.feature(id).top_logits if each.token == ")"}
        elif call.tool == "nearest":
            vector = store.vector(call.arguments["to"])
            for hit in shown["hits"]:
                other = store.vector(hit["id"])
                cosine = vector @ other / numpy.linalg.norm(vector) / numpy.linalg.norm(other)
                assert hit["score"] == pytest.approx(cosine, abs=2e-3)


def test_writing_it_anew_changes_nothing_but_answers(transcript, text):
    calls = transcript.read_calls(text)
    answers = [call.answer for call in calls]
    assert transcript.write_transcript(text, answers) == text
    others = [json.dumps({"text": "a, b " * 100})] * len(calls)
    again = transcript.read_calls(transcript.write_transcript(text, others))
    assert [(call.tool, call.arguments) for call in again] == [(call.tool, call.arguments) for call in calls]
    assert {call.answer for call in again} == {others[0]}


def test_a_call_that_is_refused_is_no_transcript(transcript, tiny_store):
    call = transcript.Call("feature", {"id": "tiny/0-res/99"}, "")
    with featurestore.connect(tiny_store) as store, pytest.raises(ValueError, match="d_sae is 24"):
        transcript.ask([call], create_server(store))
