"""One answer for one question, from one of several endpoints."""

import threading

import pytest

from featurestore.progress import no_progress
from labeler.llm import rate_limit
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import label_run
from tests.support import fake_llm, label_store, tiny


@pytest.fixture
def many(tmp_path):
    with label_store.write_many(tmp_path / "s", 200) as store:
        yield store


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


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s") as opened:
        yield opened
