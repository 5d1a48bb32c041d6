"""The command `featurestore label`."""

import json

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
