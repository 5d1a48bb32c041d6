"""The Batch API against the local endpoint: the same labels as live calls, nothing handed over twice."""

import json

import pytest

import featurestore
from featurestore import Unavailable
from featurestore.cli.main import main
from featurestore.progress import no_progress
from labeler.llm import batch_api
from labeler.llm.budget import Budget, Limit
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import fake_llm, label_store


@pytest.fixture
def many(tmp_path):
    with label_store.write_many(tmp_path / "s", 120) as store:
        yield store


def label(store, endpoint, journal, budget=None, **wanted):
    with (
        Journal(journal) as kept,
        batch_api.BatchAsker(Endpoint("judge", endpoint.url), kept, budget, poll=0.01) as asker,
    ):
        return label_run.label_with_model(store, asker, progress=no_progress, **wanted)


def labels(store):
    rows = store.sql("SELECT feature, label FROM stored.labels WHERE explainer = 'judge'").to_pylist()
    assert len({row["feature"] for row in rows}) == len(rows)
    return {row["feature"]: row["label"] for row in rows}


def test_batches_give_what_live_calls_give(many, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_api, "MOST_REQUESTS", 50)
    with fake_llm.Endpoint(fault=fake_llm.fault_on_schedule(9)) as endpoint:
        report = label(many, endpoint, tmp_path / "j")
        account = endpoint.account()
        first = [id for id in endpoint.batches.values() if id["request_counts"]["total"] == 50]
        assert len(first) == 2, "120 requests are handed over in files of 50"
    found = labels(many)
    assert account["twice"] == 0
    assert report.paid == account["completed"]
    assert (report.tokens_in, report.tokens_out) == (account["tokens_in"], account["tokens_out"])
    assert report.labelled == len(found) > 100
    assert report.labelled + sum(report.failed.values()) == 120
    assert report.failed["the batch has no answer"] > 0
    for feature in list(found)[::20]:
        assert {"label": found[feature]} == json.loads(label_store.expected(many, feature))


@pytest.mark.parametrize("moment", ["before the id is noted", "while it waits"])
def test_a_killed_run_finds_its_batch_again(many, tmp_path, monkeypatch, moment):
    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    with fake_llm.Endpoint() as endpoint:
        with monkeypatch.context() as patched:
            if moment == "while it waits":
                patched.setattr(batch_api.BatchRegister, "fetch", killed)
            else:
                saved, saves = batch_api.BatchRegister._save, []
                patched.setattr(
                    batch_api.BatchRegister, "_save", lambda book: killed() if saves else saves.append(saved(book))
                )
            with pytest.raises(Killed):
                label(many, endpoint, tmp_path / "j")
        assert len(endpoint.batches) == 1
        report = label(many, endpoint, tmp_path / "j")
        assert (report.labelled, len(labels(many))) == (120, 120)
        assert len(endpoint.batches) == 1
        assert endpoint.account()["completed"] == 120
        assert json.loads((tmp_path / "j.batches").read_text()) == []


def test_a_batch_that_failed_says_why(many, tmp_path):
    with fake_llm.Endpoint() as endpoint:
        failed = {"status": "failed", "errors": {"object": "list", "data": [{"message": "no such model", "code": "x"}]}}
        endpoint._run = lambda made: made.update(failed)
        with pytest.raises(Unavailable, match="failed batch batch_0: no such model"):
            label(many, endpoint, tmp_path / "j")
        assert labels(many) == {}


def test_a_budget_holds_for_batches(many, tmp_path):
    with fake_llm.Endpoint() as endpoint:
        report = label(many, endpoint, tmp_path / "j", Budget(Limit(20_000, False)))
        account = endpoint.account()
        assert 10_000 < account["tokens_in"] + account["tokens_out"] <= 20_000
        assert report.stopped
        assert report.labelled == len(labels(many)) == account["completed"]
        assert label(many, endpoint, tmp_path / "j").skipped == account["completed"]
        assert len(labels(many)) == 120


def test_only_what_was_chosen_is_labelled_and_once(many, tmp_path):
    """Questions that need a second round bring no further features in, and none of those that are done again."""
    with fake_llm.Endpoint(fault=lambda n: "not_json" if n == 3 else None) as endpoint:
        for redo in (False, True):
            report = label(many, endpoint, tmp_path / "j", limit=10, redo=redo)
            assert (report.labelled, report.left, report.failed) == (10, 0, {})
        assert endpoint.account()["completed"] == 11
    found = many.sql("SELECT feature, count(*) AS n FROM stored.labels WHERE explainer = 'judge' GROUP BY feature")
    assert set(found["n"].to_pylist()) == {2}


def test_the_command(tmp_path, invoke, monkeypatch):
    monkeypatch.setattr(batch_api, "POLL", 0.01)
    label_store.write_many(tmp_path / "s", 10).close()
    with fake_llm.Endpoint() as endpoint:
        asked = ["label", "--store", str(tmp_path / "s"), "--model", "judge", "--endpoint", endpoint.url]
        done = invoke(main, [*asked, "--batch", "--no-index", "--json"])
        assert json.loads(done.stdout)["labelled"] == 10
        methods = ["--methods", "detection", "--json"]
        none = invoke(main, ["score", *asked[1:], "--batch", *methods])
        assert json.loads(none.stdout)["failed"] == {"too few examples that no explainer saw": 10}, none.output
        two = invoke(main, [*asked, "--endpoint", endpoint.url, "--batch", "--no-index"])
        assert (two.exit_code, "--batch asks one endpoint" in two.stderr) == (2, True)
    with featurestore.connect(tmp_path / "s") as store:
        assert len(labels(store)) == 10
