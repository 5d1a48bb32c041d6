"""Sampled contexts and pairs of features that are active together, against dense counts."""

import dataclasses

import numpy
import pytest

from ingest.statistics import coactivity
from ingest.statistics.accumulator import Accumulator
from ingest.statistics.coactivity import find_coactive, join_samples
from tests.support.dense_tiles import (
    CONTEXTS,
    LENGTH,
    N,
    accumulate_all,
    make_tile,
    mask_dense,
)


def test_drawn_contexts_hold_every_active_feature(dense, monkeypatch):
    monkeypatch.setattr(coactivity, "CONTEXTS", (4, 3))
    drawn, part = accumulate_all(dense).sampler.samples()["contexts"], mask_dense(dense)
    assert drawn.cell.tolist() == [0] * 4 + [1] * 3
    begins = numpy.cumsum(drawn.counts) - drawn.counts
    for row in range(7):
        values = part[drawn.document[row] * 3 + drawn.start[row] // LENGTH]
        active = numpy.flatnonzero(values.any(0))
        mine = slice(begins[row], begins[row] + drawn.counts[row])
        numpy.testing.assert_array_equal(drawn.features[mine], active)
        strongest = [values[abs(values[:, i]).argmax(), i] for i in active]
        numpy.testing.assert_allclose(numpy.abs(drawn.peaks[mine]), numpy.abs(strongest))


def test_coactivity_equals_a_dense_count(dense):
    part = mask_dense(dense).reshape(-1, N) != 0
    one, other, measure = find_coactive(accumulate_all(dense).sampler.samples()["tokens"], N)
    found = {(int(a), int(b)): float(m) for a, b, m in zip(one, other, measure, strict=True)}
    wanted = {}
    for a in range(N):
        for b in range(N):
            both = (part[:, a] & part[:, b]).sum()
            if a != b and both >= 2:
                wanted[a, b] = both / (part[:, a] | part[:, b]).sum()
    assert found == pytest.approx(wanted)
    assert all(measure[k] >= measure[k + 1] for k in range(len(one) - 1) if one[k] == one[k + 1])


def test_pairs_listed_in_blocks_are_the_same(dense, monkeypatch):
    drawn = accumulate_all(dense).sampler.samples()["tokens"]
    whole = find_coactive(drawn, N)
    monkeypatch.setattr(coactivity, "BLOCK", 7)
    for ours, theirs in zip(find_coactive(drawn, N), whole, strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_coactivity_of_tokens_that_share_nothing_is_empty():
    empty = coactivity.ContextSample.empty()
    one_token = dataclasses.replace(empty, counts=numpy.array([2]), features=numpy.array([1, 4], numpy.int32))
    for sample in (empty, one_token):
        assert [len(column) for column in find_coactive(sample, N)] == [0, 0, 0]


def test_coactivity_counts_no_more_pairs_than_it_may(dense, monkeypatch):
    drawn = accumulate_all(dense).sampler.samples()["tokens"]
    pairs = numpy.cumsum(drawn.counts * (drawn.counts - 1) // 2)
    some = drawn.take(numpy.flatnonzero(pairs <= pairs[50]))
    assert 50 < len(some) < len(drawn)
    monkeypatch.setattr(coactivity, "PAIRS", int(pairs[50]))
    for ours, theirs in zip(find_coactive(drawn, N), find_coactive(some, N), strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_rounds_over_other_features_draw_the_same(dense):
    whole, kept = accumulate_all(dense).sampler.samples(), {}
    for first, last in ((0, 2), (2, N)):
        part = Accumulator(last - first, seed=3)
        part.add(make_tile(dense, range(CONTEXTS), first, last))
        for what, drawn in part.sampler.samples().items():
            kept.setdefault(what, []).append((first, drawn))
    for what, rounds in kept.items():
        for name, value in vars(join_samples(rounds)).items():
            numpy.testing.assert_array_equal(value, getattr(whole[what], name), err_msg=name)
