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
import threading
import time

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.progress import no_progress
from labeler import prompts
from labeler.llm import journal, rate_limit
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run, thread_pool
from tests.support import ROOT, fake_llm, label_store


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


def test_several_endpoints_share_the_work_and_stand_in_for_each_other(many, tmp_path, monkeypatch):
    monkeypatch.setattr(rate_limit, "FIRST_WAIT", 0.001)
    with fake_llm.Endpoint(latency=0.005) as one, fake_llm.Endpoint(latency=0.005) as two:
        two.fault = lambda n: setattr(two, "down", n > 30)
        with Journal(tmp_path / "j") as kept:
            asker = Asker([Endpoint("judge", url, retries=1, concurrency=4) for url in (one.url, two.url)], kept)
            report = label_run.label_with_model(many, asker, progress=no_progress)
        assert report.labelled == 200
        counts = one.account()["completed"], two.account()["completed"]
    assert sum(counts) == 200
    assert counts[1] >= 10


def test_settings_an_endpoint_does_not_know_are_left_out(many, tmp_path):
    refused = frozenset({"response_format", "max_tokens", "temperature"})
    with fake_llm.Endpoint(refuse=refused) as endpoint, Journal(tmp_path / "j") as kept:
        report = label_run.label_with_model(
            many, Asker([Endpoint("judge", endpoint.url, concurrency=1)], kept), progress=no_progress
        )
        assert (report.labelled, report.failed) == (200, {})
        assert endpoint.requests <= 210


def test_the_order_is_that_of_the_sql(many, tmp_path):
    with fake_llm.Endpoint() as endpoint, Journal(tmp_path / "j") as kept:
        asker = Asker([Endpoint("judge", endpoint.url)], kept)
        chosen = {"where": "label IS NULL and density > 1e-5", "order": "density DESC", "limit": 20}
        label_run.label_with_model(many, asker, progress=no_progress, **chosen)
        assert set(labels(many)) == set(range(180, 200))
        label_run.label_with_model(many, asker, progress=no_progress, **chosen)
        assert set(labels(many)) == set(range(160, 200))


def test_a_choice_is_as_sql_says(many):
    job = label_run.LabelJob.of("judge", order="density % 7e-6, feature DESC", where="feature % 3 = 1")
    wanted = many.sql(
        "SELECT dictionary || '/' || feature AS id FROM features WHERE feature % 3 = 1 "
        "ORDER BY density % 7e-6, feature DESC"
    )["id"].to_pylist()
    chosen = job.choose(many)
    assert list(chosen) == wanted
    assert list(chosen[:5]) == wanted[:5]
    assert sorted(wanted, key=lambda id: int(id.split("/")[2])) == list(chosen.sort_by_id())
    with pytest.raises(BadRequest, match="densty"):
        label_run.LabelJob.of("judge", where="densty > 0").choose(many)


# --- the journal ---------------------------------------------------------------------------------------------------


def test_a_journal_finds_what_it_was_given(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "_MERGE", 50)
    given = {journal.hash_request({"n": n}): {"text": "x" * n} for n in range(0, 9000, 61)}
    with Journal(tmp_path / "j") as kept:
        for key, content in given.items():
            kept.put(key, content)
        assert all(kept.get(key)["text"] == content["text"] for key, content in given.items())
    with Journal(tmp_path / "j") as kept:
        assert kept.count() == len(given)
        assert all(kept.get(key)["text"] == content["text"] for key, content in given.items())
        assert kept.get(journal.hash_request({"n": -1})) is None
        kept.put(next(iter(given)), {"text": "newer"})
        assert kept.get(next(iter(given)))["text"] == "newer"


@pytest.mark.parametrize("cut", [2, 20, 60])
def test_a_torn_line_costs_one_answer(tmp_path, cut):
    keys = [journal.hash_request({"n": n}) for n in range(3)]
    with Journal(tmp_path / "j") as kept:
        for key in keys[:2]:
            kept.put(key, {"text": "an answer"})
    raw = (tmp_path / "j").read_bytes()
    (tmp_path / "j").write_bytes(raw[:-cut])
    for _ in range(2):
        with Journal(tmp_path / "j") as kept:
            assert kept.get(keys[0])["text"] == "an answer"
            assert kept.get(keys[1]) is None
            kept.put(keys[2], {"text": "after"})
            assert kept.get(keys[2])["text"] == "after"


def test_a_journal_is_no_other_file(tmp_path):
    (tmp_path / "j").write_text("some notes\n")
    with pytest.raises(BadRequest, match="is no journal of answers"):
        Journal(tmp_path / "j")
    assert (tmp_path / "j").read_text() == "some notes\n"
    with pytest.raises(Unavailable, match="cannot write the journal"):
        Journal(tmp_path / "no" / "j")


def test_the_same_question_at_once_is_asked_once(tmp_path):
    with fake_llm.Endpoint(latency=0.1) as endpoint, Journal(tmp_path / "j") as kept:
        asker = Asker([Endpoint("judge", endpoint.url)], kept)
        talk = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        found = []
        threads = [threading.Thread(target=lambda: found.append(asker.ask(talk))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert endpoint.requests == 1
        assert len({answer.text for answer in found}) == 1
        assert sorted(answer.cached for answer in found) == [False, True, True, True, True]
        other = asker.ask(talk, logprobs=2)
        assert other.logprobs == (("1", {"1": -0.25, "0": -1.5}),)
        assert asker.ask(talk, logprobs=2) == other._replace(cached=True)


# --- pace and crew -------------------------------------------------------------------------------------------------


def test_a_pace_halves_once_a_round_and_grows_by_one_a_round():
    now = [0.0]
    turns = rate_limit.RateLimit(8, clock=lambda: now[0])
    with turns.turn() as first, turns.turn() as second:
        now[0] = 1.0
        turns.record_refusal(first, 5.0)
        turns.record_refusal(second, 2.0)
        assert turns.limit == 1.0, "two were under way: half of them, once"
        assert turns._seconds_to_wait() == pytest.approx(None) if turns.busy else True
    assert turns._seconds_to_wait() == 5.0
    now[0] = 6.0
    assert turns._seconds_to_wait() == 0.0
    for _ in range(3):
        turns.record_answer()
    assert turns.limit == pytest.approx(1 + 1 + 1 / 2 + 1 / 2.5)
    for _ in range(100):
        turns.record_answer()
    assert turns.limit == 8


def test_a_stopped_pace_lets_nobody_begin():
    turns = rate_limit.RateLimit(1)
    turns.stop()
    with pytest.raises(rate_limit.RunStopped), turns.turn():
        pass
    with pytest.raises(rate_limit.RunStopped):
        turns.pause(100)


def test_a_crew_draws_items_as_it_needs_them():
    drawn, done = itertools.count(), []
    most = [0]

    def items():
        for n in range(500):
            next(drawn)
            most[0] = max(most[0], n - len(done))
            yield n

    thread_pool.run_in_threads(items(), lambda n: n * n, done.append, threads=4)
    assert sorted(done) == [n * n for n in range(500)]
    assert most[0] <= 8


def test_a_crew_hands_over_what_was_under_way():
    done, began = [], threading.Semaphore(0)

    def work(n):
        if n == 5:
            began.acquire()
            raise ValueError("five")
        if n < 5:
            return n
        began.release()
        time.sleep(0.05)
        return n

    with pytest.raises(ValueError, match="five"):
        thread_pool.run_in_threads(range(100), work, done.append, threads=4)
    assert set(range(5)) < set(done)
    assert len(done) < 20


def test_prompts_are_loaded_by_name():
    assert prompts.load("pairs").id == prompts.load("pairs/1").id == "pairs/1"


def test_evidence_is_the_page_without_labels(tiny_store):
    with featurestore.connect(tiny_store) as store:
        ids = [f"tiny/{layer}-res/{n}" for n in (23, 3, 22, 0, 7) for layer in (1, 0)]
        for examples in (None, 1):
            found = {page.id: page for page in store.evidence(ids, examples)}
            assert found.keys() == set(ids)
            for id, page in found.items():
                whole = msgspec.structs.replace(store.feature(id, examples), labels=(), label=None)
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
