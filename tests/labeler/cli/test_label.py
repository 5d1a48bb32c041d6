"""The command `featurestore label`."""

import json

import pytest

import featurestore
from featurestore.cli.main import main
from tests.labeler.scripted_llm import Server, say
from tests.support import fake_llm, tiny


def test_the_command_counts_keeps_and_goes_on(tmp_path, invoke):
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with fake_llm.Endpoint() as endpoint:
        common = ["label", "--store", path, "--model", "judge", "--endpoint", endpoint.url, "--no-index"]
        prices = ["--price-in", "1", "--price-out", "2"]
        dry = invoke(main, [*common, *prices, "--dry-run", "--json"])
        about = json.loads(dry.stdout)
        assert (about["features"], endpoint.requests) == (46, 0)
        assert about["money"] > 0
        assert [[message["role"] for message in talk] for talk in about["prompts"]] == [["system", "user"]] * 3
        shown = invoke(main, [*common, "--dry-run"]).stdout
        assert f"--- prompt 3 of 3, user ---\n{about['prompts'][2][1]['content']}" in shown
        stopped = invoke(main, [*common, "--budget", "2ktokens", "--concurrency", "2"])
        assert stopped.exit_code == 0
        assert "might not be enough for another request" in stopped.stderr
        assert "answers paid" in stopped.stderr
        assert 0 < endpoint.tokens_in + endpoint.tokens_out <= 2000
        little = invoke(main, [*common, "--budget", "20tokens"])
        assert "20 tokens is not enough for one request" in little.stderr
        zero = invoke(main, [*common, "--budget", "0"])
        assert "the budget is 0, so nothing was asked" in zero.stderr
        refused = invoke(main, [*common, "--budget", "5"])
        assert (refused.exit_code, "needs --price-in" in refused.stderr) == (2, True)
        before = endpoint.account()["completed"]
        whole = invoke(main, [*common, "--order", "density desc", "--json"])
        report = json.loads(whole.stdout)
        assert (report["failed"], report["stopped"], report["left"]) == ({}, None, 0)
        assert report["labelled"] + report["skipped"] == 46
        assert report["paid"] == endpoint.account()["completed"] - before
    assert (tmp_path / "s.journal.jsonl").exists()


def test_a_first_sample_says_what_the_whole_will_cost(tmp_path, invoke, monkeypatch):
    """20 of 46 features are asked about, some of which are alike; at a terminal the user then decides."""
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with fake_llm.Endpoint() as endpoint:
        common = ["label", "--store", path, "--model", "judge", "--endpoint", endpoint.url, "--no-index"]
        common += ["--price-in", "1", "--price-out", "2"]
        told = json.loads(invoke(main, [*common, "--estimate", "--json"]).stdout)
        assert (told["items"], told["sampled"], told["covered"]) == (46, 20, 1.0)
        assert endpoint.requests == 20 - told["cached"]
        assert told["tokens"]["low"] <= told["tokens"]["value"] <= told["tokens"]["high"]
        assert told["tokens_in"] + told["tokens_out"] == pytest.approx(told["tokens"]["value"], abs=1)
        assert told["money"]["value"] == pytest.approx((told["tokens_in"] + 2 * told["tokens_out"]) / 1e6, rel=1e-3)
        monkeypatch.setattr("labeler.cli.model_options.stands_at_terminal", lambda: True)
        declined = invoke(main, [*common, "--redo", "--take", "2"], input="n\n")
        assert "after 20 of 46 features: about " in declined.stderr
        assert "Go on? [Y/n]" in declined.stderr
        assert "26 features left: it stopped after its first sample, as you asked; run it without" in declined.stderr
        assert endpoint.requests == 2 * (20 - told["cached"])
        approved = invoke(main, [*common, "--redo", "--take", "2", "--yes", "--json"])
        report = json.loads(approved.stdout)
        assert (report["labelled"], report["left"], "Go on?" in approved.stderr) == (46, 0, False)
        before = endpoint.requests
        again = invoke(main, [*common, "--redo", "--take", "2", "--budget", "100"])
        assert ("Go on?" in again.stderr, endpoint.requests) == (False, before)
    refused = invoke(main, [*common, "--estimate", "--batch"])
    assert (refused.exit_code, "--estimate asks about a sample now" in refused.stderr) == (2, True)


def test_the_command(tmp_path, invoke):
    path = str(tmp_path / "s")
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    with Server(lambda n, body: say('{"label": "aardvarks"}')) as server:
        done = invoke(main, ["label", "--store", path, "--base-url", server.url, "--model", "m", "--limit", "2"])
    assert done.stdout == "2 features labelled by m, 0 skipped\n"
    hits = featurestore.connect(path).search("aardvarks", mode="keyword")
    assert len(hits) == 2, "new labels are indexed"
    refused = invoke(main, ["label", "--store", path, "--where", "feature = 1"])
    assert (refused.exit_code, refused.stderr) == (
        2,
        "error: --where goes with --model; token statistics label every feature of a dictionary\n",
    )
