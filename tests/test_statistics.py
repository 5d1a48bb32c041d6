"""The accumulator against a dense NumPy reference, in any order, by one worker or several."""

import numpy
import pytest

from featurestore import HISTOGRAM_EDGES
from ingest import statistics
from ingest.statistics import OCTAVES, SAMPLED, TOP, Accumulator, Tile, hash_of

N, CONTEXTS, LENGTH = 6, 60, 30


@pytest.fixture(scope="module")
def dense():
    """Activations (contexts, tokens, features): sparse, heavy-tailed, rounded so that ties occur, some negative."""
    rng = numpy.random.default_rng(1)
    values = numpy.exp(rng.normal(size=(CONTEXTS, LENGTH, N)) * 1.5).astype(numpy.float32)
    values *= rng.random(values.shape) < numpy.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.0])
    values = numpy.round(values, 1)
    values[..., 4] *= -1
    return values


def tile_of(dense, contexts):
    lengths = numpy.array([LENGTH - c % 7 for c in contexts])
    part = dense[contexts].copy()
    for row, length in enumerate(lengths):
        part[row, length:] = 0
    context, position, feature = numpy.nonzero(part)
    values = part[context, position, feature]
    document = numpy.array([c // 3 for c in contexts])
    start = numpy.array([(c % 3) * LENGTH for c in contexts])
    return Tile(feature, context, position, values, document, start, lengths), part


def everything(dense):
    tile, part = tile_of(dense, numpy.arange(CONTEXTS))
    whole = Accumulator(N, seed=3)
    whole.add(tile)
    return whole, tile, part


def same(a, b):
    for name in ("active_tokens", "active_contexts", "max", "histogram"):
        numpy.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    numpy.testing.assert_allclose(a.sum, b.sum, rtol=1e-12)
    numpy.testing.assert_allclose(a.sum_squares, b.sum_squares, rtol=1e-12)
    for kept in ("top", "sample"):
        for name, value in vars(getattr(a, kept)()).items():
            numpy.testing.assert_array_equal(value, getattr(getattr(b, kept)(), name), err_msg=f"{kept}.{name}")


def test_moments_and_histogram_equal_dense(dense):
    whole, _, part = everything(dense)
    flat = part.reshape(-1, N)
    active = flat != 0
    numpy.testing.assert_array_equal(whole.active_tokens, active.sum(0))
    numpy.testing.assert_array_equal(whole.active_contexts, (part != 0).any(1).sum(0))
    numpy.testing.assert_allclose(whole.sum, flat.sum(0, dtype=float), rtol=1e-6)
    numpy.testing.assert_allclose(whole.sum_squares, (flat.astype(float) ** 2).sum(0), rtol=1e-6)
    for i in range(N):
        values = flat[active[:, i], i]
        if len(values):
            assert whole.max[i] == values.max()
        edges = numpy.array(HISTOGRAM_EDGES)
        bins = numpy.clip(numpy.searchsorted(edges, abs(values), side="right") - 1, 0, 63)
        numpy.testing.assert_array_equal(whole.histogram[i], numpy.bincount(bins, minlength=64))


def test_top_examples_equal_a_full_sort(dense):
    whole, tile, part = everything(dense)
    top = whole.top()
    for i in range(N):
        rows = numpy.flatnonzero(top.cell == i)
        wanted = []
        for c in range(CONTEXTS):
            values = part[c, :, i]
            if not values.any():
                continue
            where = numpy.flatnonzero(abs(values) == abs(values).max())
            document, start = tile.document[[c] * len(where)], tile.start[[c] * len(where)]
            hashes = hash_of(3, document, start + where, numpy.full(len(where), i))
            best = hashes.argmin()
            wanted.append((-abs(values[where[best]]), hashes[best], tile.document[c], tile.start[c] + where[best]))
        wanted = sorted(wanted)[:TOP]
        assert [(int(d), int(p)) for _, _, d, p in wanted] == list(
            zip(top.document[rows].tolist(), top.position[rows].tolist(), strict=True)
        )


def test_windows_hold_the_features_activations(dense):
    whole, tile, part = everything(dense)
    context_of = {(d, s): c for c, (d, s) in enumerate(zip(tile.document, tile.start, strict=True))}
    for kept, divide in ((whole.top(), 1), (whole.sample(), OCTAVES)):
        ends = numpy.cumsum(kept.counts)
        assert len(kept) > 20
        for row in range(len(kept)):
            begin = int(kept.start[row])
            context = context_of[kept.document[row], begin // LENGTH * LENGTH]
            values = part[context, :, kept.cell[row] // divide]
            window = values[begin % LENGTH : begin % LENGTH + kept.length[row]]
            mine = slice(ends[row] - kept.counts[row], ends[row])
            numpy.testing.assert_array_equal(kept.offsets[mine], numpy.flatnonzero(window))
            numpy.testing.assert_array_equal(kept.values[mine], window[window != 0])
            assert kept.activation[row] == values[kept.position[row] % LENGTH]


def test_windows_are_cut_around_the_peak_in_long_contexts():
    length = 200
    feature, context = numpy.zeros(length, int), numpy.zeros(length, int)
    values = numpy.ones(length, numpy.float32)
    values[150] = 9
    tile = Tile(feature, context, numpy.arange(length), values, *(numpy.array([n]) for n in (4, 1000, length)))
    whole = Accumulator(1)
    whole.add(tile)
    top = whole.top()
    assert (top.start[0], top.length[0], top.position[0]) == (1000 + 110, 64, 1150)
    assert top.counts[0] == 64
    assert top.values[40] == 9


def test_sample_is_the_smallest_hashes_of_each_band(dense):
    whole, tile, _ = everything(dense)
    document, position = tile.document[tile.context], tile.start[tile.context] + tile.position
    hashes = hash_of(3, document, position, tile.feature)
    octave = numpy.floor(numpy.log2(abs(tile.activation)) + 6 + 1e-9).astype(int)
    sample = whole.sample()
    for cell in numpy.unique(tile.feature * OCTAVES + octave):
        mine = tile.feature * OCTAVES + octave == cell
        numpy.testing.assert_array_equal(numpy.sort(hashes[mine])[:SAMPLED], sample.hash[sample.cell == cell])
    assert set(sample.cell) == set(numpy.unique(tile.feature * OCTAVES + octave))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_split_in_any_order_is_the_same(dense, workers, monkeypatch):
    monkeypatch.setattr(statistics, "THIN_EVERY", 50)  # thin often, so that the bars are at work
    whole, _, _ = everything(dense)
    order = numpy.random.default_rng(workers).permutation(CONTEXTS)
    parts = []
    for mine in numpy.array_split(order, workers):
        part = Accumulator(N, seed=3)
        for few in numpy.array_split(mine, 5):
            part.add(tile_of(dense, few)[0])
        parts.append(part)
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    same(whole, merged)


def test_sample_is_unbiased():
    """The mean of a sampled value over many seeds is the band's mean."""
    rng = numpy.random.default_rng(0)
    values = rng.uniform(1, 2, size=200).astype(numpy.float32)
    zeros = numpy.zeros(200, int)
    means = []
    for seed in range(300):
        whole = Accumulator(1, seed)
        whole.add(Tile(zeros, zeros, numpy.arange(200), values, *(numpy.array([n]) for n in (0, 0, 200))))
        means.append(whole.sample().activation.mean())
    error = values.std() / (SAMPLED * 300) ** 0.5
    assert abs(numpy.mean(means) - values.mean()) < 4 * error


def test_any_integer_is_a_seed():
    place = (numpy.array([1]), numpy.array([2]), numpy.array([3]))
    hashes = {int(hash_of(seed, *place)[0]) for seed in (-5, -1, 0, 2**63, 2**64 - 2)}
    assert len(hashes) == 5
