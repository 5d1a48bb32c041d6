"""Examples of each feature: its strongest, and a random sample of each octave of activation. The same in any order.

Examples from held-out documents are kept apart: labels are made from the others, and scored on these.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy
import torch

from featurestore import HISTOGRAM_BINS
from ingest.statistics.ragged import Ragged, best_first, rank_in_groups
from ingest.statistics.tile import Tile

# Examples kept per feature: the strongest, at most one per context, and the sampled ones of each octave. Two numbers:
# from documents that explainers see, and from held-out ones.
TOP = (20, 10)
SAMPLED = (5, 3)
OCTAVES = HISTOGRAM_BINS // 4  # octaves of the sample: octave o holds [2^(o-6), 2^(o-5)), o = 0 .. 15
WINDOW, BEFORE = 64, 40  # tokens of an example, and how many of them precede its peak
# A buffer drops what is not among the best each time this many candidates have been added.
THIN_EVERY = 400_000


@dataclasses.dataclass
class Examples(Ragged):
    """Windows of tokens around a peak, with the feature's activations in them; one row per example.

    `cell` is feature * 2 + side for the strongest, (feature * OCTAVES + octave) * 2 + side for sampled ones; side is 1
    in held-out documents, else 0. `order` is -|activation| for the strongest, 0 for sampled ones.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("offsets", "values")

    document: numpy.ndarray
    start: numpy.ndarray  # of the window, in the document
    length: numpy.ndarray
    position: numpy.ndarray  # of the peak, in the document
    activation: numpy.ndarray
    offsets: numpy.ndarray  # of the active tokens, from the start of the window
    values: numpy.ndarray  # activations of these tokens

    @classmethod
    def column_types(cls) -> dict[str, type]:
        """Return the NumPy type of each column."""
        integers = dict.fromkeys(("document", "start", "length", "position"), numpy.int32)
        return (
            super().column_types()
            | integers
            | {
                "activation": numpy.float32,
                "offsets": numpy.uint16,
                "values": numpy.float32,
            }
        )


class TopKBuffer:
    """A top-k buffer of examples for each cell."""

    def __init__(self, cells: int, most: tuple[int, int], open_bar: float, device: str):
        """Make empty buffers. `most` is k of even and of odd cells, `open_bar` the bar of cells that are not full."""
        self._most = numpy.array(most)
        self._kept = Examples.empty()
        self._pending: list[Examples] = []
        # A candidate must not exceed the worst example of a full cell: its order where the strongest are kept, else
        # its hash.
        self._by_order = isinstance(open_bar, float)
        self._bar = torch.full((cells,), open_bar, device=device)

    def may_enter(self, cell: torch.Tensor, measure: torch.Tensor) -> torch.Tensor:
        """Return bool (n,): which candidates may be among the best of their cells."""
        return measure <= self._bar[cell]

    def add(self, candidates: Examples) -> None:
        """Add candidates."""
        self._pending.append(candidates)
        # Few arrays, each at least twice as long as the next: thousands of small ones would fragment the memory.
        while len(self._pending) > 1 and len(self._pending[-2]) <= 2 * len(self._pending[-1]):
            self._pending[-2:] = [Examples.concatenate(self._pending[-2:])]
        if sum(map(len, self._pending)) > THIN_EVERY:
            self.select_best()

    def select_best(self) -> Examples:
        """Return the best so far, sorted by cell and from best to worst."""
        if self._pending:
            examples = Examples.concatenate([self._kept, *self._pending])
            rows, rank = examples.rank()
            most = self._most[examples.cell[rows] & 1]
            self._kept, self._pending = examples.take(rows[rank < most]), []
            last = rows[rank == most - 1]
            worst = examples.order[last] if self._by_order else examples.hash[last]
            cells = torch.from_numpy(examples.cell[last]).to(self._bar.device)
            self._bar[cells] = torch.from_numpy(worst).to(self._bar.device, self._bar.dtype)
        return self._kept


class ExampleBuffers:
    """The strongest and the sampled examples of each of some features."""

    def __init__(self, features: int, device: str = "cpu"):
        self._top = TopKBuffer(features * 2, TOP, float("inf"), device)
        self._sample = TopKBuffer(features * OCTAVES * 2, SAMPLED, (1 << 63) - 1, device)

    def add(self, tile: Tile, bins: torch.Tensor, seed: int) -> None:
        """Add the entries of a tile that may become examples; `bins` (entries,) are their bins of the histogram."""
        hashes = tile.hashes(seed)
        self._add_top(tile, hashes)
        cell = (tile.feature * OCTAVES + bins // 4) * 2 + tile.side
        rows = self._sample.may_enter(cell, hashes).nonzero().squeeze(1)
        order = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        self._add_best(self._sample, SAMPLED, tile, rows, cell[rows], order, hashes[rows])

    def _add_top(self, tile: Tile, hashes: torch.Tensor) -> None:
        size = tile.value.abs()
        peaks = torch.zeros(len(tile.begins), device=size.device).scatter_reduce_(0, tile.run, size, "amax")
        cell = tile.feature * 2 + tile.side
        may_enter = self._top.may_enter(cell[tile.begins], -peaks)
        # One example per context: its strongest token, and of equal ones that of the smaller hash.
        rows = (may_enter[tile.run] & (size == peaks[tile.run])).nonzero().squeeze(1)
        run = tile.run[rows]
        is_repeated = run[1:] == run[:-1]
        if bool(is_repeated.any()):
            rows = rows[hashes[rows].argsort()]
            rows = rows[tile.run[rows].argsort(stable=True)]
            run = tile.run[rows]
            rows = rows[torch.cat([torch.ones_like(run[:1], dtype=torch.bool), run[1:] != run[:-1]])]
        self._add_best(self._top, TOP, tile, rows, cell[rows], -size[rows].double(), hashes[rows])

    def _add_best(
        self,
        buffer: TopKBuffer,
        most: tuple[int, int],
        tile: Tile,
        rows: torch.Tensor,
        cell: torch.Tensor,
        order: torch.Tensor,
        hashes: torch.Tensor,
    ) -> None:
        # Windows are cut only for the best candidates of each cell: the others cannot stay.
        cells, orders, keys = (column.cpu().numpy() for column in (cell, order, hashes))
        ranked = best_first(cells, orders, keys)
        ranked = ranked[rank_in_groups(cells[ranked]) < numpy.array(most)[cells[ranked] & 1]]
        if len(ranked):
            chosen = rows[torch.from_numpy(ranked).to(rows.device)]
            buffer.add(_cut_windows(tile, chosen, cells[ranked], orders[ranked], keys[ranked]))

    def top(self) -> Examples:
        """Return the strongest examples, sorted by feature and side, and from strong to weak."""
        return self._top.select_best()

    def sample(self) -> Examples:
        """Return the sampled examples, sorted by feature, octave and side."""
        return self._sample.select_best()

    def merge(self, other: ExampleBuffers) -> None:
        """Add the examples that another worker kept from other contexts."""
        self.add_examples(other.top(), other.sample())

    def add_examples(self, top: Examples, sample: Examples) -> None:
        """Add examples that `top` and `sample` returned elsewhere."""
        self._top.add(top)
        self._sample.add(sample)


def _cut_windows(tile: Tile, rows: torch.Tensor, cell: Any, order: Any, hashes: Any) -> Examples:
    """Return the windows around these entries of a tile."""
    context = tile.entry_context[rows]
    position = tile.entry_position[rows]
    length = tile.length[context]
    start = torch.minimum((position - BEFORE).clamp(min=0), (length - WINDOW).clamp(min=0))
    width = length.clamp(max=WINDOW)
    run = tile.run[rows]
    low = torch.searchsorted(tile.sort_keys, tile.make_sort_keys(run, start))
    high = torch.searchsorted(tile.sort_keys, tile.make_sort_keys(run, start + width))
    counts = high - low
    ends = counts.cumsum(0)
    entries = torch.arange(int(ends[-1]), device=rows.device) + (low - (ends - counts)).repeat_interleave(counts)
    begin = tile.start[context]
    columns = {
        "document": tile.document[context],
        "start": begin + start,
        "length": width,
        "position": begin + position,
        "activation": tile.value[rows],
        "counts": counts,
        "offsets": tile.entry_position[entries] - start.repeat_interleave(counts),
        "values": tile.value[entries],
    }
    types = Examples.column_types()
    arrays: dict[str, Any] = {name: column.cpu().numpy().astype(types[name]) for name, column in columns.items()}
    return Examples(cell=cell, order=order, hash=hashes, **arrays)
