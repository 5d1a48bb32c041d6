"""Runs against an endpoint that answers in every shape we know: each feature has its label or its reason."""

import collections
import re
import subprocess
import sys
import time

import pytest

import featurestore
from featurestore.progress import no_progress
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.labeler.replies.reply_shapes import SHAPES, answer_in_shapes
from tests.support import ROOT, fake_llm, label_store


def label(store, url, journal):
    with Journal(journal) as kept:
        asker = Asker([Endpoint("judge", url)], kept)
        return label_run.label_with_model(store, asker, progress=no_progress), kept.damaged


def check(store, features, failed):
    """Labels and reasons are those of the shapes. Foreign and vague ones are kept, and say so in their prompt."""
    expected = [SHAPES[n % len(SHAPES)] for n in range(features)]
    rows = store.sql("SELECT feature, label FROM stored.labels WHERE explainer = 'judge'").to_pylist()
    assert {row["feature"]: row["label"] for row in rows} == {
        n: shape.label for n, shape in enumerate(expected) if shape.label
    }
    assert len(rows) == sum(bool(shape.label) for shape in expected), "a feature was labelled twice"
    assert failed == dict(collections.Counter(shape.reason for shape in expected if shape.reason))


def test_each_feature_is_labelled_or_counts_under_its_reason(tmp_path):
    features = len(SHAPES)
    with (
        label_store.write_many(tmp_path / "s", features) as store,
        fake_llm.Endpoint(answer=answer_in_shapes) as endpoint,
    ):
        report, damaged = label(store, endpoint.url, tmp_path / "j")
        check(store, features, report.failed)
        assert (damaged, report.left, report.stopped) == (0, 0, None)
        again, damaged = label(store, endpoint.url, tmp_path / "j")
        assert (again.paid, again.labelled, again.failed, damaged) == (0, 0, report.failed, 0)


@pytest.mark.parametrize(
    ("features", "kills"),
    [pytest.param(len(SHAPES), 1, marks=pytest.mark.crash), pytest.param(2000, 3, marks=pytest.mark.slow)],
    ids=["quick", "slow"],
)
def test_the_same_after_kills(tmp_path, features, kills):
    label_store.write_many(tmp_path / "s", features).close()
    path, journal = str(tmp_path / "s"), str(tmp_path / "j")
    with fake_llm.in_a_process("--shapes", "--latency", "0.002") as url:
        for kill in range(kills):
            command = [sys.executable, "-m", "tests.support.label_store", path, url, journal, "8"]
            process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            wanted = features * (kill + 1) // (kills + 2)
            while fake_llm.account(url)["completed"] < wanted and process.poll() is None:
                time.sleep(0.01)
            process.kill()
            process.wait()
        with featurestore.connect(path) as store:
            report, _ = label(store, url, journal)
            check(store, features, report.failed)
            assert fake_llm.account(url)["twice"] <= kills * 8


def test_answers_of_a_journal_that_an_older_version_kept(tmp_path):
    """Blocks in place of a text, and lines that lack fields, ended every run that found them."""
    with label_store.write_many(tmp_path / "s", 6) as store, fake_llm.Endpoint() as endpoint:
        label(store, endpoint.url, tmp_path / "j")
        lines = (tmp_path / "j").read_text().splitlines()
        blocks = '[{"type":"thinking","thinking":"x"},{"type":"text","text":"{\\"label\\": \\"from blocks\\"}"}]'
        for n, fields in enumerate(
            (
                f'"text":{blocks},"tokens_in":3,"tokens_out":2,"finish":"stop"',
                '"text":"{\\"label\\": \\"alone\\"}"',
                '"text":"{\\"label\\": \\"odd\\"}","tokens_in":"many","tokens_out":null,"finish":null,'
                '"logprobs":[1,[2]]',
                '"text":null',
            )
        ):
            lines[n] = f"{lines[n].split(',', 1)[0]},{fields}}}"
        (tmp_path / "j").write_text("\n".join(lines) + "\n")
        with label_store.write_many(tmp_path / "t", 6) as other:
            report, _ = label(other, endpoint.url, tmp_path / "j")
            labels = other.sql("SELECT label FROM stored.labels WHERE explainer = 'judge'")["label"].to_pylist()
        assert (report.labelled, report.failed, report.paid) == (6, {}, 1)
        assert {"from blocks", "alone", "odd"} < set(labels)


def test_a_model_that_never_answers_readably_is_stopped(tmp_path):
    with label_store.write_many(tmp_path / "s", 200) as store:
        with fake_llm.Endpoint(answer=lambda asked: "[]") as endpoint:
            report, _ = label(store, endpoint.url, tmp_path / "j")
            assert endpoint.requests < 130
        assert report.labelled == 0 and report.left > 130
        words = r"none of \d+ questions had an answer that could be read \(the last: JSON without a label\)"
        assert re.match(words, report.stopped)
