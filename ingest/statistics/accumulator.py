"""Counts, moments, histograms and examples of features: mergeable, and the same to the last bit in any order."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy
import torch

from featurestore import HISTOGRAM_BINS
from ingest.statistics.coactivity import ContextSampler
from ingest.statistics.examples import OCTAVES, ExampleBuffers, Examples
from ingest.statistics.tile import Tile
from ingest.statistics.token_table import TokenTable

# Bytes of a feature for any corpus: its counts, and the bars that examples must pass. The examples take more, the more
# often it is active: at most 30 strongest and 128 sampled ones of some 450 bytes. So do the counts of its tokens.
BYTES_PER_FEATURE = 8 * (HISTOGRAM_BINS + 3 * OCTAVES + 13) + 8

# Mantissas of 2^(1/4), 2^(2/4) and 2^(3/4) in the 23 bits of float32: the lower edges of an octave's second to fourth
# bin.
_QUARTERS = [math.ceil(2 ** (k / 4) * (1 << 23)) - (1 << 23) for k in (1, 2, 3)]
# Octaves of a dictionary's median activation for which the bins are those of scale 0.
_USUAL = range(-3, 7)


def histogram_bins(value: torch.Tensor, scale: int = 0) -> torch.Tensor:
    """Return int64 (n,): the bins of activations (n,) float32, 4 per octave of |value| from 2^(scale - 6).

    The edges are featurestore.HISTOGRAM_EDGES times 2^scale.
    """
    # Computed from the bits, since the last digit of a logarithm differs between machines.
    bits = value.abs().view(torch.int32)
    mantissa = bits & ((1 << 23) - 1)
    bins = (bits >> 23).sub_(127 - 6 + scale).mul_(4)
    for edge in _QUARTERS:
        bins += mantissa >= edge
    return bins.clamp_(0, HISTOGRAM_BINS - 1).long()


def choose_scale(value: torch.Tensor) -> int:
    """Return the power of two that the bins of a dictionary follow, from a sample (n,) of its activations.

    It is 0 where their median is usual, and else puts the median in the middle of the bins.
    """
    if not len(value):
        return 0
    median = int(((value.abs().view(torch.int32) >> 23) - 127).float().quantile(0.5, interpolation="lower"))
    return 0 if median in _USUAL else median - 2


class ExactSum:
    """Sums per feature in units of 2^-60: integers, so that they do not depend on the order of adding.

    Each number is rounded to 2^-60 once. Three words hold a sum: they count 2^8, 2^-24 and 2^-60.
    """

    def __init__(self, features: int, device: str):
        self.words = torch.zeros((3, features), dtype=torch.int64, device=device)

    def add(self, feature: torch.Tensor, number: torch.Tensor) -> None:
        """Add `number` (n,), float64 of absolute value below 2^60, to the sums of `feature` (n,), int64."""
        for word, power in enumerate((8, -24)):
            high = torch.floor(number * 2.0**-power)
            self.words[word].index_add_(0, feature, high.long())
            number = number - high * 2.0**power
        self.words[2].index_add_(0, feature, torch.round(number * 2.0**60).long())

    def units(self) -> numpy.ndarray:
        """Return the sums in units of 2^-60: Python's integers (features,), since no number of 64 bits holds them."""
        high, middle, low = self.words.cpu().numpy().astype(object)
        exact: numpy.ndarray = (high << 68) + (middle << 36) + low
        return exact


class Tally:
    """Counts, moments, extremes and histogram of each feature. Moments are of activations divided by 2^scale."""

    def __init__(self, features: int, device: str, scale: int = 0):
        self.scale = scale
        zeros = functools.partial(torch.zeros, dtype=torch.int64, device=device)
        self.active_tokens = zeros(features)
        self.active_contexts = zeros(features)
        self.first_tokens = zeros(features)  # active tokens that are the first counted one of a context
        self.after_breaks = zeros(features)  # active tokens after the end of a line or a sentence
        self.sum = ExactSum(features, device)
        self.sum_squares = ExactSum(features, device)
        self.max = torch.full((features,), -torch.inf, device=device)
        self.min = torch.full((features,), torch.inf, device=device)
        self.first = torch.full((features,), torch.iinfo(torch.int64).max, device=device)
        self.last = torch.full((features,), -1, device=device)
        self.histogram = zeros(features, HISTOGRAM_BINS)
        self.held_out = zeros(features, OCTAVES)  # active tokens in held-out documents, by octave

    def add(self, tile: Tile, bins: torch.Tensor) -> None:
        """Count the entries of a tile; `bins` (entries,) are their bins of the histogram."""
        feature, ones = tile.feature, torch.ones_like(tile.feature)
        self.active_tokens.index_add_(0, feature, ones)
        feature_of_run = feature[tile.begins]
        self.active_contexts.index_add_(0, feature_of_run, torch.ones_like(feature_of_run))
        _count_marked(self.first_tokens, feature, tile.is_first[tile.token])
        if tile.after_break is not None:
            _count_marked(self.after_breaks, feature, tile.after_break[tile.token])
        exact = tile.value.double() * 2.0**-self.scale
        self.sum.add(feature, exact)
        self.sum_squares.add(feature, exact * exact)
        self.max.scatter_reduce_(0, feature, tile.value, "amax")
        self.min.scatter_reduce_(0, feature, tile.value, "amin")
        place = tile.place[tile.entry_context] + tile.entry_position
        self.first.scatter_reduce_(0, feature, place, "amin")
        self.last.scatter_reduce_(0, feature, place, "amax")
        self.histogram.view(-1).index_add_(0, feature * HISTOGRAM_BINS + bins, ones)
        self.held_out.view(-1).index_add_(0, feature * OCTAVES + bins // 4, tile.side)

    def moments(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the mean and the standard deviation over active tokens, float64 (features,); 0 for dead features."""
        count = numpy.maximum(self.active_tokens.cpu().numpy(), 1)
        total, squares = self.sum.units(), self.sum_squares.units()
        # Exact up to the root: of two large, nearly equal numbers the difference would be nothing but rounding.
        spread = (count.astype(object) * squares << 60) - total * total
        mean = total.astype(numpy.float64) * 2.0**-60 / count
        deviation = numpy.sqrt(numpy.maximum(spread.astype(numpy.float64), 0)) * 2.0**-60 / count
        return mean * 2.0**self.scale, deviation * 2.0**self.scale

    def largest(self) -> numpy.ndarray:
        """Return the activations of largest magnitude with their signs, float32 (features,); 0 for dead features."""
        by_magnitude = torch.where(-self.min > self.max, self.min, self.max)
        return numpy.asarray(by_magnitude.where(self.active_tokens > 0, 0).cpu().numpy())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all counts by name; the first dimension is features, but the second in sums."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return own | {"sum": self.sum.words, "sum_squares": self.sum_squares.words}

    def merge(self, counts: dict[str, torch.Tensor]) -> None:
        """Add what `tensors` returned elsewhere, over other contexts."""
        for name, total in self.tensors().items():
            other = counts[name].to(total.device)
            if name in ("max", "last"):
                torch.maximum(total, other, out=total)
            elif name in ("first", "min"):
                torch.minimum(total, other, out=total)
            else:
                total += other


def _count_marked(counts: torch.Tensor, feature: torch.Tensor, marked: torch.Tensor) -> None:
    """Add 1 to the counts of the features of the entries that are marked: `feature` and `marked` are (n,)."""
    chosen = feature[marked]
    counts.index_add_(0, chosen, torch.ones_like(chosen))


class Accumulator:
    """Statistics so far of some features of one dictionary, on one device.

    Bins and bands of examples follow `scale`: 2^scale is what 1 is where it is 0.
    """

    def __init__(self, features: int, seed: int = 0, device: str = "cpu", scale: int = 0):
        self.features = features
        self.seed = seed
        self.device = device
        self.scale = scale
        self.tally = Tally(features, device, scale)
        self.tokens = TokenTable()
        self.examples = ExampleBuffers(features, device)
        self.sampler = ContextSampler(seed)

    def add(self, tile: Tile) -> None:
        """Count a tile, and keep its candidates for examples and samples."""
        self.sampler.add(tile)
        if len(tile.feature):
            bins = histogram_bins(tile.value, self.scale)
            self.tally.add(tile, bins)
            if tile.token_id is not None:
                self.tokens.add(tile.feature, tile.token_id[tile.token])
            self.examples.add(tile, bins, self.seed)

    def merge(self, other: Accumulator) -> None:
        """Add the statistics of another worker over other contexts."""
        ours, theirs = (self.features, self.seed, self.scale), (other.features, other.seed, other.scale)
        assert ours == theirs, "accumulators of different runs"
        self.tally.merge(other.tally.tensors())
        self.tokens.add_counts(*other.tokens.counts())
        self.examples.merge(other.examples)
        self.sampler.merge(other.sampler)

    def state(self) -> dict[str, numpy.ndarray]:
        """Return everything as arrays by name, "part.column", for `from_state`."""
        arrays = {f"tally.{name}": value.cpu().numpy() for name, value in self.tally.tensors().items()}
        tables = {"top": self.examples.top(), "sample": self.examples.sample(), **self.sampler.samples()}
        for part, rows in tables.items():
            arrays |= {f"{part}.{name}": getattr(rows, name) for name in rows.column_types()}
        keys, counts = self.tokens.counts()
        return arrays | {"vocabulary.keys": keys, "vocabulary.counts": counts, "scale": numpy.array(self.scale)}

    @classmethod
    def from_state(cls, state: dict[str, numpy.ndarray], seed: int, device: str = "cpu") -> Accumulator:
        """Return the accumulator whose `state` this is."""
        parts: dict[str, dict[str, numpy.ndarray]] = {}
        for name, array in state.items():
            part, _, column = name.partition(".")
            parts.setdefault(part, {})[column] = array
        accumulator = cls(len(state["tally.active_tokens"]), seed, device, int(state["scale"]))
        accumulator.tally.merge({name: torch.tensor(array) for name, array in parts["tally"].items()})
        accumulator.examples.add_examples(Examples(**parts["top"]), Examples(**parts["sample"]))
        accumulator.tokens.add_counts(**parts["vocabulary"])
        accumulator.sampler.add_samples({kind: parts[kind] for kind in accumulator.sampler.samples()})
        return accumulator

    def __reduce__(self) -> tuple[Callable[..., Accumulator], tuple[dict[str, numpy.ndarray], int]]:
        return Accumulator.from_state, (self.state(), self.seed)  # on the processor: other machines may lack the device
