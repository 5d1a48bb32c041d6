"""Contexts and tokens drawn at random with all their active features: where a feature is silent, and what fires beside it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy
import torch

from ingest.statistics.examples import WINDOW
from ingest.statistics.ragged import Ragged, grouped, rank_in_groups, stretches
from ingest.statistics.tile import Tile, hash_of

# Drawn of a corpus: contexts, as many from documents that explainers see as from those held out; and single tokens.
CONTEXTS = (128, 128)
TOKENS = 16_384
# Pairs of features active on one token that are counted at most: a second or two, and 0.3 GB.
PAIRS = 20_000_000
COACTIVE = 10  # kept of a feature
BLOCK = 4096  # active features whose pairs are listed together
# What sets the two draws, and the window in a context, apart from one another.
_OF_CONTEXT, _OF_WINDOW, _OF_TOKEN = 1, 2, 3


@dataclasses.dataclass
class Drawn(Ragged):
    """Windows of tokens, or single ones, with the features active in them and the strongest activation of each.

    `cell` is 1 where the document is held out and contexts are drawn, otherwise 0; `order` is 0.
    """

    LISTS: ClassVar[tuple[str, ...]] = ("features", "peaks")

    document: numpy.ndarray
    start: numpy.ndarray  # in the document
    length: numpy.ndarray
    features: numpy.ndarray  # ascending
    peaks: numpy.ndarray

    @classmethod
    def types(cls) -> dict[str, type]:
        integers = dict.fromkeys(("document", "start", "length", "features"), numpy.int32)
        return super().types() | integers | {"peaks": numpy.float32}


class Draw:
    """Draws contexts and tokens by the hashes of their places: the same ones in any order."""

    def __init__(self, seed: int):
        self._seed = seed
        self._kept = {"contexts": Drawn.none(), "tokens": Drawn.none()}
        self._most = {"contexts": numpy.array(CONTEXTS), "tokens": numpy.array([TOKENS])}
        self._bars = {name: numpy.full(len(most), numpy.iinfo(numpy.int64).max) for name, most in self._most.items()}

    def add(self, tile: Tile) -> None:
        """Take what is drawn of a tile."""
        self._add_contexts(tile)
        self._add_tokens(tile)

    def _add_contexts(self, tile: Tile) -> None:
        hashes = hash_of(self._seed, tile.document, tile.start, torch.full_like(tile.start, _OF_CONTEXT)).cpu().numpy()
        cell = tile.held_out.cpu().numpy().astype(numpy.int64)
        chosen = numpy.flatnonzero(hashes <= self._bars["contexts"][cell])
        if not len(chosen):
            return
        document, start, length = (one.cpu().numpy()[chosen] for one in (tile.document, tile.start, tile.length))
        # A context may be longer than a window: where the window lies in it is drawn too.
        room = numpy.maximum(length - WINDOW, 0) + 1
        first = hash_of(self._seed, *map(torch.from_numpy, (document, start, numpy.full_like(start, _OF_WINDOW))))
        first = first.numpy() % room
        width = numpy.minimum(length, WINDOW)
        row, feature, value, position = _entries(tile, tile.context, chosen)
        inside = (position >= first[row]) & (position < first[row] + width[row])
        self._offer(
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
        hashes = hash_of(self._seed, document, position, torch.full_like(position, _OF_TOKEN)).cpu().numpy()
        chosen = numpy.flatnonzero(hashes <= self._bars["tokens"][0])
        if not len(chosen):
            return
        places = (document.cpu().numpy()[chosen], position.cpu().numpy()[chosen], numpy.ones(len(chosen), numpy.int64))
        tokens = torch.arange(len(hashes), device=tile.token.device)
        row, feature, value, _ = _entries(tile, tokens, chosen)
        self._offer("tokens", numpy.zeros(len(chosen), numpy.int64), hashes[chosen], places, row, feature, value)

    def _offer(self, what: str, cell: Any, hashes: Any, places: Any, row: Any, feature: Any, value: Any) -> None:
        """Take in rows (cell, hash, places) and their entries, which are ordered by feature and name rows by number."""
        order = grouped(row, len(cell))
        row, feature, value = row[order], feature[order], value[order]
        new = numpy.append(True, (row[1:] != row[:-1]) | (feature[1:] != feature[:-1]))[: len(row)]
        if not new.all():  # a feature fires several times in a context: the strongest one counts
            begins = numpy.flatnonzero(new)
            one = numpy.cumsum(new) - 1
            peaks = numpy.flatnonzero(numpy.abs(value) == numpy.maximum.reduceat(numpy.abs(value), begins)[one])
            strongest = peaks[rank_in_groups(one[peaks]) == 0]
            row, feature, value = row[strongest], feature[strongest], value[strongest]
        columns = dict(zip(("document", "start", "length"), places, strict=True))
        columns |= {"cell": cell, "order": numpy.zeros(len(cell)), "hash": hashes}
        columns |= {"counts": numpy.bincount(row, minlength=len(cell)), "features": feature, "peaks": value}
        self._keep(what, Drawn(**{name: columns[name].astype(type_) for name, type_ in Drawn.types().items()}))

    def _keep(self, what: str, found: Drawn) -> None:
        found = Drawn.together([self._kept[what], found])
        rows, rank = found.ranked()
        most = self._most[what][found.cell[rows]]
        self._kept[what] = found.take(rows[rank < most])
        last = rows[rank == most - 1]
        self._bars[what][found.cell[last]] = found.hash[last]

    def merge(self, other: Draw) -> None:
        """Take in what another worker drew over other contexts."""
        for what, rows in other.kept().items():
            self._keep(what, rows)

    def kept(self) -> dict[str, Drawn]:
        """What is drawn so far: contexts and tokens, ordered by cell and hash."""
        return self._kept

    def take(self, kept: dict[str, dict[str, numpy.ndarray]]) -> None:
        """Take in what was drawn elsewhere."""
        for what, columns in kept.items():
            self._keep(what, Drawn(**columns))


def _entries(tile: Tile, group: torch.Tensor, chosen: numpy.ndarray) -> tuple[Any, Any, Any, Any]:
    """The entries of a tile whose token's `group` is one of `chosen`, as arrays: which one, feature, value, position."""
    most = max(int(chosen.max()), int(group.max()) if len(group) else 0)
    rows = torch.full((most + 1,), -1, device=group.device)
    rows[torch.from_numpy(chosen).to(group.device)] = torch.arange(len(chosen), device=group.device)
    row = rows[group[tile.token]]
    mine = (row >= 0).nonzero().squeeze(1)
    of_entries = (row, tile.feature, tile.value, tile.entry_position)
    return tuple(one[mine].cpu().numpy() for one in of_entries)  # type: ignore[return-value]


def coactive(tokens: Drawn, features: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """For each feature those that fire on the same tokens most, from tokens drawn at random.

    The measure is Jaccard's: tokens with both active over tokens with either. Gives arrays (pairs,) feature, other and
    measure (float32), ordered by feature and from best to worst, at most 10 of a feature; pairs that share less than two
    tokens are chance and left out. Of tokens so full that there would be over 20 million pairs, the first by hash count.
    """
    counts = tokens.counts.astype(numpy.int64)
    ends = numpy.cumsum(counts * (counts - 1) // 2)
    counts = counts[ends <= PAIRS]
    active = tokens.features[: int(counts.sum())].astype(numpy.int64)
    alone = numpy.bincount(active, minlength=features)
    pairs, both = _shared(active, counts, features)
    smaller, larger = numpy.divmod(pairs, features)
    one, other = numpy.concatenate([smaller, larger]), numpy.concatenate([larger, smaller])
    both = numpy.concatenate([both, both])
    measure = (both / (alone[one] + alone[other] - both)).astype(numpy.float32)
    best = _best(one, measure)
    order = best[numpy.lexsort((other[best], -measure[best], one[best]))]
    order = order[rank_in_groups(one[order]) < COACTIVE]
    return one[order], other[order], measure[order]


def _best(one: numpy.ndarray, measure: numpy.ndarray) -> numpy.ndarray:
    """Rows of which each feature's best are among, and what is as good as the last of them: millions of rows are sorted by
    one number each, which is many times as fast as by three."""
    # The bits of numbers that are not negative are ordered as the numbers are.
    key = one << 32 | (0xFFFFFFFF - measure.view(numpy.uint32).astype(numpy.int64))
    order = numpy.argsort(key)
    rank = rank_in_groups(one[order])
    bars = numpy.full(int(one.max(initial=0)) + 1, numpy.iinfo(numpy.int64).max)
    last = order[rank == COACTIVE - 1]
    bars[one[last]] = key[last]
    return numpy.flatnonzero(key <= bars[one])


def _shared(active: numpy.ndarray, counts: numpy.ndarray, features: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Pairs on two tokens or more, as smaller * features + larger, ascending, and on how many each is. Tokens have so many
    of the active features, one token's after the other's."""
    # A token's features ascend: each is paired with those after it.
    after = numpy.repeat(numpy.cumsum(counts), counts) - numpy.arange(len(active)) - 1
    keys = numpy.empty(int(after.sum()), numpy.int64)
    ends = numpy.cumsum(after)
    for begin in range(0, len(active), BLOCK):  # what a processor's cache holds: memory is what takes the time
        some = slice(begin, begin + BLOCK)
        others = stretches(numpy.arange(begin + 1, begin + 1 + len(after[some])), after[some])
        mine = keys[ends[begin] - after[begin] : ends[some][-1]]
        numpy.add(numpy.repeat(active[some] * features, after[some]), active[others], out=mine)
    keys.sort()
    # Most pairs are on one token alone: only of the others is there more to do.
    again = numpy.flatnonzero(keys[1:] == keys[:-1])
    first = numpy.append(True, again[1:] != again[:-1] + 1)[: len(again)]
    begins = numpy.flatnonzero(first)
    return keys[again[begins]], numpy.diff(numpy.append(begins, len(again))) + 1


def joined(rounds: list[tuple[int, Drawn]]) -> Drawn:
    """What was drawn in several rounds over one corpus, each (first feature, drawn) of other features, as one.

    Places are drawn without regard to features, so the rounds have the same rows.
    """
    row = numpy.concatenate([numpy.repeat(numpy.arange(len(drawn)), drawn.counts) for _, drawn in rounds])
    order = numpy.argsort(row, kind="stable")
    features = numpy.concatenate([drawn.features + first for first, drawn in rounds])[order].astype(numpy.int32)
    peaks = numpy.concatenate([drawn.peaks for _, drawn in rounds])[order]
    return dataclasses.replace(
        rounds[0][1], counts=numpy.sum([drawn.counts for _, drawn in rounds], axis=0), features=features, peaks=peaks
    )
