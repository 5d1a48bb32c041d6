"""A random sample of contexts and tokens with all their active features.

It shows where a feature is silent, and which features are active on the same tokens.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy
import torch

from ingest.statistics.examples import WINDOW
from ingest.statistics.ragged import Ragged, concatenate_ranges, order_by_group, rank_in_groups
from ingest.statistics.tile import Tile, hash_places

# Sampled from a corpus: contexts, as many from documents that explainers see as from held-out ones, and single tokens.
CONTEXTS = (128, 128)
TOKENS = 16_384
# At most this many pairs of features active on one token are counted: one or two seconds, and 0.3 GB.
PAIRS = 20_000_000
COACTIVE = 10  # kept per feature
BLOCK = 4096  # active features whose pairs are listed at once
# Hashed with a place, so that the two samples and the windows in long contexts do not depend on one another.
_OF_CONTEXT, _OF_WINDOW, _OF_TOKEN = 1, 2, 3


@dataclasses.dataclass
class ContextSample(Ragged):
    """Windows of tokens, or single tokens, with the features active in them and each one's strongest activation.

    `cell` is 1 for contexts of held-out documents, otherwise 0; `order` is 0.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("features", "peaks")

    document: numpy.ndarray
    start: numpy.ndarray  # in the document
    length: numpy.ndarray
    features: numpy.ndarray  # ascending
    peaks: numpy.ndarray

    @classmethod
    def column_types(cls) -> dict[str, type]:
        """Return the NumPy type of each column."""
        integers = dict.fromkeys(("document", "start", "length", "features"), numpy.int32)
        return super().column_types() | integers | {"peaks": numpy.float32}


class ContextSampler:
    """Samples contexts and tokens by the hashes of their places: the same ones in any order."""

    def __init__(self, seed: int):
        self._seed = seed
        self._kept = {"contexts": ContextSample.empty(), "tokens": ContextSample.empty()}
        self._most = {"contexts": numpy.array(CONTEXTS), "tokens": numpy.array([TOKENS])}
        self._bars = {name: numpy.full(len(most), numpy.iinfo(numpy.int64).max) for name, most in self._most.items()}

    def add(self, tile: Tile) -> None:
        """Add the contexts and tokens of a tile that belong to the sample so far."""
        self._add_contexts(tile)
        self._add_tokens(tile)

    def _add_contexts(self, tile: Tile) -> None:
        hashes = (
            hash_places(self._seed, tile.document, tile.start, torch.full_like(tile.start, _OF_CONTEXT)).cpu().numpy()
        )
        cell = tile.held_out.cpu().numpy().astype(numpy.int64)
        chosen = numpy.flatnonzero(hashes <= self._bars["contexts"][cell])
        if not len(chosen):
            return
        document, start, length = (column.cpu().numpy()[chosen] for column in (tile.document, tile.start, tile.length))
        # In a context longer than a window, the place of the window is random too.
        places = numpy.maximum(length - WINDOW, 0) + 1
        first = hash_places(self._seed, *map(torch.from_numpy, (document, start, numpy.full_like(start, _OF_WINDOW))))
        first = first.numpy() % places
        width = numpy.minimum(length, WINDOW)
        row, feature, value, position = _select_entries(tile, tile.context, chosen)
        inside = (position >= first[row]) & (position < first[row] + width[row])
        self._add_rows(
            "contexts",
            cell[chosen],
            hashes[chosen],
            (document, start + first, width),
            row[inside],
            feature[inside],
            value[inside],
        )

    def _add_tokens(self, tile: Tile) -> None:
        position = tile.start[tile.context] + tile.position
        document = tile.document[tile.context]
        hashes = hash_places(self._seed, document, position, torch.full_like(position, _OF_TOKEN)).cpu().numpy()
        chosen = numpy.flatnonzero(hashes <= self._bars["tokens"][0])
        if not len(chosen):
            return
        places = (document.cpu().numpy()[chosen], position.cpu().numpy()[chosen], numpy.ones(len(chosen), numpy.int64))
        tokens = torch.arange(len(hashes), device=tile.token.device)
        row, feature, value, _ = _select_entries(tile, tokens, chosen)
        self._add_rows("tokens", numpy.zeros(len(chosen), numpy.int64), hashes[chosen], places, row, feature, value)

    def _add_rows(
        self,
        kind: str,
        cell: numpy.ndarray,
        hashes: numpy.ndarray,
        places: tuple[numpy.ndarray, ...],
        row: numpy.ndarray,
        feature: numpy.ndarray,
        value: numpy.ndarray,
    ) -> None:
        """Add rows (cell, hash, places) and their entries, sorted by feature; `row` is the number of an entry's row."""
        order = order_by_group(row, len(cell))
        row, feature, value = row[order], feature[order], value[order]
        is_first = numpy.append(True, (row[1:] != row[:-1]) | (feature[1:] != feature[:-1]))[: len(row)]
        if not is_first.all():  # a feature is active several times in a context: its strongest activation is kept
            begins = numpy.flatnonzero(is_first)
            pair = numpy.cumsum(is_first) - 1
            peaks = numpy.flatnonzero(numpy.abs(value) == numpy.maximum.reduceat(numpy.abs(value), begins)[pair])
            strongest = peaks[rank_in_groups(pair[peaks]) == 0]
            row, feature, value = row[strongest], feature[strongest], value[strongest]
        columns = dict(zip(("document", "start", "length"), places, strict=True))
        columns |= {"cell": cell, "order": numpy.zeros(len(cell)), "hash": hashes}
        columns |= {"counts": numpy.bincount(row, minlength=len(cell)), "features": feature, "peaks": value}
        types = ContextSample.column_types()
        self._merge(kind, ContextSample(**{name: columns[name].astype(dtype) for name, dtype in types.items()}))

    def _merge(self, kind: str, candidates: ContextSample) -> None:
        sample = ContextSample.concatenate([self._kept[kind], candidates])
        rows, rank = sample.rank()
        most = self._most[kind][sample.cell[rows]]
        self._kept[kind] = sample.take(rows[rank < most])
        last = rows[rank == most - 1]
        self._bars[kind][sample.cell[last]] = sample.hash[last]

    def merge(self, other: ContextSampler) -> None:
        """Add what another worker sampled from other contexts."""
        for kind, rows in other.samples().items():
            self._merge(kind, rows)

    def samples(self) -> dict[str, ContextSample]:
        """Return the samples so far, "contexts" and "tokens", sorted by cell and hash."""
        return self._kept

    def add_samples(self, samples: dict[str, dict[str, numpy.ndarray]]) -> None:
        """Add samples from elsewhere: the columns of each kind."""
        for kind, columns in samples.items():
            self._merge(kind, ContextSample(**columns))


def _select_entries(
    tile: Tile, group: torch.Tensor, chosen: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the entries of a tile whose token's `group` is among `chosen`: index there, feature, value, position."""
    most = max(int(chosen.max()), int(group.max()) if len(group) else 0)
    rows = torch.full((most + 1,), -1, device=group.device)
    rows[torch.from_numpy(chosen).to(group.device)] = torch.arange(len(chosen), device=group.device)
    row = rows[group[tile.token]]
    entries = (row >= 0).nonzero().squeeze(1)
    columns = (row, tile.feature, tile.value, tile.entry_position)
    index, feature, value, position = (column[entries].cpu().numpy() for column in columns)
    return index, feature, value, position


def find_coactive(tokens: ContextSample, features: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return the pairs of features that are most often active on the same tokens of a sample.

    Three arrays (pairs,), sorted by feature and from best to worst: feature (int64), other (int64) and Jaccard's
    measure (float32), the number of tokens with both active over that of tokens with either. At most 10 pairs per
    feature; pairs on fewer than two tokens are chance and left out. Tokens beyond 20 million pairs, in the order of
    hashes, do not count.
    """
    counts = tokens.counts.astype(numpy.int64)
    ends = numpy.cumsum(counts * (counts - 1) // 2)
    counts = counts[ends <= PAIRS]
    active = tokens.features[: int(counts.sum())].astype(numpy.int64)
    alone = numpy.bincount(active, minlength=features)
    pairs, both = _count_pairs(active, counts, features)
    smaller, larger = numpy.divmod(pairs, features)
    feature, other = numpy.concatenate([smaller, larger]), numpy.concatenate([larger, smaller])
    both = numpy.concatenate([both, both])
    measure = (both / (alone[feature] + alone[other] - both)).astype(numpy.float32)
    best = _select_best(feature, measure)
    order = best[numpy.lexsort((other[best], -measure[best], feature[best]))]
    order = order[rank_in_groups(feature[order]) < COACTIVE]
    return feature[order], other[order], measure[order]


def _select_best(feature: numpy.ndarray, measure: numpy.ndarray) -> numpy.ndarray:
    """Return the rows with each feature's 10 best measures, and those that equal the last of them.

    Sorting millions of rows by one number is many times faster than by three keys, so ties are settled afterwards.
    """
    # The bits of numbers that are not negative sort as the numbers do.
    key = feature << 32 | (0xFFFFFFFF - measure.view(numpy.uint32).astype(numpy.int64))
    order = numpy.argsort(key)
    rank = rank_in_groups(feature[order])
    bars = numpy.full(int(feature.max(initial=0)) + 1, numpy.iinfo(numpy.int64).max)
    last = order[rank == COACTIVE - 1]
    bars[feature[last]] = key[last]
    return numpy.flatnonzero(key <= bars[feature])


def _count_pairs(active: numpy.ndarray, counts: numpy.ndarray, features: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return pairs of features active on two tokens or more, smaller * features + larger, ascending, and their tokens.

    `counts` (tokens,) is the number of features active on each token; `active` lists them, one token after another.
    """
    # The features of a token ascend: each is paired with those after it.
    after = numpy.repeat(numpy.cumsum(counts), counts) - numpy.arange(len(active)) - 1
    keys = numpy.empty(int(after.sum()), numpy.int64)
    ends = numpy.cumsum(after)
    for begin in range(0, len(active), BLOCK):  # a block fits into the processor's cache: memory limits the speed
        block = slice(begin, begin + BLOCK)
        others = concatenate_ranges(numpy.arange(begin + 1, begin + 1 + len(after[block])), after[block])
        block_keys = keys[ends[begin] - after[begin] : ends[block][-1]]
        numpy.add(numpy.repeat(active[block] * features, after[block]), active[others], out=block_keys)
    keys.sort()
    # Most pairs occur on one token alone and need no more work.
    repeats = numpy.flatnonzero(keys[1:] == keys[:-1])
    is_first = numpy.append(True, repeats[1:] != repeats[:-1] + 1)[: len(repeats)]
    begins = numpy.flatnonzero(is_first)
    return keys[repeats[begins]], numpy.diff(numpy.append(begins, len(repeats))) + 1


def join_samples(parts: list[tuple[int, ContextSample]]) -> ContextSample:
    """Return one sample from those of several spans of features over one corpus, each (first feature, sample).

    Places are sampled without regard to features, so the parts have the same rows.
    """
    row = numpy.concatenate([numpy.repeat(numpy.arange(len(sample)), sample.counts) for _, sample in parts])
    order = numpy.argsort(row, kind="stable")
    features = numpy.concatenate([sample.features + first for first, sample in parts])[order].astype(numpy.int32)
    peaks = numpy.concatenate([sample.peaks for _, sample in parts])[order]
    counts = numpy.sum([sample.counts for _, sample in parts], axis=0)
    return dataclasses.replace(parts[0][1], counts=counts, features=features, peaks=peaks)
