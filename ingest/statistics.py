"""Statistics of feature activations: fixed size per feature, mergeable, the same in any order. Arrays in, arrays out.

Activations arrive as sparse runs: for each tile of whole contexts, which feature fired on which token how hard.
"""

from __future__ import annotations

import dataclasses

import numpy

from featurestore import HISTOGRAM_BINS

TOP = 20  # strongest examples kept for a feature, at most one from a context
SAMPLED = 5  # sampled examples kept for a feature and band
OCTAVES = HISTOGRAM_BINS // 4  # bands of the sample: octave o holds [2^(o-6), 2^(o-5)), o = 0 .. 15
WINDOW, BEFORE = 64, 40  # tokens of an example, and how many of them come before its token
# Candidates are thinned when this many have come since the last time.
THIN_EVERY = 400_000

_U = numpy.uint64
_ALL = (1 << 64) - 1


@dataclasses.dataclass
class Tile:
    """Sparse activations on whole contexts, ordered by context and position in it.

    feature (int), context (row of the next three arrays), position (token in the context, from 0) and activation
    (float32) have one entry per activation; document, start and length (tokens) one per context.
    """

    feature: numpy.ndarray
    context: numpy.ndarray
    position: numpy.ndarray
    activation: numpy.ndarray
    document: numpy.ndarray
    start: numpy.ndarray
    length: numpy.ndarray


@dataclasses.dataclass
class Examples:
    """Windows around activations, with the feature's activations in them (a ragged array).

    `cell` is the feature for strongest examples and feature * OCTAVES + octave for sampled ones; smaller `order` is
    better, and `hash` settles ties.
    """

    cell: numpy.ndarray  # int64
    order: numpy.ndarray  # float64: -|activation|; 0 for sampled ones, which only their hash orders
    hash: numpy.ndarray  # uint64
    document: numpy.ndarray  # int32
    start: numpy.ndarray  # int32, in the document
    length: numpy.ndarray  # int32
    position: numpy.ndarray  # int32, in the document
    activation: numpy.ndarray  # float32
    counts: numpy.ndarray  # int64: activations in the window
    offsets: numpy.ndarray  # uint16, sum(counts)
    values: numpy.ndarray  # float32, sum(counts)

    def __len__(self) -> int:
        return len(self.cell)

    @classmethod
    def none(cls) -> Examples:
        types: dict[str, type] = dict.fromkeys(("document", "start", "length", "position"), numpy.int32)
        types |= {"cell": numpy.int64, "order": numpy.float64, "hash": numpy.uint64, "activation": numpy.float32}
        types |= {"counts": numpy.int64, "offsets": numpy.uint16, "values": numpy.float32}
        return cls(**{name: numpy.empty(0, type_) for name, type_ in types.items()})

    @classmethod
    def together(cls, parts: list[Examples]) -> Examples:
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: numpy.concatenate([getattr(part, name) for part in parts]) for name in names})

    def take(self, rows: numpy.ndarray) -> Examples:
        """The examples of these rows, in this order."""
        begins = numpy.cumsum(self.counts) - self.counts
        at = ragged(begins[rows], self.counts[rows])
        names = [field.name for field in dataclasses.fields(self) if field.name not in ("offsets", "values")]
        taken = {name: getattr(self, name)[rows] for name in names}
        return Examples(**taken, offsets=self.offsets[at], values=self.values[at])

    def best(self, most: int) -> Examples:
        """The best `most` of each cell, ordered by cell and from best to worst."""
        rows = numpy.lexsort((self.hash, self.order, self.cell))
        return self.take(rows[rank_in_groups(self.cell[rows]) < most])


class Accumulator:
    """What is known of each feature of one dictionary so far: about 0.7 kB a feature, and its examples."""

    def __init__(self, d_sae: int, seed: int = 0):
        self.d_sae = d_sae
        self.seed = seed
        self.active_tokens = numpy.zeros(d_sae, numpy.int64)
        self.active_contexts = numpy.zeros(d_sae, numpy.int64)
        self.sum = numpy.zeros(d_sae, numpy.float64)
        self.sum_squares = numpy.zeros(d_sae, numpy.float64)
        self.max = numpy.full(d_sae, -numpy.inf, numpy.float32)
        self.histogram = numpy.zeros((d_sae, HISTOGRAM_BINS), numpy.int64)
        self._top = Examples.none()
        self._sample = Examples.none()
        self._pending: tuple[list[Examples], list[Examples]] = ([], [])
        # What a newcomer must beat: the last kept of a full cell, whatever of one that is not full.
        self._top_bar = numpy.zeros(d_sae, numpy.float64)
        self._sample_bar = numpy.full(d_sae * OCTAVES, numpy.iinfo(numpy.uint64).max, numpy.uint64)

    def add(self, tile: Tile) -> None:
        """Count a tile's activations, and keep those that may become examples."""
        if not len(tile.feature):
            return
        order = numpy.argsort(tile.feature.astype(_small(self.d_sae)), kind="stable")
        feature = tile.feature[order].astype(numpy.int64)
        context, position, value = tile.context[order], tile.position[order], tile.activation[order]
        exact = value.astype(numpy.float64)
        bins = histogram_bins(value)
        n = self.d_sae
        self.active_tokens += numpy.bincount(feature, minlength=n)
        self.sum += numpy.bincount(feature, weights=exact, minlength=n)
        self.sum_squares += numpy.bincount(feature, weights=exact * exact, minlength=n)
        flat = numpy.bincount(feature * HISTOGRAM_BINS + bins, minlength=n * HISTOGRAM_BINS)
        self.histogram += flat.reshape(n, HISTOGRAM_BINS)
        # A run is one feature in one context; entries of a run lie together.
        new_run = numpy.empty(len(feature), bool)
        new_run[0] = True
        new_run[1:] = (feature[1:] != feature[:-1]) | (context[1:] != context[:-1])
        begins = numpy.flatnonzero(new_run)
        self.active_contexts += numpy.bincount(feature[begins], minlength=n)
        numpy.maximum.at(self.max, feature[begins], numpy.maximum.reduceat(value, begins))
        run = numpy.cumsum(new_run) - 1
        hashes = hash_of(self.seed, tile.document[context], tile.start[context] + position, feature)
        cut = _Cutter(tile, context, position, value, run)
        self._offer_top(feature, value, hashes, begins, run, cut)
        self._offer_sample(feature, bins, hashes, cut)
        if sum(len(part) for parts in self._pending for part in parts) > THIN_EVERY:
            self._thin()

    def _offer_top(self, feature, value, hashes, begins, run, cut: _Cutter) -> None:
        size = numpy.abs(value)
        peaks = numpy.maximum.reduceat(size, begins)
        hopeful = peaks >= self._top_bar[feature[begins]]
        # One example of a context: its strongest token, the one of smaller hash where two are equal.
        rows = numpy.flatnonzero(hopeful[run] & (size == peaks[run]))
        rows = rows[numpy.lexsort((hashes[rows], run[rows]))]
        rows = rows[rank_in_groups(run[rows]) == 0]
        self._pending[0].append(cut(rows, feature[rows], -size[rows].astype(numpy.float64), hashes[rows]))

    def _offer_sample(self, feature, bins, hashes, cut: _Cutter) -> None:
        cell = feature * OCTAVES + bins // 4
        rows = numpy.flatnonzero(hashes <= self._sample_bar[cell])
        self._pending[1].append(cut(rows, cell[rows], numpy.zeros(len(rows)), hashes[rows]))

    def _thin(self) -> None:
        self._top = Examples.together([self._top, *self._pending[0]]).best(TOP)
        self._sample = Examples.together([self._sample, *self._pending[1]]).best(SAMPLED)
        self._pending = ([], [])
        last = _last_of_full(self._top.cell, TOP)
        self._top_bar[self._top.cell[last]] = -self._top.order[last]
        last = _last_of_full(self._sample.cell, SAMPLED)
        self._sample_bar[self._sample.cell[last]] = self._sample.hash[last]

    def top(self) -> Examples:
        """The strongest examples, ordered by feature and from strong to weak."""
        self._thin()
        return self._top

    def sample(self) -> Examples:
        """The sampled examples, ordered by feature and octave."""
        self._thin()
        return self._sample

    def merge(self, other: Accumulator) -> None:
        """Take in what another worker counted over other contexts."""
        assert (self.d_sae, self.seed) == (other.d_sae, other.seed), "accumulators of different runs"
        for name in ("active_tokens", "active_contexts", "sum", "sum_squares", "histogram"):
            getattr(self, name).__iadd__(getattr(other, name))
        numpy.maximum(self.max, other.max, out=self.max)
        self._pending[0].append(other.top())
        self._pending[1].append(other.sample())
        self._thin()


class _Cutter:
    """Cuts the windows of chosen entries out of a tile."""

    def __init__(self, tile: Tile, context, position, value, run):
        self._tile, self._context, self._position, self._value, self._run = tile, context, position, value, run
        # Ascending over all entries, so that a window's entries are found by bisection.
        self._line = run * _LINE + position

    def __call__(self, rows, cell, order, hashes) -> Examples:
        tile, context = self._tile, self._context[rows]
        position = self._position[rows].astype(numpy.int64)
        length = tile.length[context].astype(numpy.int64)
        start = numpy.clip(position - BEFORE, 0, numpy.maximum(length - WINDOW, 0))
        width = numpy.minimum(length, WINDOW)
        line = self._run[rows] * _LINE + start
        low = numpy.searchsorted(self._line, line)
        high = numpy.searchsorted(self._line, line + width)
        at = ragged(low, high - low)
        offsets = self._position[at] - numpy.repeat(start, high - low)
        begin = tile.start[context].astype(numpy.int64)
        return Examples(
            cell=cell.astype(numpy.int64),
            order=order,
            hash=hashes,
            document=tile.document[context].astype(numpy.int32),
            start=(begin + start).astype(numpy.int32),
            length=width.astype(numpy.int32),
            position=(begin + position).astype(numpy.int32),
            activation=self._value[rows],
            counts=high - low,
            offsets=offsets.astype(numpy.uint16),
            values=self._value[at],
        )


_LINE = 1 << 20  # above any context's length


def histogram_bins(activation: numpy.ndarray) -> numpy.ndarray:
    """The bin (int64) of each activation: 4 to the octave on |activation| from 2^-6; see featurestore.HISTOGRAM_EDGES."""
    size = numpy.abs(activation).astype(numpy.float64)
    bins = numpy.floor(4 * (numpy.log2(size) + 6) + 1e-9).astype(numpy.int64)
    return numpy.clip(bins, 0, HISTOGRAM_BINS - 1)


def hash_of(seed: int, document: numpy.ndarray, position: numpy.ndarray, feature: numpy.ndarray) -> numpy.ndarray:
    """A uint64 of each activation's place, the same on every machine: the finaliser of SplitMix64 (Steele et al. 2014)
    over seed, document, position and feature."""
    mixed = numpy.full(len(feature), (seed + 1) & _ALL, dtype=_U)  # any integer is a seed
    for part in (document, position, feature):
        mixed = _mix(mixed ^ (part.astype(_U) + _U(0x9E3779B97F4A7C15)))
    return mixed


def _mix(x: numpy.ndarray) -> numpy.ndarray:
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


def ragged(begins: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """Indices begins[0] .. begins[0] + counts[0] - 1, then those of the next, and so on."""
    total = int(counts.sum())
    shifts = numpy.repeat(begins - (numpy.cumsum(counts) - counts), counts)
    return numpy.arange(total) + shifts


def rank_in_groups(groups: numpy.ndarray) -> numpy.ndarray:
    """0, 1, 2, ... within each stretch of equal values."""
    if not len(groups):
        return numpy.empty(0, numpy.int64)
    new = numpy.empty(len(groups), bool)
    new[0] = True
    new[1:] = groups[1:] != groups[:-1]
    begins = numpy.flatnonzero(new)
    return numpy.arange(len(groups)) - numpy.repeat(begins, numpy.diff(numpy.append(begins, len(groups))))


def _last_of_full(cells: numpy.ndarray, full: int) -> numpy.ndarray:
    return numpy.flatnonzero(rank_in_groups(cells) == full - 1)


def _small(n: int) -> type:
    # NumPy sorts 16-bit integers by radix, several times quicker than wider ones.
    return numpy.uint16 if n <= 1 << 16 else numpy.int64
