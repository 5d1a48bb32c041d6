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

# Bytes of a feature for any corpus: its counts, and the bars that examples must pass. The examples take more, the more
# often it is active: at most 30 strongest and 128 sampled ones of some 450 bytes.
BYTES_PER_FEATURE = 8 * (HISTOGRAM_BINS + 3 * OCTAVES + 11) + 8

# Mantissas of 2^(1/4), 2^(2/4) and 2^(3/4) in the 23 bits of float32: the lower edges of an octave's second to fourth
# bin.
_QUARTERS = [math.ceil(2 ** (k / 4) * (1 << 23)) - (1 << 23) for k in (1, 2, 3)]


def histogram_bins(value: torch.Tensor) -> torch.Tensor:
    """Return int64 (n,): the bins of activations (n,) float32, 4 per octave of |value| from 2^-6.

    The edges are featurestore.HISTOGRAM_EDGES.
    """
    # Computed from the bits, since the last digit of a logarithm differs between machines.
    bits = value.abs().view(torch.int32).long()
    mantissa = bits & ((1 << 23) - 1)
    quarter = sum((mantissa >= edge).long() for edge in _QUARTERS)
    return (4 * ((bits >> 23) - 127 + 6) + quarter).clamp(0, HISTOGRAM_BINS - 1)


class ExactSum:
    """Sums per feature in units of 2^-24: integers, so that they do not depend on the order of adding.

    Each number is rounded to 2^-24 once. Two words hold a sum: one counts 2^8, the other the remainder in 2^-24.
    """

    def __init__(self, features: int, device: str):
        self.words = torch.zeros((2, features), dtype=torch.int64, device=device)

    def add(self, feature: torch.Tensor, number: torch.Tensor) -> None:
        """Add `number` (n,), float64 of absolute value below 2^60, to the sums of `feature` (n,), int64."""
        high = torch.floor(number * 2.0**-8)
        self.words[0].index_add_(0, feature, high.long())
        self.words[1].index_add_(0, feature, torch.round((number - high * 2.0**8) * 2.0**24).long())

    def value(self) -> numpy.ndarray:
        """Return the sums, float64 (features,)."""
        high, low = map(numpy.asarray, self.words.cpu().double().numpy())
        return high * 2.0**8 + low * 2.0**-24


class Tally:
    """Counts, moments, extremes and histogram of each feature."""

    def __init__(self, features: int, device: str):
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
        self.first_tokens.index_add_(0, feature, tile.is_first[tile.token].long())
        if tile.after_break is not None:
            self.after_breaks.index_add_(0, feature, tile.after_break[tile.token].long())
        exact = tile.value.double()
        self.sum.add(feature, exact)
        self.sum_squares.add(feature, exact * exact)
        self.max.scatter_reduce_(0, feature, tile.value, "amax")
        self.min.scatter_reduce_(0, feature, tile.value, "amin")
        place = tile.place[tile.entry_context] + tile.entry_position
        self.first.scatter_reduce_(0, feature, place, "amin")
        self.last.scatter_reduce_(0, feature, place, "amax")
        self.histogram.view(-1).index_add_(0, feature * HISTOGRAM_BINS + bins, ones)
        self.held_out.view(-1).index_add_(0, feature * OCTAVES + bins // 4, tile.side)

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


class Accumulator:
    """Statistics so far of some features of one dictionary, on one device."""

    def __init__(self, features: int, seed: int = 0, device: str = "cpu"):
        self.features = features
        self.seed = seed
        self.device = device
        self.tally = Tally(features, device)
        self.examples = ExampleBuffers(features, device)
        self.sampler = ContextSampler(seed)

    def add(self, tile: Tile) -> None:
        """Count a tile, and keep its candidates for examples and samples."""
        self.sampler.add(tile)
        if len(tile.feature):
            bins = histogram_bins(tile.value)
            self.tally.add(tile, bins)
            self.examples.add(tile, bins, self.seed)

    def merge(self, other: Accumulator) -> None:
        """Add the statistics of another worker over other contexts."""
        assert (self.features, self.seed) == (other.features, other.seed), "accumulators of different runs"
        self.tally.merge(other.tally.tensors())
        self.examples.merge(other.examples)
        self.sampler.merge(other.sampler)

    def state(self) -> dict[str, numpy.ndarray]:
        """Return everything as arrays by name, "part.column", for `from_state`."""
        arrays = {f"tally.{name}": value.cpu().numpy() for name, value in self.tally.tensors().items()}
        tables = {"top": self.examples.top(), "sample": self.examples.sample(), **self.sampler.samples()}
        for part, rows in tables.items():
            arrays |= {f"{part}.{name}": getattr(rows, name) for name in rows.column_types()}
        return arrays

    @classmethod
    def from_state(cls, state: dict[str, numpy.ndarray], seed: int, device: str = "cpu") -> Accumulator:
        """Return the accumulator whose `state` this is."""
        parts: dict[str, dict[str, numpy.ndarray]] = {}
        for name, array in state.items():
            part, _, column = name.partition(".")
            parts.setdefault(part, {})[column] = array
        accumulator = cls(len(state["tally.active_tokens"]), seed, device)
        accumulator.tally.merge({name: torch.tensor(array) for name, array in parts["tally"].items()})
        accumulator.examples.add_examples(Examples(**parts["top"]), Examples(**parts["sample"]))
        accumulator.sampler.add_samples({kind: parts[kind] for kind in accumulator.sampler.samples()})
        return accumulator

    def __reduce__(self) -> tuple[Callable[..., Accumulator], tuple[dict[str, numpy.ndarray], int]]:
        return Accumulator.from_state, (self.state(), self.seed)  # on the processor: other machines may lack the device
