"""Scores: labels that are right, wrong, vague and shuffled are ranked by every method, and who guesses gets a
guesser's.
"""

import collections
import itertools
import json
import re
import shutil
import signal
import subprocess
import sys
import time

import pyarrow
import pytest

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.cli.main import main
from featurestore.progress import no_progress
from labeler.explainers import agreement
from labeler.llm import batch_api
from labeler.llm.asker import Asker
from labeler.llm.budget import Budget, parse_limit
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import score_run
from labeler.runs.embedding_score_run import score_with_embedder
from labeler.scorers import report as score_report
from labeler.scorers import sample as score_sample
from labeler.scorers.judge import Judge
from tests.support import ROOT, fake_llm, ruled_store

METHODS = ("detection", "fuzzing", "intruder", "simulation")
COUNT = len(ruled_store.FEATURES)
TEXTS = 8


@pytest.fixture(scope="module")
def written(pattern, tmp_path_factory):
    """A store with its labels scored by an oracle, by a guesser and by the embedder; nobody writes to it."""
    with featurestore.connect(shutil.copytree(pattern, tmp_path_factory.mktemp("scored") / "s")) as made:
        labels = pyarrow.concat_tables(
            score_sample.read_labels(made, [ruled_store.NAME], explainer) for explainer in ruled_store.EXPLAINERS
        )
        report, _ = run(made, ruled_store.oracle, model="oracle", labels=labels, texts=TEXTS)
        assert (report.labels, report.failed, report.unanswered, report.without_hard) == (4 * COUNT, {}, 0, 0)
        score_with_embedder(made, labels, representative=True, progress=no_progress)
        report, _ = run(made, ruled_store.guesser, model="guesser", explainer="right", texts=TEXTS)
        assert report.failed == {}
        yield made


def run(store, answer, journal=None, model="judge", methods=METHODS, budget=None, endpoint=None, **wanted):
    served = {"answer": answer, "probabilities": True, "models": (model,)} | (endpoint or {})
    with fake_llm.Endpoint(**served) as served:
        asker = Asker([Endpoint(model, served.url)], journal, budget)
        return score_run.score_with_judge(
            store, asker, methods=methods, progress=no_progress, **wanted
        ), served.account()


def scores(store, judge):
    """Rows by (method, negatives), explainer and feature."""
    found = collections.defaultdict(lambda: collections.defaultdict(dict))
    for row in store.sql(f"FROM scores WHERE starts_with(judge, '{judge}')").to_pylist():
        found[row["method"], row["negatives"]][row["explainer"]][row["feature"]] = row
    return found


# --- proof: known rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "kind"), list(itertools.product(METHODS, ("random", "hard"))))
def test_every_method_ranks_the_label_that_is_the_rule_above_all_others(written, method, kind):
    found = scores(written, "oracle")[method, kind]
    for feature in range(COUNT):
        right = found["right"][feature]
        assert right["low"] > right["baseline"]
        for explainer in ("wrong", "vague", "shuffled"):
            other = found[explainer][feature]
            assert right["low"] > other["value"], (explainer, feature)
            assert other["low"] <= other["baseline"], "no better than chance"
    assert {row["failures"] for some in found.values() for row in some.values()} == {0}


@pytest.mark.parametrize("kind", ["random", "hard"])
def test_the_embedder_ranks_them_too(written, kind):
    """An embedder is no oracle: the right label is best of the four, for each feature, and on average by much."""
    found = scores(written, "all-MiniLM")["embedding", kind]
    means = {name: sum(row["value"] for row in some.values()) / COUNT for name, some in found.items()}
    assert means["right"] > 0.8
    assert all(means["right"] > means[other] + 0.15 for other in ("wrong", "vague", "shuffled")), means
    if kind == "random":
        for feature in range(COUNT):
            assert found["right"][feature]["value"] == max(some[feature]["value"] for some in found.values())


def test_who_guesses_scores_as_chance_does(written):
    """Of 64 intervals at 95 %, nearly all contain what chance gives; each method's figure for the dictionary does."""
    rows = [row for some in scores(written, "guesser").values() for row in some["right"].values()]
    assert len(rows) == 2 * len(METHODS) * COUNT
    assert sum(row["low"] <= row["baseline"] <= row["high"] for row in rows) / len(rows) > 0.9
    found = [one for one in score_report.compute_figures(written, ruled_store.NAME, "right") if one.judge == "guesser"]
    assert len(found) == 2 * len(METHODS)
    for one in found:
        assert one.low <= one.baseline <= one.high, one


def test_probabilities_give_an_area_beside_the_accuracy(written):
    for method, wanted in (("detection", True), ("fuzzing", True), ("intruder", False), ("simulation", False)):
        areas = [row["auc"] for row in scores(written, "oracle")[method, "random"]["right"].values()]
        assert all((area is not None) == wanted for area in areas)
        assert not wanted or min(areas) > 0.9


# --- which texts ---------------------------------------------------------------------------------------------------


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_one_without_budget_goes_on(fresh, tmp_path):
    store, other = fresh("s"), fresh("other")
    with Journal(tmp_path / "j") as journal:
        budget = Budget(parse_limit("30ktokens", None))
        first, account = run(store, ruled_store.oracle, journal, budget=budget, explainer="right")
        assert first.left > 0 and "the budget of 30,000 tokens" in first.stopped
        assert 0 < account["completed"] < 8 * 60
        assert store.sql("SELECT count(DISTINCT feature) AS n FROM scores")["n"].to_pylist() == [first.labels]
        second, later = run(store, ruled_store.oracle, journal, explainer="right")
        assert (second.labels, second.skipped) == (COUNT - first.labels, first.labels)
        assert second.paid == later["completed"]
        with Journal(tmp_path / "i") as own:
            _, whole = run(other, ruled_store.oracle, own, explainer="right")
        assert account["completed"] + later["completed"] == whole["completed"]
        third, none = run(store, ruled_store.oracle, journal, explainer="right")
        assert (third.labels, third.skipped, none["requests"]) == (0, COUNT, 0)
        redone, none = run(store, ruled_store.oracle, journal, explainer="right", redo=True)
        assert (redone.labels, redone.paid, none["requests"]) == (COUNT, 0, 0)
    name = "feature, method, negatives, value, low, high, n, failures, auc"
    mine, theirs = (one.sql(f"SELECT {name} FROM scores ORDER BY ALL") for one in (store, other))
    assert mine.equals(theirs), "broken off and gone on with, it is the same"


@pytest.mark.crash
def test_a_process_that_is_killed_pays_for_nothing_twice(store, tmp_path):
    """SIGKILL in the middle, twice; only what was under way in that moment may have been answered and not read."""
    with fake_llm.Endpoint(answer=ruled_store.oracle, latency=0.01, probabilities=True) as served:
        command = [sys.executable, "-m", "tests.support.ruled_store", store.location, served.url, str(tmp_path / "j")]
        for kills in (1, 2):
            process = subprocess.Popen(command, cwd=ROOT)
            while served.account()["completed"] < 25 * kills and process.poll() is None:
                time.sleep(0.002)
            process.kill()
            assert process.wait() == -signal.SIGKILL
        report = ruled_store.score_right(store.location, served.url, str(tmp_path / "j"))
        account = served.account()
    assert report.left == 0
    assert 0 < report.paid < account["completed"] - 2 * 25 + 2 * 4
    assert account["twice"] <= 2 * 4
    name = "feature, method, negatives, value, low, high, n, failures"
    broken = store.sql(f"SELECT {name} FROM stored.scores ORDER BY ALL")
    run(store, ruled_store.oracle, model="calm", methods=("detection", "intruder"), explainer="right")
    assert broken.equals(store.sql(f"SELECT {name} FROM scores WHERE judge = 'calm' ORDER BY ALL")), (
        "none lost or doubled"
    )


@pytest.mark.parametrize("threshold", [None, 0.26])
def test_batches_give_the_scores_that_live_calls_give(store, tmp_path, threshold):
    """With faults, in several files; and with looks at what is decided, each after a round of batches."""
    fault = {"fault": fake_llm.fault_on_schedule(7)} if threshold is None else {}
    methods, wanted = ("detection", "intruder"), {"explainer": "right", "texts": TEXTS, "threshold": threshold}
    served = {"answer": ruled_store.oracle, "probabilities": True, "models": ("judge",)} | fault
    with fake_llm.Endpoint(**served) as endpoint, Journal(tmp_path / "j") as journal:
        with batch_api.BatchAsker(Endpoint("judge", endpoint.url), journal, poll=0.001) as asker:
            report = score_run.score_with_judge(store, asker, methods=methods, progress=no_progress, **wanted)
        account, rounds = endpoint.account(), len(endpoint.batches)
        with batch_api.BatchAsker(Endpoint("judge", endpoint.url), journal, poll=0.001) as asker:
            again = score_run.score_with_judge(store, asker, methods=methods, progress=no_progress, **wanted)
        assert (again.labels, again.skipped, endpoint.account()) == (0, COUNT, account)
    assert (report.labels, report.left, report.failed, account["twice"]) == (COUNT, 0, {}, 0)
    assert (report.paid, report.tokens_in) == (account["completed"], account["tokens_in"])
    whole, live = run(store, ruled_store.oracle, model="calm", methods=methods, **wanted)
    name = "feature, method, negatives, n + failures AS n, stopped" + (", value, low, high" if threshold else "")
    mine, theirs = (
        store.sql(f"SELECT {name} FROM stored.scores WHERE judge = '{judge}' ORDER BY ALL")
        for judge in ("judge", "calm")
    )
    assert mine.num_rows == report.scores and mine.equals(theirs)
    if threshold is None:
        assert report.unanswered > whole.unanswered == 0 and rounds <= 3
        assert {row["value"] for row in store.sql("FROM scores").to_pylist()} <= {None, 1.0}
    else:
        assert account["requests"] == live["requests"] and rounds > 1 and report.stopped_early


def test_faults_are_counted_and_never_scored(store, monkeypatch):
    """Every kind of fault, met by every third request: what was judged is judged rightly, the rest are failures."""
    monkeypatch.setattr("labeler.llm.rate_limit.FIRST_WAIT", 0.001)
    fault, methods = {"fault": fake_llm.fault_on_schedule(3)}, ("detection", "intruder")
    report, account = run(store, ruled_store.oracle, endpoint=fault, methods=methods, explainer="right")
    assert set(account["faults"]) == set(fake_llm.FAULTS)
    rows = store.sql("FROM scores").to_pylist()
    assert report.unanswered == sum(row["failures"] for row in rows)
    for row in rows:
        assert row["value"] in (None, 1.0), "a failure is no wrong answer"
    asked = {(row["method"], row["negatives"], row["feature"]): row["n"] + row["failures"] for row in rows}
    whole, _ = run(store, ruled_store.oracle, model="calm", methods=methods, explainer="right")
    assert whole.unanswered == 0
    for row in store.sql("FROM scores WHERE judge = 'calm'").to_pylist():
        assert asked[row["method"], row["negatives"], row["feature"]] == row["n"]


def test_a_judge_that_never_answers_readably_leaves_failures_and_no_value(store):
    report, _ = run(store, lambda asked: "I would rather not say.", explainer="right", limit=2)
    rows = store.sql("FROM scores").to_pylist()
    assert {row["value"] for row in rows} == {row["low"] for row in rows} == {None}
    assert all(row["n"] == 0 and row["failures"] > 0 and row["tokens_in"] > 0 for row in rows)
    assert report.unanswered == sum(row["failures"] for row in rows)
    assert score_report.compute_figures(store, ruled_store.NAME, "right") == [], (
        "of a limited choice nothing is said of all"
    )


def test_replies_of_another_shape_are_failures(store):
    replies = [
        '{"answers": [1, 0]}',
        '{"answers": [1, 0, 2, 0, 0, 0, 0, 0, 0, 0]}',
        '{"answers": "1111111111"}',
        '{"answers": [true, "yes"]}',
        '{"answers": [1, 0, 1',
        '{"intruder": 9}',
        '{"intruder": true}',
        "[]",
        "{}",
        "",
    ]
    table = score_sample.read_labels(store, [ruled_store.NAME], "right", limit=1)
    ((page, source, (target,)),) = score_run.read_pages(store, table)
    material = source.collect_material(page, 4)
    job = score_run.ScoreJob.of(("detection", "intruder"))
    for reply in replies:
        with fake_llm.Endpoint(answer=lambda asked, reply=reply: reply) as served:
            judge = Judge(Asker([Endpoint("judge", served.url)]), job.prompts, None, False)
            rows = [row for method in job.prompts for row in judge.score(method, target, material)]
        assert {row["method"] for row in rows} == {"detection", "intruder"}
        assert all(row["n"] == 0 and row["failures"] and row["value"] is None for row in rows), reply


def test_replies_with_thoughts_fences_and_bare_lists_are_read(store):
    def chatty(asked):
        said = ruled_store.oracle(asked)
        bare = re.search(r"\[.*\]", said)
        return f"<think>1 or 0? {{}} </think>```json\n{bare[0] if bare else said}\n```"

    report, account = run(store, chatty, methods=("detection", "intruder"), explainer="right")
    assert (report.unanswered, account["twice"]) == (0, 0)
    assert {row["value"] for row in store.sql("FROM scores").to_pylist()} == {1.0}


def test_without_probabilities_there_is_no_area_and_no_simulation(store):
    refuses = {"probabilities": False, "refuse": frozenset({"logprobs"})}
    report, _ = run(store, ruled_store.oracle, methods=("detection", "simulation"), explainer="right", endpoint=refuses)
    assert report.failed == {"simulation: the endpoint offers no log-probabilities": COUNT}
    rows = store.sql("FROM scores").to_pylist()
    assert {(row["method"], row["auc"], row["value"]) for row in rows} == {("detection", None, 1.0)}


def test_a_label_that_is_decided_is_asked_no_more_about(store):
    report, account = run(store, ruled_store.oracle, methods=("intruder",), explainer="right", threshold=0.26)
    whole, more = run(store, ruled_store.oracle, model="calm", methods=("intruder",), explainer="right")
    assert account["requests"] < more["requests"]
    assert report.stopped_early > 0 and whole.stopped_early == 0
    for row in store.sql("FROM scores WHERE judge = 'judge' AND stopped").to_pylist():
        assert row["low"] > 0.26
    (fresh,) = store.sql("SELECT min(low) AS low FROM scores WHERE judge = 'calm'").to_pylist()
    (looked,) = store.sql("SELECT min(low) AS low FROM scores WHERE judge = 'judge'").to_pylist()
    assert looked["low"] < fresh["low"], "intervals that are looked at often reach further"


def test_a_wrong_key_ends_the_run_with_one_line(store):
    with pytest.raises(Unavailable, match="wants a key"):
        run(store, ruled_store.oracle, endpoint={"key": "another"}, explainer="right")
    with pytest.raises(BadRequest, match="has no model"):
        run(store, ruled_store.oracle, endpoint={"models": ("x",)}, explainer="right")
    assert store.sql("FROM scores").num_rows == 0


# --- samples and figures -------------------------------------------------------------------------------------------


def test_the_figure_of_a_dictionary(written):
    found = {
        (one.method, one.negatives, one.judge): one
        for one in score_report.compute_figures(written, ruled_store.NAME, "right")
    }
    one = found["detection", "random", "oracle"]
    rows = scores(written, "oracle")["detection", "random"]["right"].values()
    assert one.value == pytest.approx(sum(row["value"] for row in rows) / COUNT)
    assert (one.features, one.labelled, one.unjudged, one.failures) == (COUNT, COUNT, 0, 0)
    assert one.tokens == sum(row["tokens_in"] + row["tokens_out"] for row in rows)
    assert one.low <= one.value <= one.high <= 1
    assert not score_report.compute_figures(written, ruled_store.NAME, "nobody")


def test_costs_add_up_to_what_was_paid(store):
    budget = Budget(None, None)
    report, _ = run(store, ruled_store.oracle, explainer="right", budget=budget)
    (row,) = store.sql("SELECT sum(tokens_in) AS tokens_in, sum(tokens_out) AS tokens_out FROM scores").to_pylist()
    assert (row["tokens_in"], row["tokens_out"]) == (report.tokens_in, report.tokens_out)


# --- agreement -----------------------------------------------------------------------------------------------------


def test_explainers_that_disagree(written):
    found = agreement.find_disagreements(written, "right", "shuffled", [ruled_store.NAME], 3)
    assert len(found) == 3
    assert [row["distance"] for row in found] == sorted((row["distance"] for row in found), reverse=True)
    vectors = written.embedder()([found[0]["right"], found[0]["shuffled"]])
    assert found[0]["distance"] == pytest.approx(1 - float(vectors[0] @ vectors[1]), abs=1e-5)
    same = agreement.find_disagreements(written, "right", "right", [ruled_store.NAME], 3)
    assert all(row["distance"] < 1e-5 for row in same)
    with pytest.raises(BadRequest, match=r"no feature has labels by both right and me; .* right .6."):
        agreement.find_disagreements(written, "right", "me", [ruled_store.NAME], 3)


def test_labels_that_repeat_contradict_and_cost(written):
    (vague,) = agreement.find_repeated(written, [ruled_store.NAME], "vague", 10)
    assert (vague["label"], vague["features"], len(vague["some"])) == (ruled_store.VAGUE, COUNT, 5)
    assert agreement.find_repeated(written, [ruled_store.NAME], "right", 10) == []
    low = agreement.find_contradicted(written, [ruled_store.NAME], 0.7, 1000)
    assert low and all(row["high"] < 0.7 for row in low)
    assert not [row for row in low if row["explainer"] == "right" and row["judge"] == "oracle"]
    rows = agreement.compute_costs(written, [ruled_store.NAME])
    assert {row["explainer"] for row in rows} == set(ruled_store.EXPLAINERS)
    assert {row["tokens_a_point"] for row in rows} == {None}, "nobody counted what these labels took"


def test_what_a_point_of_score_costs(store):
    """A label of 50 tokens in and out, all right by the oracle: 50 points above chance, one token each."""
    row = {
        "dictionary": ruled_store.NAME,
        "label": ruled_store.RIGHT[0],
        "feature": 0,
        "explainer": "paid",
        "tokens_in": 40,
    }
    row |= {"tokens_out": 10, "money": 0.5, "tool": "tests", "created_at": ruled_store.tiny.WHEN}
    with store.writer("tests") as writer:
        writer.add("labels", ruled_store.tiny.table([row]), key=ruled_store.NAME)
    run(store, ruled_store.oracle, methods=("detection",), explainer="paid")
    for found in agreement.compute_costs(store, [ruled_store.NAME]):
        assert (found["explainer"], found["labels"], found["score"]) == ("paid", 1, 1.0)
        assert (found["tokens_a_point"], found["money_a_point"]) == (pytest.approx(1.0), pytest.approx(0.01))


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_command_line_scores_and_reports(store, invoke, tmp_path):
    at = ["--store", store.location]
    with fake_llm.Endpoint(answer=ruled_store.oracle) as served:
        judge = ["--model", "judge", "--endpoint", served.url, "--explainer", "right", "--journal", str(tmp_path / "j")]
        dry = invoke(main, ["score", *judge, *at, "--dry-run", "--json"])
        assert (json.loads(dry.stdout)["features"], served.requests) == (COUNT, 0), dry.output
        done = invoke(main, ["score", *judge, *at, "--sample", "4", "--json"])
        assert done.exit_code == 0, done.output
        embedded, judged = map(json.loads, done.stdout.splitlines())
        assert (embedded["labels"], judged["labels"], judged["scores"]) == (COUNT, 4, 16)
        about = json.loads(dry.stdout)
        assert 0.5 < (judged["tokens_in"] / 4) / (about["tokens_in"] / COUNT) < 2
    told = invoke(main, ["score", "--report", ruled_store.NAME, "--explainer", "right", *at])
    assert told.exit_code == 0
    assert "4 of 6" in told.stdout and "6 of 6" in told.stdout
    figures = invoke(main, ["score", "--report", ruled_store.NAME, "--explainer", "right", "--json", *at]).stdout
    assert len(figures.splitlines()) == 6
    with featurestore.connect(store.location) as opened:
        assert opened.scores(f"{ruled_store.NAME}/0")
    for tool in (["disagree", "right", "vague"], ["duplicates", "--explainer", "vague"], ["contradicted"], ["cost"]):
        said = invoke(main, ["label", *tool, *at, "--json"])
        assert said.exit_code == 0, said.output
        assert invoke(main, ["label", *tool, *at]).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--methods", "guessing"], 2, "method: 'guessing' is not one of detection"),
        (["--methods", "detection"], 2, "detection needs a judge"),
        (["--dry-run"], 2, "--dry-run goes with --model"),
        (["--sample", "5"], 2, "--sample goes with --model"),
        (["--report", "tiny/none"], 3, "no dictionary 'tiny/none'"),
        (["--report", ruled_store.NAME, "--explainer", "nobody"], 2, "has a score yet"),
        (["--where", "nose = 1"], 2, "nose"),
        (["--model", "m", "--methods", "detection", "--prompt", "/no/such.md"], 3, "no prompt"),
        (["--model", "m", "--methods", "detection", "--prompt", "fuzzing"], 2, "none of the methods of this run"),
        (
            ["--model", "m", "--methods", "detection", "--budget", "0", "--endpoint", "http://127.0.0.1:9/v1"],
            0,
            "budget is 0",
        ),
    ],
)
def test_mistakes_get_one_line(written, invoke, tmp_path, arguments, code, said):
    kept = ["--journal", str(tmp_path / "j")] if "--model" in arguments else []
    done = invoke(main, ["score", *arguments, "--store", written.location, *kept])
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
