"""The figures of bench.quality against ones that are counted by hand."""

import math

from bench import quality
from bench.support.quality_sets import Asked


def test_labels_that_read_the_same_take_one_place():
    ranking = {"x": ["a", "b", "c", "d"]}.__getitem__
    queries = [Asked("text", "x", frozenset(["c"])), Asked("text", "x", frozenset(["z"]))]
    assert quality.find_places(ranking, queries) == [3, math.inf]
    texts = {"a": "plural nouns", "b": "plural nouns", "c": "verbs", "d": "verbs"}
    assert quality.find_places(ranking, queries, texts) == [2, math.inf]


def test_each_kind_of_queries_counts_equally(capsys):
    kinds = [quality.score(places) for places in ([1, 1, 1, 1], [20, math.inf])]
    results = {"one": {"parts": {"a": {"rankings": {"way": kinds[0]}}, "b": {"rankings": {"way": kinds[1]}}}}}
    means = quality.show_means(results)
    assert means == {"way": {"hit_at_1": 0.5, "hit_at_10": 0.5, "hit_at_50": 0.75, "mrr": (1 + 0.05 / 2) / 2}}
    assert "mean of 2 kinds" in capsys.readouterr().out
