"""The examples kept of each feature: the strongest, and samples of every band of activation. The same in any order.

Those of documents held out are kept apart, so that both who makes labels and who scores them have examples of their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy
import torch

from featurestore import HISTOGRAM_BINS
from ingest.statistics.ragged import Ragged, best_first, rank_in_groups
from ingest.statistics.tile import Tile

# Kept of a feature: strongest ones, at most one from a context, and sampled ones of each band. Two numbers: from
# documents that explainers see, and from those held out.
TOP = (20, 10)
SAMPLED = (5, 3)
OCTAVES = HISTOGRAM_BINS // 4  # bands of the sample: octave o holds [2^(o-6), 2^(o-5)), o = 0 .. 15
WINDOW, BEFORE = 64, 40  # tokens of an example, and how many of them come before its token
# Candidates are thinned when this many have come since the last time.
THIN_EVERY = 400_000


@dataclasses.dataclass
class Examples(Ragged):
    """Windows around activations, with the feature's activations in them.

    `cell` is feature * 2 + side for strongest examples, (feature * OCTAVES + octave) * 2 + side for sampled ones, side
    being 1 for documents held out. `order` is -|activation| for strongest ones, 0 for sampled ones.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("offsets", "values")

    document: numpy.ndarray
    start: numpy.ndarray  # in the document
    length: numpy.ndarray
    position: numpy.ndarray  # in the document
    activation: numpy.ndarray
    offsets: numpy.ndarray  # tokens of the window with an activation, from its start
    values: numpy.ndarray

    @classmethod
    def types(cls) -> dict[str, type]:
        integers = dict.fromkeys(("document", "start", "length", "position"), numpy.int32)
        return (
            super().types()
            | integers
            | {
                "activation": numpy.float32,
                "offsets": numpy.uint16,
                "values": numpy.float32,
            }
        )


class Keeper:
    """Keeps the best examples of each cell."""

    def __init__(self, cells: int, most: tuple[int, int], open_bar: float, device: str):
        """`cells` is even; `most` how many are kept of an even cell, and of an odd one."""
        self._most = numpy.array(most)
        self._kept = Examples.none()
        self._pending: list[Examples] = []
        # What a newcomer must not exceed: the worst kept of a full cell. Where strongest ones are kept this is their
        # order, else their hash.
        self._by_order = isinstance(open_bar, float)
        self._bar = torch.full((cells,), open_bar, device=device)

    def hopeful(self, cell: torch.Tensor, measure: torch.Tensor) -> torch.Tensor:
        """Which newcomers may be kept."""
        return measure <= self._bar[cell]

    def offer(self, found: Examples) -> None:
        """Take in newcomers."""
        self._pending.append(found)
        # A few lots, each at least twice the next: small arrays from thousands of tiles would keep the heap around them.
        while len(self._pending) > 1 and len(self._pending[-2]) <= 2 * len(self._pending[-1]):
            self._pending[-2:] = [Examples.together(self._pending[-2:])]
        if sum(map(len, self._pending)) > THIN_EVERY:
            self.kept()

    def kept(self) -> Examples:
        """The best so far, ordered by cell and from best to worst."""
        if self._pending:
            found = Examples.together([self._kept, *self._pending])
            rows, rank = found.ranked()
            most = self._most[found.cell[rows] & 1]
            self._kept, self._pending = found.take(rows[rank < most]), []
            last = rows[rank == most - 1]
            worst = found.order[last] if self._by_order else found.hash[last]
            cells = torch.from_numpy(found.cell[last]).to(self._bar.device)
            self._bar[cells] = torch.from_numpy(worst).to(self._bar.device, self._bar.dtype)
        return self._kept


class Exhibition:
    """Strongest and sampled examples of every feature of a dictionary."""

    def __init__(self, features: int, device: str = "cpu"):
        self._top = Keeper(features * 2, TOP, float("inf"), device)
        self._sample = Keeper(features * OCTAVES * 2, SAMPLED, (1 << 63) - 1, device)

    def add(self, tile: Tile, bins: torch.Tensor, seed: int) -> None:
        """Keep what of a tile, whose entries fall into these bins of the histogram, may become an example."""
        hashes = tile.hashes(seed)
        self._add_top(tile, hashes)
        cell = (tile.feature * OCTAVES + bins // 4) * 2 + tile.side
        rows = self._sample.hopeful(cell, hashes).nonzero().squeeze(1)
        order = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        self._offer(self._sample, SAMPLED, tile, rows, cell[rows], order, hashes[rows])

    def _add_top(self, tile: Tile, hashes: torch.Tensor) -> None:
        size = tile.value.abs()
        peaks = torch.zeros(len(tile.begins), device=size.device).scatter_reduce_(0, tile.run, size, "amax")
        cell = tile.feature * 2 + tile.side
        hopeful = self._top.hopeful(cell[tile.begins], -peaks)
        # One example of a context: its strongest token, the one of smaller hash where two are equal.
        rows = (hopeful[tile.run] & (size == peaks[tile.run])).nonzero().squeeze(1)
        run = tile.run[rows]
        again = run[1:] == run[:-1]
        if bool(again.any()):
            rows = rows[hashes[rows].argsort()]
            rows = rows[tile.run[rows].argsort(stable=True)]
            run = tile.run[rows]
            rows = rows[torch.cat([torch.ones_like(run[:1], dtype=torch.bool), run[1:] != run[:-1]])]
        self._offer(self._top, TOP, tile, rows, cell[rows], -size[rows].double(), hashes[rows])

    def _offer(
        self,
        keeper: Keeper,
        most: tuple[int, int],
        tile: Tile,
        rows: torch.Tensor,
        cell: torch.Tensor,
        order: torch.Tensor,
        hashes: torch.Tensor,
    ) -> None:
        # Of many newcomers in one cell only the best can stay: windows are cut of no others.
        cells, orders, keys = (one.cpu().numpy() for one in (cell, order, hashes))
        ranked = best_first(cells, orders, keys)
        ranked = ranked[rank_in_groups(cells[ranked]) < numpy.array(most)[cells[ranked] & 1]]
        if len(ranked):
            chosen = rows[torch.from_numpy(ranked).to(rows.device)]
            keeper.offer(_cut(tile, chosen, cells[ranked], orders[ranked], keys[ranked]))

    def top(self) -> Examples:
        """The strongest examples, ordered by feature and side, and from strong to weak."""
        return self._top.kept()

    def sample(self) -> Examples:
        """The sampled examples, ordered by feature, octave and side."""
        return self._sample.kept()

    def merge(self, other: Exhibition) -> None:
        """Take in what another worker kept over other contexts."""
        self.take(other.top(), other.sample())

    def take(self, top: Examples, sample: Examples) -> None:
        """Take in examples that were kept elsewhere."""
        self._top.offer(top)
        self._sample.offer(sample)


def _cut(tile: Tile, rows: torch.Tensor, cell: Any, order: Any, hashes: Any) -> Examples:
    """The windows around some entries."""
    context = tile.entry_context[rows]
    position = tile.entry_position[rows]
    length = tile.length[context]
    start = torch.minimum((position - BEFORE).clamp(min=0), (length - WINDOW).clamp(min=0))
    width = length.clamp(max=WINDOW)
    run = tile.run[rows]
    low = torch.searchsorted(tile.line, tile.on_line(run, start))
    high = torch.searchsorted(tile.line, tile.on_line(run, start + width))
    counts = high - low
    ends = counts.cumsum(0)
    at = torch.arange(int(ends[-1]), device=rows.device) + (low - (ends - counts)).repeat_interleave(counts)
    begin = tile.start[context]
    columns = {
        "document": tile.document[context],
        "start": begin + start,
        "length": width,
        "position": begin + position,
        "activation": tile.value[rows],
        "counts": counts,
        "offsets": tile.entry_position[at] - start.repeat_interleave(counts),
        "values": tile.value[at],
    }
    types = Examples.types()
    arrays: dict[str, Any] = {name: column.cpu().numpy().astype(types[name]) for name, column in columns.items()}
    return Examples(cell=cell, order=order, hash=hashes, **arrays)
