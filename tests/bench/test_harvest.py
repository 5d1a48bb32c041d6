"""bench.harvest on a shape so small that only the form of its figures is checked."""

import argparse
import json

import pytest

from bench import harvest

SHAPE = {"d_sae": 64, "active": 4, "layers": 2, "layer": 1, "width": 64, "context": 32, "vocabulary": 400}
SIZES = {"tokens": 3000, "few_tokens": 1000, "alone_tokens": 1000, "peer_python": None, "flat": None}


@pytest.fixture
def options(monkeypatch):
    # In this process: three new ones would each spend seconds on importing.
    monkeypatch.setattr(harvest, "apart", lambda work, *arguments: work(*arguments))
    return argparse.Namespace(**SHAPE, **SIZES)


def test_the_bench_ends_with_one_object(options, tmp_path, capsys):
    figures = json.loads(json.dumps(harvest.compare(tmp_path, options, {})))
    assert (figures["d_sae"], figures["tokens"], figures["peers"]) == (64, 3000, {})
    assert 2 < figures["l0"] < 8  # the thresholds do what they are for
    assert figures["ratio"] == figures["harvest_tokens_per_s"] / figures["forward_encode_tokens_per_s"]
    assert figures["peak_rss_mb"] > 0
    # What does not depend on the corpus, and what does, give back both harvests.
    for tokens, seconds in ((3000, 3000 / figures["harvest_tokens_per_s"]), (1000, figures["few"]["seconds"])):
        assert figures["fixed_s"] + tokens / figures["further_tokens_per_s"] == pytest.approx(seconds)
    assert "ratio" in capsys.readouterr().out


def test_memory_is_measured_on_each_size(options, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(harvest, "SMALL", SHAPE)
    options.flat = [1000, 3000]
    figures = harvest.measure_memory(tmp_path, options, {})
    assert [run["tokens"] for run in figures["flat"]] == options.flat
    assert figures["growth"] == figures["flat"][1]["peak_rss_mb"] / figures["flat"][0]["peak_rss_mb"]
    assert "3 times the tokens" in capsys.readouterr().out
