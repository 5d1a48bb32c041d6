"""Strongest and sampled examples and their windows against full sorts of dense activations."""

import numpy

from ingest.statistics.accumulator import Accumulator, histogram_bins
from ingest.statistics.examples import OCTAVES, SAMPLED, TOP, ExampleBuffers
from tests.support.dense_tiles import (
    CONTEXTS,
    LENGTH,
    N,
    accumulate_all,
    hash_entries,
    make_one_context,
    make_tile,
    mask_dense,
)


def test_top_examples_equal_a_full_sort(dense):
    top, part = accumulate_all(dense).examples.top(), mask_dense(dense)
    for cell in range(2 * N):
        i, side = divmod(cell, 2)
        rows = numpy.flatnonzero(top.cell == cell)
        wanted = []
        for c in range(CONTEXTS):
            values = part[c, :, i]
            if not values.any() or (c // 3 % 5 == 0) != side:
                continue
            where = numpy.flatnonzero(abs(values) == abs(values).max())
            start = c % 3 * LENGTH
            keys = hash_entries([c // 3] * len(where), start + where, [i] * len(where)).numpy()
            best = keys.argmin()
            wanted.append((-abs(values[where[best]]), keys[best], c // 3, start + where[best]))
        wanted = sorted(wanted)[: TOP[side]]
        assert [(int(d), int(p)) for _, _, d, p in wanted] == list(
            zip(top.document[rows].tolist(), top.position[rows].tolist(), strict=True)
        )


def test_windows_hold_the_features_activations(dense):
    whole, part = accumulate_all(dense).examples, mask_dense(dense)
    for kept, divide in ((whole.top(), 2), (whole.sample(), 2 * OCTAVES)):
        ends = numpy.cumsum(kept.counts)
        assert len(kept) > 20
        for row in range(len(kept)):
            begin = int(kept.start[row])
            values = part[kept.document[row] * 3 + begin // LENGTH, :, kept.cell[row] // divide]
            window = values[begin % LENGTH : begin % LENGTH + kept.length[row]]
            mine = slice(ends[row] - kept.counts[row], ends[row])
            numpy.testing.assert_array_equal(kept.offsets[mine], numpy.flatnonzero(window))
            numpy.testing.assert_array_equal(kept.values[mine], window[window != 0])
            assert kept.activation[row] == values[kept.position[row] % LENGTH]


def test_windows_are_cut_around_the_peak_in_long_contexts():
    values = numpy.ones(200)
    values[150] = 9
    whole = Accumulator(1)
    whole.add(make_one_context(values))
    top = whole.examples.top()
    assert (top.start[0], top.length[0], top.position[0]) == (1000 + 110, 64, 1150)
    assert top.counts[0] == 64
    assert top.values[40] == 9


def test_sample_is_the_smallest_hashes_of_each_band(dense):
    tile, sample = make_tile(dense, range(CONTEXTS)), accumulate_all(dense).examples.sample()
    context = tile.context[tile.token]
    keys = hash_entries(tile.document[context], tile.start[context] + tile.position[tile.token], tile.feature).numpy()
    octave = numpy.floor(numpy.log2(abs(tile.value.numpy())) + 6 + 1e-9).astype(int)
    cells = (tile.feature.numpy() * OCTAVES + octave) * 2 + tile.held_out.numpy()[context]
    for cell in numpy.unique(cells):
        numpy.testing.assert_array_equal(
            numpy.sort(keys[cells == cell])[: SAMPLED[cell % 2]], sample.hash[sample.cell == cell]
        )
    assert set(sample.cell) == set(cells)


def test_sample_is_unbiased():
    """The mean of a sampled value over many seeds is the band's mean."""
    rng = numpy.random.default_rng(0)
    values = rng.uniform(1, 2, size=200).astype(numpy.float32)
    tile, means = make_one_context(values), []
    for seed in range(300):
        buffers = ExampleBuffers(1)
        buffers.add(tile, histogram_bins(tile.value), seed)
        means.append(buffers.sample().activation.mean())
    error = values.std() / (SAMPLED[0] * 300) ** 0.5
    assert abs(numpy.mean(means) - values.mean()) < 4 * error
