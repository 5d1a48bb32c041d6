"""The accumulator against a dense NumPy reference, in any order, by one worker or several."""

import dataclasses
import math

import numpy
import pytest
import torch

from featurestore import HISTOGRAM_EDGES
from ingest.statistics import coactivity, examples
from ingest.statistics.accumulator import BYTES_PER_FEATURE, Accumulator, histogram_bins
from ingest.statistics.coactivity import coactive, joined
from ingest.statistics.examples import OCTAVES, SAMPLED, TOP
from ingest.statistics.tile import Tile, hash_of

N, CONTEXTS, LENGTH = 6, 60, 30
DOCUMENTS = CONTEXTS // 3  # of three contexts each


@pytest.fixture(scope="module")
def dense():
    """Activations (contexts, tokens, features): sparse, heavy-tailed, rounded so that ties occur, some negative."""
    rng = numpy.random.default_rng(1)
    values = numpy.exp(rng.normal(size=(CONTEXTS, LENGTH, N)) * 1.5).astype(numpy.float32)
    values *= rng.random(values.shape) < numpy.array([0.5, 0.2, 0.1, 0.05, 0.02, 0.0])
    values = numpy.round(values, 1)
    values[..., 4] *= -1
    for c in range(CONTEXTS):
        values[c, LENGTH - c % 7 :] = 0
    return values


def tile_of(dense, contexts, first=0, last=N):
    """A tile of some contexts; every fifth document is held out, and of contexts every fourth token is left out."""
    contexts = numpy.asarray(contexts)
    lengths = LENGTH - contexts % 7
    kept = [(row, p) for row, c in enumerate(contexts) for p in range(lengths[row]) if counts(c, p)]
    context, position = (numpy.array(column) for column in zip(*kept, strict=True))
    part = dense[contexts[context], position, first:last]
    feature, token = numpy.nonzero(part.T)
    document = contexts // 3
    as_tensors = {
        "feature": feature,
        "token": token,
        "value": part[token, feature],
        "context": context,
        "position": position,
        "document": document,
        "start": contexts % 3 * LENGTH,
        "length": lengths,
        "place": contexts * LENGTH,
        "held_out": document % 5 == 0,
    }
    return Tile(**{name: torch.from_numpy(value) for name, value in as_tensors.items()})


def counts(context, position):
    return context % 4 or position % 4


def dense_counted(dense):
    """The reference: zero on tokens that do not count."""
    keep = numpy.array([[bool(counts(c, p)) for p in range(LENGTH)] for c in range(CONTEXTS)])
    return dense * keep[..., None]


def everything(dense):
    whole = Accumulator(N, seed=3)
    whole.add(tile_of(dense, range(CONTEXTS)))
    return whole


def same(a, b):
    ours, theirs = a.state(), b.state()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        numpy.testing.assert_array_equal(value, theirs[name], err_msg=name)


def hashes(document, position, feature):
    return hash_of(
        3, *(torch.as_tensor(numpy.asarray(one), dtype=torch.int64) for one in (document, position, feature))
    )


def test_counts_moments_extremes_and_histogram_equal_dense(dense):
    tally = everything(dense).tally
    part = dense_counted(dense)
    flat = part.reshape(-1, N)
    active = flat != 0
    numpy.testing.assert_array_equal(tally.active_tokens, active.sum(0))
    numpy.testing.assert_array_equal(tally.active_contexts, (part != 0).any(1).sum(0))
    numpy.testing.assert_allclose(tally.sum.value(), flat.sum(0, dtype=float), rtol=1e-6)
    numpy.testing.assert_allclose(tally.sum_squares.value(), (flat.astype(float) ** 2).sum(0), rtol=1e-6)
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
    """Where adding float64 numbers does: these are the sums to 2^-24, each number rounded once."""
    rng = numpy.random.default_rng(5)
    values = (10.0 ** rng.uniform(-6, 6, size=4000) * rng.choice([-1, 1], 4000)).astype(numpy.float32)
    wanted = math.fsum(round(float(v) * 2**24) for v in values) / 2**24
    found = set()
    for _ in range(5):
        rng.shuffle(values)
        whole = Accumulator(1)
        whole.tally.sum.add(torch.zeros(4000, dtype=torch.int64), torch.from_numpy(values).double())
        found.add(float(whole.tally.sum.value()[0]))
    assert len(found) == 1
    assert found.pop() == pytest.approx(wanted, rel=1e-15)


def test_top_examples_equal_a_full_sort(dense):
    top, part = everything(dense).examples.top(), dense_counted(dense)
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
            keys = hashes([c // 3] * len(where), start + where, [i] * len(where)).numpy()
            best = keys.argmin()
            wanted.append((-abs(values[where[best]]), keys[best], c // 3, start + where[best]))
        wanted = sorted(wanted)[: TOP[side]]
        assert [(int(d), int(p)) for _, _, d, p in wanted] == list(
            zip(top.document[rows].tolist(), top.position[rows].tolist(), strict=True)
        )


def test_windows_hold_the_features_activations(dense):
    whole, part = everything(dense).examples, dense_counted(dense)
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


def one_context(values, position=None):
    """A tile of one long context in which one feature has these values."""
    values = torch.as_tensor(values, dtype=torch.float32)
    line = torch.arange(len(values))
    zero = torch.zeros_like(line)
    one = {
        name: torch.tensor([n]) for name, n in (("document", 4), ("start", 1000), ("length", len(values)), ("place", 0))
    }
    return Tile(zero, line, values, zero, line, **one, held_out=torch.tensor([False]))


def test_windows_are_cut_around_the_peak_in_long_contexts():
    values = numpy.ones(200)
    values[150] = 9
    whole = Accumulator(1)
    whole.add(one_context(values))
    top = whole.examples.top()
    assert (top.start[0], top.length[0], top.position[0]) == (1000 + 110, 64, 1150)
    assert top.counts[0] == 64
    assert top.values[40] == 9


def test_sample_is_the_smallest_hashes_of_each_band(dense):
    tile, sample = tile_of(dense, range(CONTEXTS)), everything(dense).examples.sample()
    context = tile.context[tile.token]
    keys = hashes(tile.document[context], tile.start[context] + tile.position[tile.token], tile.feature).numpy()
    octave = numpy.floor(numpy.log2(abs(tile.value.numpy())) + 6 + 1e-9).astype(int)
    cells = (tile.feature.numpy() * OCTAVES + octave) * 2 + tile.held_out.numpy()[context]
    for cell in numpy.unique(cells):
        numpy.testing.assert_array_equal(
            numpy.sort(keys[cells == cell])[: SAMPLED[cell % 2]], sample.hash[sample.cell == cell]
        )
    assert set(sample.cell) == set(cells)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_split_in_any_order_is_the_same(dense, workers, monkeypatch):
    monkeypatch.setattr(examples, "THIN_EVERY", 50)  # thin often, so that the bars are at work
    monkeypatch.setattr(coactivity, "CONTEXTS", (3, 2))
    monkeypatch.setattr(coactivity, "TOKENS", 40)
    whole = everything(dense)
    order = numpy.random.default_rng(workers).permutation(CONTEXTS)
    parts = []
    for mine in numpy.array_split(order, workers):
        part = Accumulator(N, seed=3)
        for few in numpy.array_split(mine, 5):
            if len(few):
                part.add(tile_of(dense, few))
        parts.append(Accumulator.of_state(part.state(), seed=3))  # as it comes from another process
    merged = parts[0]
    for part in parts[1:]:
        merged.merge(part)
    same(whole, merged)


def test_drawn_contexts_hold_every_active_feature(dense, monkeypatch):
    monkeypatch.setattr(coactivity, "CONTEXTS", (4, 3))
    drawn, part = everything(dense).draw.kept()["contexts"], dense_counted(dense)
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
    part = dense_counted(dense).reshape(-1, N) != 0
    one, other, measure = coactive(everything(dense).draw.kept()["tokens"], N)
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
    drawn = everything(dense).draw.kept()["tokens"]
    whole = coactive(drawn, N)
    monkeypatch.setattr(coactivity, "BLOCK", 7)
    for ours, theirs in zip(coactive(drawn, N), whole, strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_coactivity_of_tokens_that_share_nothing_is_empty():
    none = coactivity.Drawn.none()
    one = dataclasses.replace(none, counts=numpy.array([2]), features=numpy.array([1, 4], numpy.int32))
    for drawn in (none, one):
        assert [len(column) for column in coactive(drawn, N)] == [0, 0, 0]


def test_coactivity_counts_no_more_pairs_than_it_may(dense, monkeypatch):
    drawn = everything(dense).draw.kept()["tokens"]
    pairs = numpy.cumsum(drawn.counts * (drawn.counts - 1) // 2)
    some = drawn.take(numpy.flatnonzero(pairs <= pairs[50]))
    assert 50 < len(some) < len(drawn)
    monkeypatch.setattr(coactivity, "PAIRS", int(pairs[50]))
    for ours, theirs in zip(coactive(drawn, N), coactive(some, N), strict=True):
        numpy.testing.assert_array_equal(ours, theirs)


def test_rounds_over_other_features_draw_the_same(dense):
    whole, kept = everything(dense).draw.kept(), {}
    for first, last in ((0, 2), (2, N)):
        part = Accumulator(last - first, seed=3)
        part.add(tile_of(dense, range(CONTEXTS), first, last))
        for what, drawn in part.draw.kept().items():
            kept.setdefault(what, []).append((first, drawn))
    for what, rounds in kept.items():
        for name, value in vars(joined(rounds)).items():
            numpy.testing.assert_array_equal(value, getattr(whole[what], name), err_msg=name)


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


def test_sample_is_unbiased():
    """The mean of a sampled value over many seeds is the band's mean."""
    rng = numpy.random.default_rng(0)
    values = rng.uniform(1, 2, size=200).astype(numpy.float32)
    means = []
    for seed in range(300):
        whole = Accumulator(1, seed)
        whole.add(one_context(values))
        means.append(whole.examples.sample().activation.mean())
    error = values.std() / (SAMPLED[0] * 300) ** 0.5
    assert abs(numpy.mean(means) - values.mean()) < 4 * error


def test_hashes_are_splitmix():
    """Against Python's own integers."""
    mask = (1 << 64) - 1

    def mix(x):
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    for seed in (-5, -1, 0, 2**63, 2**64 - 2):
        wanted = (seed + 1) & mask
        for part in (1, 2**40, 3):
            wanted = mix(wanted ^ ((part + 0x9E3779B97F4A7C15) & mask))
        found = hash_of(seed, torch.tensor([1]), torch.tensor([2**40]), torch.tensor([3]))
        assert int(found[0]) == wanted >> 1


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
