"""Bodies of requests without what an endpoint does not support, and bounds on their tokens."""

import types

import pytest

from labeler.llm import completions
from labeler.llm.completions import RequestSettings

TALK = [{"role": "user", "content": "what is ü?"}]


def test_a_request_goes_without_unsupported_fields():
    settings = RequestSettings({"name": "label", "schema": {}}, max_tokens=7, logprobs=5)
    whole = completions.build_request("m", TALK, settings)
    assert whole["max_tokens"] == 7
    assert (whole["logprobs"], whole["top_logprobs"]) == (True, 5)
    plain = completions.build_request("m", TALK, settings, {"max_tokens", "response_format", "logprobs", "temperature"})
    assert plain == {"model": "m", "messages": TALK, "max_completion_tokens": 7}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("Unsupported parameter: 'max_tokens'", "max_tokens"),
        ("json_schema is not supported", "response_format"),
        ("the prompt is too long", None),
        ("logprobs are not available", None),
    ],
)
def test_the_field_a_refusal_is_about(message, field):
    body = completions.build_request("m", TALK, RequestSettings({"name": "label", "schema": {}}))
    assert completions.find_unsupported(message, body) == field, "logprobs are not in the request"


def test_tokens_are_estimated_and_bounded():
    assert completions.estimate_tokens(TALK) == 11 // 3 + 8
    assert completions.bound_tokens(TALK) == 11 + 16 + 128


@pytest.mark.parametrize("completion", ["text", types.SimpleNamespace(choices=[]), None])
def test_what_is_no_completion(completion):
    with pytest.raises(ValueError, match="no choices in it"):
        completions.parse_completion(completion, TALK)
