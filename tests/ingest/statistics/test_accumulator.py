"""Counts, moments, extremes and histograms against a dense NumPy reference, in any order, by one worker or several."""

from fractions import Fraction

import numpy
import pytest
import torch

from featurestore import HISTOGRAM_EDGES
from ingest.statistics import coactivity, examples
from ingest.statistics.accumulator import BYTES_PER_FEATURE, Accumulator, choose_scale, histogram_bins
from ingest.statistics.examples import OCTAVES
from ingest.statistics.tile import Tile
from tests.support.dense_tiles import (
    CONTEXTS,
    DOCUMENTS,
    LENGTH,
    N,
    accumulate_all,
    assert_same_state,
    make_tile,
    mask_dense,
)


def test_counts_moments_extremes_and_histogram_equal_dense(dense):
    tally = accumulate_all(dense).tally
    part = mask_dense(dense)
    flat = part.reshape(-1, N)
    active = flat != 0
    numpy.testing.assert_array_equal(tally.active_tokens, active.sum(0))
    numpy.testing.assert_array_equal(tally.active_contexts, (part != 0).any(1).sum(0))
    for units, wanted in ((tally.sum.units(), flat), (tally.sum_squares.units(), flat.astype(float) ** 2)):
        numpy.testing.assert_allclose(units.astype(float) / 2.0**60, wanted.sum(0, dtype=float), rtol=1e-12)
    held_out = numpy.repeat(numpy.arange(DOCUMENTS) % 5 == 0, 3 * LENGTH)
    edges = numpy.array(HISTOGRAM_EDGES)
    for i in range(N):
        values = flat[active[:, i], i]
        if not len(values):
            assert tally.last[i] == -1
            continue
        where = numpy.flatnonzero(active[:, i])
        assert (tally.max[i], tally.first[i], tally.last[i]) == (values.max(), where[0], where[-1])
        bins = numpy.clip(numpy.searchsorted(edges, abs(values), side="right") - 1, 0, 63)
        numpy.testing.assert_array_equal(tally.histogram[i], numpy.bincount(bins, minlength=64))
        apart = bins[held_out[where]] // 4
        numpy.testing.assert_array_equal(tally.held_out[i], numpy.bincount(apart, minlength=OCTAVES))


def test_bins_are_exact_at_every_edge():
    edges = numpy.array(HISTOGRAM_EDGES[1:-1])
    single = edges.astype(numpy.float32)
    values = numpy.concatenate([single, numpy.nextafter(single, 0), numpy.nextafter(single, 1e9), [1e-40, 1e30]])
    values = values.astype(numpy.float32)
    wanted = numpy.clip(numpy.searchsorted(HISTOGRAM_EDGES, values.astype(float), side="right") - 1, 0, 63)
    numpy.testing.assert_array_equal(histogram_bins(torch.from_numpy(values)), wanted)
    numpy.testing.assert_array_equal(histogram_bins(torch.from_numpy(-values)), wanted)


def test_sums_do_not_depend_on_the_order():
    """Where adding float64 numbers does: these are the sums to 2^-60, each number rounded once."""
    rng = numpy.random.default_rng(5)
    values = (10.0 ** rng.uniform(-6, 6, size=4000) * rng.choice([-1, 1], 4000)).astype(numpy.float32)
    wanted = sum(round(Fraction(float(value)) * 2**60) for value in values)
    found = set()
    for _ in range(5):
        rng.shuffle(values)
        whole = Accumulator(1)
        whole.tally.sum.add(torch.zeros(4000, dtype=torch.int64), torch.from_numpy(values).double())
        found.add(whole.tally.sum.units()[0])
    assert found == {wanted}


@pytest.mark.parametrize("size", [1e-5, 0.1, 1.0, 300.0, 1e10])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 0.5])
def test_moments_of_any_size_are_those_of_float64(size, spread):
    """Alone, and merged from two workers: a deviation is neither 0 nor off where activations are small or large."""
    rng = numpy.random.default_rng(3)
    values = (size * (1 + spread * rng.standard_normal(600).clip(-1.9, 1.9))).astype(numpy.float32)
    scale = choose_scale(torch.from_numpy(values))
    halves = []
    for half in (values[:200], values[200:]):
        halves.append(Accumulator(1, scale=scale))
        halves[-1].add(one_feature(half))
    halves[0].merge(Accumulator.from_state(halves[1].state(), seed=0))
    mean, deviation = halves[0].tally.moments()
    exact = values.astype(numpy.float64)
    assert mean[0] == pytest.approx(exact.mean(), rel=1e-12)
    assert deviation[0] == pytest.approx(exact.std(), rel=1e-6, abs=0 if spread else size * 1e-12)
    edges = numpy.array(HISTOGRAM_EDGES) * 2.0**scale
    bins = numpy.clip(numpy.searchsorted(edges, exact, side="right") - 1, 0, 63)
    numpy.testing.assert_array_equal(halves[0].tally.histogram[0], numpy.bincount(bins, minlength=64))
    assert (bins > 0).all()
    assert (bins < 63).all()


def one_feature(values):
    """A tile of one context in which one feature has these activations."""
    n, one = len(values), torch.zeros(1, dtype=torch.int64)
    rows = torch.arange(n)
    length, held_out = torch.tensor([n]), torch.tensor([False])
    zeros = torch.zeros(n, dtype=torch.int64)
    return Tile(zeros, rows, torch.from_numpy(values), zeros, rows, one, one, length, one, held_out)


@pytest.mark.parametrize(
    ("values", "scale"),
    [([], 0), ([0.13, 5.0, 100.0], 0), ([-0.13, 5.0, -100.0], 0), ([1e-5] * 3, -19), ([1e10] * 3, 31), ([0.01], -9)],
)
def test_the_scale_follows_activations_that_are_far_from_one(values, scale):
    assert choose_scale(torch.tensor(values)) == scale


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_split_in_any_order_is_the_same(dense, workers, monkeypatch):
    monkeypatch.setattr(examples, "THIN_EVERY", 50)  # thin often, so that the bars are at work
    monkeypatch.setattr(coactivity, "CONTEXTS", (3, 2))
    monkeypatch.setattr(coactivity, "TOKENS", 40)
    whole = accumulate_all(dense)
    order = numpy.random.default_rng(workers).permutation(CONTEXTS)
    parts = []
    for mine in numpy.array_split(order, workers):
        part = Accumulator(N, seed=3)
        for few in numpy.array_split(mine, 5):
            if len(few):
                part.add(make_tile(dense, few))
        parts.append(Accumulator.from_state(part.state(), seed=3))  # as it comes from another process
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    assert_same_state(whole, merged)


def test_little_leaves_the_device_once_examples_are_there(monkeypatch):
    """What is active stays where it was computed: only what may be kept, and hashes of places, go to the processor."""
    monkeypatch.setattr(coactivity, "TOKENS", 10)
    monkeypatch.setattr(coactivity, "CONTEXTS", (2, 2))
    monkeypatch.setattr(examples, "THIN_EVERY", 500)
    generator = torch.Generator().manual_seed(0)
    features, tokens, contexts = 20, 400, 20

    def tile(n):
        feature, token = (torch.rand(features, tokens, generator=generator) < 0.5).nonzero(as_tuple=True)
        document = torch.arange(contexts) + n * contexts
        of_contexts = {"document": document, "start": torch.zeros_like(document), "place": document * 20}
        return Tile(
            feature,
            token,
            torch.rand(len(feature), generator=generator) + 1,
            torch.arange(tokens) // 20,
            torch.arange(tokens) % 20,
            length=torch.full_like(document, 20),
            held_out=document % 4 == 0,
            **of_contexts,
        )

    whole = Accumulator(features)
    for n in range(40):
        whole.add(tile(n))
    crossed = []
    take = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: crossed.append(tensor.numel()) or take(tensor))
    last = tile(40)
    whole.add(last)
    assert len(last.feature) > 3000
    assert max(crossed) == tokens  # their hashes; no array has an element for each entry
    assert sum(crossed) < len(last.feature)


def test_a_feature_takes_the_bytes_that_are_stated():
    few, many = (sum(allocated(Accumulator(features))) for features in (100, 1100))
    assert many - few == 1000 * BYTES_PER_FEATURE


def allocated(thing):
    """The bytes of every tensor and array that a value holds."""
    if isinstance(thing, torch.Tensor | numpy.ndarray):
        yield thing.nbytes
    elif isinstance(thing, dict | list | tuple):
        for one in thing.values() if isinstance(thing, dict) else thing:
            yield from allocated(one)
    elif hasattr(thing, "__dict__"):
        yield from allocated(vars(thing))
