"""What is counted of each feature of a dictionary: fixed size, mergeable, and the same to the last bit in any order."""

from __future__ import annotations

import math
from typing import Any

import numpy
import torch

from featurestore import HISTOGRAM_BINS
from ingest.statistics.coactivity import Draw
from ingest.statistics.examples import OCTAVES, Examples, Exhibition
from ingest.statistics.tile import Tile

# Bytes a feature needs whatever the corpus: its counts, and the bars its examples must pass. What the examples
# themselves take depends on how often it fires: at most 30 strongest and 128 sampled ones of some 450 bytes.
BYTES_PER_FEATURE = 8 * (HISTOGRAM_BINS + 3 * OCTAVES + 9) + 4

# Mantissas of 2^(1/4), 2^(2/4) and 2^(3/4) in float32's 23 bits: where an octave's four bins begin.
_QUARTERS = [math.ceil(2 ** (k / 4) * (1 << 23)) - (1 << 23) for k in (1, 2, 3)]


def histogram_bins(value: torch.Tensor) -> torch.Tensor:
    """The bin (int64) of each activation (float32): 4 to the octave on |value| from 2^-6; see featurestore.HISTOGRAM_EDGES."""
    # On the bits, since a logarithm's last digit differs between machines.
    bits = value.abs().view(torch.int32).long()
    mantissa = bits & ((1 << 23) - 1)
    quarter = sum((mantissa >= edge).long() for edge in _QUARTERS)
    return (4 * ((bits >> 23) - 127 + 6) + quarter).clamp(0, HISTOGRAM_BINS - 1)


class ExactSum:
    """Sums of numbers for each feature as whole numbers of 2^-24, so that no order of adding changes them.

    Each number is rounded to 2^-24 once. Two words hold a sum, one counting 2^8, the other what is left in 2^-24.
    """

    def __init__(self, features: int, device: str):
        self.words = torch.zeros((2, features), dtype=torch.int64, device=device)

    def add(self, feature: torch.Tensor, number: torch.Tensor) -> None:
        """Add float64 numbers, of absolute value below 2^60, to their features' sums."""
        high = torch.floor(number * 2.0**-8)
        self.words[0].index_add_(0, feature, high.long())
        self.words[1].index_add_(0, feature, torch.round((number - high * 2.0**8) * 2.0**24).long())

    def value(self) -> numpy.ndarray:
        """The sums, float64."""
        high, low = self.words.cpu().numpy().astype(numpy.float64)
        return high * 2.0**8 + low * 2.0**-24


class Tally:
    """Counts, moments, extremes and histogram of each feature."""

    def __init__(self, features: int, device: str):
        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        self.active_tokens = zeros(features)
        self.active_contexts = zeros(features)
        self.sum = ExactSum(features, device)
        self.sum_squares = ExactSum(features, device)
        self.max = torch.full((features,), -torch.inf, device=device)
        self.first = torch.full((features,), torch.iinfo(torch.int64).max, device=device)
        self.last = torch.full((features,), -1, device=device)
        self.histogram = zeros(features, HISTOGRAM_BINS)
        self.held_out = zeros(features, OCTAVES)  # of the active tokens, those in documents held out, by octave

    def add(self, tile: Tile, bins: torch.Tensor) -> None:
        """Count a tile's entries, which fall into these bins."""
        feature, ones = tile.feature, torch.ones_like(tile.feature)
        self.active_tokens.index_add_(0, feature, ones)
        begins = feature[tile.begins]
        self.active_contexts.index_add_(0, begins, torch.ones_like(begins))
        exact = tile.value.double()
        self.sum.add(feature, exact)
        self.sum_squares.add(feature, exact * exact)
        self.max.scatter_reduce_(0, feature, tile.value, "amax")
        place = tile.place[tile.entry_context] + tile.entry_position
        self.first.scatter_reduce_(0, feature, place, "amin")
        self.last.scatter_reduce_(0, feature, place, "amax")
        self.histogram.view(-1).index_add_(0, feature * HISTOGRAM_BINS + bins, ones)
        self.held_out.view(-1).index_add_(0, feature * OCTAVES + bins // 4, tile.side)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything it holds, by name."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return own | {"sum": self.sum.words, "sum_squares": self.sum_squares.words}

    def take(self, counted: dict[str, torch.Tensor]) -> None:
        """Take in what was counted elsewhere, over other contexts."""
        for name, mine in self.tensors().items():
            theirs = counted[name].to(mine.device)
            if name in ("max", "last"):
                torch.maximum(mine, theirs, out=mine)
            elif name == "first":
                torch.minimum(mine, theirs, out=mine)
            else:
                mine += theirs


class Accumulator:
    """What is known so far of some features of one dictionary, on some device."""

    def __init__(self, features: int, seed: int = 0, device: str = "cpu"):
        self.features = features
        self.seed = seed
        self.device = device
        self.tally = Tally(features, device)
        self.examples = Exhibition(features, device)
        self.draw = Draw(seed)

    def add(self, tile: Tile) -> None:
        """Count a tile, and keep what may become an example."""
        self.draw.add(tile)
        if len(tile.feature):
            bins = histogram_bins(tile.value)
            self.tally.add(tile, bins)
            self.examples.add(tile, bins, self.seed)

    def merge(self, other: Accumulator) -> None:
        """Take in what another worker counted over other contexts."""
        assert (self.features, self.seed) == (other.features, other.seed), "accumulators of different runs"
        self.tally.take(other.tally.tensors())
        self.examples.merge(other.examples)
        self.draw.merge(other.draw)

    def state(self) -> dict[str, numpy.ndarray]:
        """All of it as arrays, by name: what `of_state` takes."""
        found = {f"tally.{name}": value.cpu().numpy() for name, value in self.tally.tensors().items()}
        kept = {"top": self.examples.top(), "sample": self.examples.sample(), **self.draw.kept()}
        for what, rows in kept.items():
            found |= {f"{what}.{name}": getattr(rows, name) for name in type(rows).types()}
        return found

    @classmethod
    def of_state(cls, state: dict[str, numpy.ndarray], seed: int, device: str = "cpu") -> Accumulator:
        """What `state` gave, as it was."""
        made = cls(len(state["tally.active_tokens"]), seed, device)

        def of(what: str) -> dict[str, numpy.ndarray]:
            return {name.partition(".")[2]: value for name, value in state.items() if name.startswith(f"{what}.")}

        made.tally.take({name: torch.tensor(value) for name, value in of("tally").items()})
        made.examples.take(Examples(**of("top")), Examples(**of("sample")))
        made.draw.take({what: of(what) for what in made.draw.kept()})
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Accumulator.of_state, (self.state(), self.seed)  # on the processor: other machines may lack the device
