"""Counts of (feature, token) pairs, compared with a plain Counter, in any order of adding and merging."""

import collections

import numpy
import pytest
import torch

from ingest.statistics import token_table
from ingest.statistics.token_table import TokenTable, find_features, move_features, summarise_tokens

FEATURES = 7


@pytest.fixture
def entries():
    random = numpy.random.default_rng(5)
    return random.integers(0, FEATURES - 1, 3000), random.zipf(1.6, 3000).clip(max=50_000)


def fill(feature, token, parts, sort_every, monkeypatch):
    monkeypatch.setattr(token_table, "SORT_EVERY", sort_every)
    table = TokenTable()
    for rows in numpy.array_split(numpy.arange(len(feature)), parts):
        table.add(torch.from_numpy(feature[rows]), torch.from_numpy(token[rows]))
    return table


@pytest.mark.parametrize(("parts", "sort_every"), [(1, 10**9), (40, 100), (13, 500)])
def test_counts_are_those_of_a_counter(entries, parts, sort_every, monkeypatch):
    feature, token = entries
    keys, counts = fill(feature, token, parts, sort_every, monkeypatch).counts()
    assert (numpy.diff(keys) > 0).all()
    pairs = dict(
        zip(zip((keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist(), strict=True), counts.tolist(), strict=True)
    )
    assert pairs == collections.Counter(zip(feature.tolist(), token.tolist(), strict=True))


def test_merged_parts_are_the_whole(entries, monkeypatch):
    feature, token = entries
    whole = fill(feature, token, 5, 700, monkeypatch).counts()
    first = fill(feature[1000:], token[1000:], 3, 200, monkeypatch)
    first.add_counts(*fill(feature[:1000], token[:1000], 2, 300, monkeypatch).counts())
    for ours, theirs in zip(first.counts(), whole, strict=True):
        assert numpy.array_equal(ours, theirs)


def test_shares_and_kinds_of_tokens(entries, monkeypatch):
    feature, token = entries
    distinct, most = summarise_tokens(*fill(feature, token, 4, 400, monkeypatch).counts(), FEATURES)
    for number in range(FEATURES):
        counter = collections.Counter(token[feature == number].tolist())
        assert distinct[number] == len(counter)
        assert most[number] == max(counter.values(), default=0)


def test_features_are_cut_out_and_moved(entries, monkeypatch):
    feature, token = entries
    keys, counts = fill(feature, token, 1, 10**9, monkeypatch).counts()
    rows = find_features(keys, 2, 5)
    moved = move_features(keys[rows], -2)
    inside = (feature >= 2) & (feature < 5)
    expected = fill(feature[inside] - 2, token[inside], 1, 10**9, monkeypatch).counts()
    assert numpy.array_equal(moved, expected[0])
    assert numpy.array_equal(counts[rows], expected[1])


def test_an_empty_table():
    keys, counts = TokenTable().counts()
    assert not len(keys)
    assert not len(counts)
    assert [array.tolist() for array in summarise_tokens(keys, counts, 2)] == [[0, 0], [0, 0]]


def test_counts_that_need_more_than_32_bits():
    table = TokenTable()
    for _ in range(2):
        table.add_counts(numpy.array([3]), numpy.array([3_000_000_000], numpy.uint32))
    assert table.counts()[1].tolist() == [6_000_000_000]
