"""Runs of many requests against an endpoint that fails on a schedule: no answer lost, none paid twice, no failure
stored.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.progress import no_progress
from labeler.llm import journal, rate_limit
from labeler.llm.asker import Asker
from labeler.llm.budget import Budget, Prices
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import ROOT, fake_llm, label_store, tiny


@pytest.fixture
def many(tmp_path):
    with label_store.write_many(tmp_path / "s", 200) as store:
        yield store


def labels(store):
    rows = store.sql("SELECT feature, label FROM stored.labels WHERE explainer = 'judge' ORDER BY feature").to_pylist()
    assert len({row["feature"] for row in rows}) == len(rows), "a feature was labelled twice"
    return {row["feature"]: row["label"] for row in rows}


def check(store, report, endpoint_account):
    """Every label is the one its feature was given; nobody was asked the same thing twice."""
    found = labels(store)
    for feature, label in itertools.islice(found.items(), 0, None, 37):
        assert {"label": label} == json.loads(label_store.expected(store, feature))
    assert endpoint_account["twice"] == 0
    return found


def test_all_faults_are_met_and_nothing_is_lost(many, tmp_path):
    with fake_llm.Endpoint(fault=fake_llm.fault_on_schedule(4)) as endpoint:
        report = label_store.label(many.location, endpoint.url, str(tmp_path / "j"), concurrency=12)
        account = endpoint.account()
        assert set(account["faults"]) == set(fake_llm.FAULTS)
        found = check(many, report, account)
        assert report.labelled == len(found)
        assert report.labelled + sum(report.failed.values()) == 200
        assert report.paid == account["completed"]
        assert (report.tokens_in, report.tokens_out) == (account["tokens_in"], account["tokens_out"])
        again = label_store.label(many.location, endpoint.url, str(tmp_path / "j"))
        assert (again.labelled, again.paid, again.skipped) == (0, 0, report.labelled)
        assert again.failed == report.failed, "what was paid and was no label is not paid again"
        assert endpoint.account() == account


def killed_again_and_again(path, url, journal, kills, concurrency, moments):
    """Runs until it is done, killed that often on the way; how often it was."""
    command = [sys.executable, "-m", "tests.support.label_store", path, url, journal, str(concurrency)]
    killed = 0
    while True:
        before = fake_llm.account(url)["completed"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        if killed < kills:
            wanted = before + moments.randrange(10, 60)
            while fake_llm.account(url)["completed"] < wanted and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            killed += process.wait() == -signal.SIGKILL
            process.stderr.close()
            continue
        said = process.communicate(timeout=280)[1]
        assert process.returncode == 0, said
        return killed


@pytest.mark.parametrize(
    ("features", "kills"),
    [pytest.param(300, 2, marks=pytest.mark.crash), pytest.param(20_000, 12, marks=pytest.mark.slow)],
    ids=["quick", "slow"],
)
def test_killed_in_between(tmp_path, features, kills):
    """What is under way at a kill may be answered and not read; nothing else is ever asked twice, or lost."""
    concurrency = 8
    label_store.write_many(tmp_path / "s", features).close()
    endpoint = fake_llm.in_a_process("--every", "50" if features > 1000 else "9", "--latency", "0.005")
    with endpoint as url:
        path, kept = str(tmp_path / "s"), str(tmp_path / "j")
        killed = killed_again_and_again(path, url, kept, kills, concurrency, random.Random(features))
        account = fake_llm.account(url)
    assert killed == kills
    assert account["twice"] <= kills * concurrency
    with featurestore.connect(path) as store, Journal(kept) as answers:
        found = check(store, None, account | {"twice": 0})
        assert answers.damaged == 0
        assert account["questions"] == answers.count(), "every answer that anybody read is in the journal, once"
        assert features - len(found) <= features // 50, "only what was answered badly twice has no label"


def test_it_slows_down_for_a_crowded_endpoint(many, tmp_path):
    with fake_llm.Endpoint(most=3, latency=0.01) as endpoint:
        report = label_store.label(many.location, endpoint.url, str(tmp_path / "j"), concurrency=16)
        account = endpoint.account()
    assert (report.labelled, report.failed) == (200, {})
    assert account["faults"]["429"] < 100, "each slot that is too many is found out a few times, not at every request"


def test_ctrl_c_keeps_what_was_answered(many, tmp_path):
    """Interrupted, it finishes what is under way, writes it, and ends; run again, it asks for the rest."""
    with fake_llm.in_a_process("--latency", "0.05") as url:
        command = [sys.executable, "-m", "tests.support.label_store", many.location, url, str(tmp_path / "j"), "8"]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        while fake_llm.account(url)["completed"] < 20:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        assert process.returncode != 0
        assert "KeyboardInterrupt" in said
        account = fake_llm.account(url)
        assert 20 <= account["completed"] < 200
        assert len(labels(many)) == account["completed"]
        label_store.label(many.location, url, str(tmp_path / "j"))
        check(many, None, fake_llm.account(url))
        assert len(labels(many)) == fake_llm.account(url)["completed"] == 200


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ({"key": "sk-right"}, "refuses the key in OPENAI_API_KEY"),
        ({"models": ("another",)}, "has no model 'judge'.*does not exist"),
    ],
)
def test_a_wrong_key_or_model_ends_it_at_once(many, tmp_path, monkeypatch, trouble, words):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    with fake_llm.Endpoint(**trouble) as endpoint:
        with pytest.raises((Unavailable, BadRequest), match=words):
            label_store.label(many.location, endpoint.url, str(tmp_path / "j"))
        assert endpoint.requests <= 20
        assert labels(many) == {}


def test_an_endpoint_that_goes_down_in_the_middle(many, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_WAIT", 0.001)
    with fake_llm.Endpoint() as endpoint:

        def down_after_50(n):
            endpoint.down = n > 50

        endpoint.fault = down_after_50
        with pytest.raises(Unavailable, match="nothing answers at http://127"):
            label_store.label(many.location, endpoint.url, str(tmp_path / "j"))
        assert len(labels(many)) == endpoint.account()["completed"] > 0
        endpoint.fault, endpoint.down = lambda n: None, False
        report = label_store.label(many.location, endpoint.url, str(tmp_path / "j"))
        assert report.labelled + report.skipped == 200
        assert endpoint.account()["completed"] == 200


def test_settings_an_endpoint_does_not_know_are_left_out(many, tmp_path):
    refused = frozenset({"response_format", "max_tokens", "temperature"})
    with fake_llm.Endpoint(refuse=refused) as endpoint, Journal(tmp_path / "j") as kept:
        report = label_run.label_with_model(
            many, Asker([Endpoint("judge", endpoint.url, concurrency=1)], kept), progress=no_progress
        )
        assert (report.labelled, report.failed) == (200, {})
        assert endpoint.requests <= 210


def test_evidence_is_the_page_without_labels(tiny_store):
    with featurestore.connect(tiny_store) as store:
        ids = [f"tiny/{layer}-res/{n}" for n in (23, 3, 22, 0, 7) for layer in (1, 0)]
        for examples in (None, 1):
            found = {page.id: page for page in store.evidence(ids, examples)}
            assert found.keys() == set(ids)
            for id, page in found.items():
                page_of_all = store.feature(id, examples)
                whole = msgspec.structs.replace(page_of_all, labels=(), label=None, labelled_neighbours=())
                assert page == whole
        with pytest.raises(featurestore.NotFound):
            list(store.evidence(["tiny/0-res/24"]))


def test_a_full_disk_is_told_and_the_next_line_is_whole(tmp_path, monkeypatch):
    keys = [journal.hash_request({"n": n}) for n in range(3)]
    write = os.write
    with Journal(tmp_path / "j") as kept:
        kept.put(keys[0], {"text": "one"})
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", lambda file, raw: write(file, raw[:30]))
            with pytest.raises(Unavailable, match="the disk is full"):
                kept.put(keys[1], {"text": "two"})
        kept.put(keys[2], {"text": "three"})
        assert [(kept.get(key) or {}).get("text") for key in keys] == ["one", None, "three"]
    with Journal(tmp_path / "j") as kept:
        assert [(kept.get(key) or {}).get("text") for key in keys] == ["one", None, "three"]
        assert kept.damaged == 1


def test_a_further_take_asks_again_once(many, tmp_path):
    with fake_llm.Endpoint() as endpoint, Journal(tmp_path / "j") as kept:
        for take, redo, paid in ((1, False, 20), (1, True, 0), (2, True, 20), (2, True, 0)):
            asker = Asker([Endpoint("judge", endpoint.url)], kept, take=take)
            report = label_run.label_with_model(many, asker, progress=no_progress, where="feature < 20", redo=redo)
            assert (report.labelled, report.paid) == (20, paid)


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s") as opened:
        yield opened


def test_vague_labels_are_marked_and_counted(store):
    with fake_llm.Endpoint(answer=lambda asked: '{"label": "various topics"}') as endpoint:
        report = label_run.label_with_model(store, Endpoint("judge", endpoint.url), progress=no_progress, limit=5)
    assert (report.labelled, report.flawed) == (5, {"vague": 5})
    assert store.sql("SELECT DISTINCT prompt FROM labels WHERE explainer = 'judge'")["prompt"].to_pylist() == [
        "pairs/1+vague"
    ]


def test_labels_of_two_prompts_stand_side_by_side(store):
    with fake_llm.Endpoint() as endpoint:
        for prompt in ("pairs", "contrastive", "outputs"):
            report = label_run.label_with_model(
                store, Endpoint("judge", endpoint.url), progress=no_progress, prompt=prompt, dictionaries=["tiny/0-res"]
            )
            assert sum(report.failed.values()) + report.labelled == (24 if prompt == "outputs" else 23)
    rows = store.sql("SELECT explainer, prompt, count(*) AS n FROM labels GROUP BY ALL ORDER BY ALL").to_pylist()
    found = {row["explainer"]: (row["prompt"], row["n"]) for row in rows}
    assert found["judge"] == ("pairs/1", 23)
    assert found["judge+outputs"] == ("outputs/1", 24), "a dead feature has an output side"


def test_contrastive_shows_where_neighbours_fire_and_it_does_not(tmp_path):
    """Feature 0 is active in document 0, its neighbour 8 in document 1; 16, as near, where feature 0 is."""
    path = tmp_path / "s"
    opened = tiny.write_tiny_store(path, index=False)
    name = "tiny/2-res"
    with opened.writer("tests") as writer:
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("2-res", 2)]), key=name)
        writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)
        rows = [row for row in tiny.example_rows(name) if row["document"] == 0]
        writer.add(
            "examples",
            tiny.table(
                [
                    row
                    | (
                        {"document": 1, "length": 5, "offsets": [1]} | {"activations": [2.0]}
                        if row["feature"] == 8
                        else {}
                    )
                    for row in rows
                ]
            ),
            key=name,
        )
        writer.add_vectors(name, tiny.vectors(2))
    opened.index()
    with fake_llm.Endpoint() as endpoint:
        asked = []
        endpoint.answer = lambda request: asked.append(request) or fake_llm.label_of(request)
        report = label_run.label_with_model(
            opened,
            Endpoint("judge", endpoint.url),
            progress=no_progress,
            prompt="contrastive",
            where="feature = 0",
            dictionaries=[name],
        )
    assert report.labelled == 1
    mine, silent = asked[0]["messages"][1]["content"].split("Texts on which it is silent:")
    assert "def<< x>>(<< self>>):" in mine
    assert silent.strip() == "Text 1:\n raise ValueError()"


def test_the_estimate_is_near_what_it_costs(tmp_path):
    with label_store.write_many(tmp_path / "s", 80) as store, fake_llm.Endpoint() as endpoint:
        job, account = label_run.LabelJob.of("judge"), Budget(None, Prices(1.0, 2.0))
        about = label_run.estimate_cost(store, job, job.choose(store), account)
        assert endpoint.requests == 0
        report = label_run.label_with_model(
            store, Asker([Endpoint("judge", endpoint.url)], None, account), job, progress=no_progress
        )
        assert about.features == report.labelled == 80
        assert 0.5 < about.tokens_in / report.tokens_in < 2
        assert about.money == pytest.approx((about.tokens_in + 2 * about.tokens_out) / 1e6)
