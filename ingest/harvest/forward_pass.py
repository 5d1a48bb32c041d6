"""The pass itself: units of work over a corpus, each counted the same whoever does it and whenever.

A unit is some contexts that the model sees in one forward. Which contexts make up which unit follows from the corpus and
the context size alone, so every worker computes the same numbers for it, to the last bit where machines are alike.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

from featurestore import BadRequest, Unavailable
from ingest.corpus.corpus import Contexts, Corpus
from ingest.model.model import HookPoint, Model
from ingest.sae import Sae
from ingest.statistics import encode
from ingest.statistics.accumulator import Accumulator
from ingest.statistics.tile import Tile

UNIT_TOKENS = 8192  # tokens the model sees in one forward
TILE_TOKENS = 2048  # tokens whose activations are held compact at once
# A token whose input is this many times as long as the median of its context is an attention sink, not text.
MAX_NORM = 10.0


class Inputs(NamedTuple):
    """What a dictionary reads on a unit's tokens that count. Causes are why others do not: see `Counts`."""

    x: torch.Tensor  # (t, d_in)
    context: torch.Tensor  # (t,) int64, ascending: row of the unit's contexts
    position: torch.Tensor  # (t,) int64: place in the context, from 0
    special: int
    sinks: int


@dataclasses.dataclass
class Counts:
    """Tokens of a dictionary's pass: those counted, and those left out for being special or attention sinks."""

    tokens: int = 0
    special: int = 0
    sinks: int = 0

    def add(self, inputs: Inputs) -> None:
        self.tokens += len(inputs.x)
        self.special += inputs.special
        self.sinks += inputs.sinks

    def merge(self, other: Counts) -> None:
        self.tokens += other.tokens
        self.special += other.special
        self.sinks += other.sinks


class Counted(NamedTuple):
    """What is counted of one dictionary's features first .. last - 1."""

    first: int
    last: int
    counts: Counts
    accumulator: Accumulator

    def merge(self, other: Counted) -> None:
        """Take in what another worker counted in other units."""
        assert (self.first, self.last) == (other.first, other.last)
        self.counts.merge(other.counts)
        self.accumulator.merge(other.accumulator)

    def state(self) -> dict[str, numpy.ndarray]:
        """All of it as arrays, by name."""
        counts = numpy.array(dataclasses.astuple(self.counts), numpy.int64)
        return self.accumulator.state() | {"span": numpy.array([self.first, self.last]), "counts": counts}

    @classmethod
    def of_state(cls, state: Mapping[str, numpy.ndarray], seed: int, device: str = "cpu") -> Counted:
        """What `state` gave, as it was."""
        first, last = state["span"].tolist()
        return cls(first, last, Counts(*state["counts"].tolist()), Accumulator.from_state(dict(state), seed, device))


@dataclasses.dataclass(frozen=True, eq=False)
class Pass:
    """What every unit needs. `max_norm` 0 keeps attention sinks; `special` are token ids to leave out."""

    model: Model
    saes: Mapping[str, Sae]  # on the model's device
    points: Mapping[str, HookPoint]  # where each reads
    corpus: Corpus
    contexts: Contexts
    bos: list[int]
    seed: int = 0
    max_norm: float = MAX_NORM
    special: tuple[int, ...] = ()
    unit_tokens: int = UNIT_TOKENS

    @functools.cached_property
    def units(self) -> list[slice]:
        """The contexts of each unit."""
        return units(self.contexts, self.unit_tokens)

    def nothing(self, spans: Mapping[str, tuple[int, int]]) -> dict[str, Counted]:
        """What is counted of each dictionary's span of features before any unit."""
        return {
            source: Counted(first, last, Counts(), Accumulator(last - first, self.seed, self.model.device))
            for source, (first, last) in spans.items()
        }

    def count(self, unit: slice, counted: Mapping[str, Counted], cache: Cache | None = None) -> None:
        """Add a unit to what is counted. Raises BadRequest when the model or a dictionary gives NaN or infinity."""
        batch = self.contexts[unit]
        read = cache.get(unit) if cache else None
        if read is None:
            read = self.inputs(batch)
            if cache:
                cache.put(unit, read)
        for source, one in counted.items():
            inputs = read[source]
            one.counts.add(inputs)
            for tile in self._tiles(batch, source, inputs, one.first, one.last):
                one.accumulator.add(tile)

    @torch.inference_mode()
    def inputs(self, batch: Contexts) -> dict[str, Inputs]:
        """What each dictionary reads on these contexts."""
        width = int(batch.length.max())
        ids = numpy.zeros((len(batch), len(self.bos) + width), dtype=numpy.int64)
        ids[:, : len(self.bos)] = self.bos
        for row, one in enumerate(batch):
            ids[row, len(self.bos) : len(self.bos) + one.length] = self.corpus.run(one)
        read = self.model.read(torch.from_numpy(ids), list(self.points.values()))
        tokens = torch.from_numpy(ids[:, len(self.bos) :]).to(self.model.device)
        length = torch.from_numpy(batch.length).to(self.model.device)
        there = torch.arange(width, device=self.model.device)[None] < length[:, None]
        special = torch.isin(tokens, torch.tensor(self.special, dtype=torch.int64, device=self.model.device)) & there
        found = {}
        for source in self.saes:
            values = read[self.points[source].name][:, len(self.bos) :]
            self._check(source, values, there, batch)
            sink = self._sinks(values, there) & ~special
            keep = there & ~special & ~sink
            context, position = keep.nonzero(as_tuple=True)
            found[source] = Inputs(values[keep].float(), context, position, int(special.sum()), int(sink.sum()))
        return found

    def _sinks(self, values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        if not self.max_norm:
            return torch.zeros_like(there)
        size = values.float().norm(dim=-1)
        # The median of each context, not of the batch: it must not depend on what is worked on together.
        median = size.masked_fill(~there, torch.nan).nanmedian(dim=1, keepdim=True).values
        return (size > self.max_norm * median) & there

    def _check(self, source: str, values: torch.Tensor, there: torch.Tensor, batch: Contexts) -> None:
        if torch.isfinite(values.sum()):  # NaN and infinity survive any sum
            return
        bad = (~torch.isfinite(values).all(-1) & there).any(1).nonzero()
        if len(bad):
            name = self.corpus.names[batch[int(bad[0])].document]
            raise BadRequest(f"the model gives NaN or infinity at {self.points[source].name} in document '{name}'")

    @torch.inference_mode()
    def _tiles(self, batch: Contexts, source: str, inputs: Inputs, first: int, last: int) -> Iterator[Tile]:
        device = inputs.x.device
        of_context = [torch.from_numpy(one) for one in (batch.document, batch.start, batch.length)]
        document, start, length = (one.to(device) for one in of_context)
        offsets = torch.from_numpy(self.corpus.offsets[batch.document]).to(device)
        held_out = torch.from_numpy(self.corpus.held_out[batch.document]).to(device)
        together = max(1, TILE_TOKENS // int(batch.length.max()))
        borders = [*range(0, len(batch), together), len(batch)]
        cuts = torch.searchsorted(inputs.context, torch.tensor(borders, device=device)).tolist()
        for (begin, end), span in zip(itertools.pairwise(borders), itertools.pairwise(cuts), strict=True):
            mine = slice(*span)
            feature, token, value = encode.encode_active(self.saes[source], inputs.x[mine], first, last)
            if not torch.isfinite(value.sum()):
                raise BadRequest(f"{source} gives NaN or infinity on what the model has at {self.points[source].name}")
            some = slice(begin, end)
            yield Tile(
                feature=feature,
                token=token,
                value=value,
                context=inputs.context[mine] - begin,
                position=inputs.position[mine],
                document=document[some],
                start=start[some],
                length=length[some],
                place=offsets[some] + start[some],
                held_out=held_out[some],
                first=first,
            )


def units(contexts: Contexts, tokens: int) -> list[slice]:
    """Contexts that come longest first cut into units of at most so many tokens, padding included."""
    cut, at = [], 0
    while at < len(contexts):
        rows = max(1, tokens // int(contexts.length[at]))
        cut.append(slice(at, min(at + rows, len(contexts))))
        at += rows
    return cut


class Cache:
    """What dictionaries read, kept on disk, for those whose features do not fit in memory at once: they are counted in
    several rounds, and the model runs in the first only."""

    def __init__(self, folder: Path, device: str):
        self._folder, self._device = folder, device
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, unit: slice) -> dict[str, Inputs] | None:
        """What was kept of a unit, if it was."""
        path = self._path(unit)
        if not path.exists():
            return None
        kept = torch.load(path, weights_only=True, map_location=self._device)
        return {source: Inputs(**one) for source, one in kept.items()}

    def put(self, unit: slice, read: Mapping[str, Inputs]) -> None:
        """Keep a unit. Raises Unavailable when there is no room."""
        path = self._path(unit)
        beside = path.with_suffix(".new")
        try:
            torch.save({source: one._asdict() for source, one in read.items()}, beside)
            beside.replace(path)
        except (OSError, RuntimeError) as exc:  # torch says the latter when a disk is full
            beside.unlink(missing_ok=True)
            why = str(exc).strip().splitlines()[0]
            raise Unavailable(
                f"what the dictionaries read cannot be kept in {self._folder} ({why}); make room and run the same command "
                "again: it goes on from there"
            ) from None

    def _path(self, unit: slice) -> Path:
        return self._folder / f"{unit.start}.pt"
