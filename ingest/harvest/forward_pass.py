"""The forward pass: units of work over a corpus, and the statistics of features that they add to.

A unit is a few contexts that the model sees in one forward. The contexts of each unit follow from the corpus and the
context size alone, so every worker computes the same numbers for it, to the last bit where machines are alike.
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
from featurestore.extension.text import first_line
from ingest.corpus.corpus import Contexts, Corpus
from ingest.model.model import HookPoint, Model
from ingest.sae import Sae
from ingest.statistics import encode
from ingest.statistics.accumulator import Accumulator, choose_scale
from ingest.statistics.tile import Tile

UNIT_TOKENS = 8192  # tokens the model sees in one forward
TILE_TOKENS = 2048  # tokens of one tile
SCALE_TOKENS = 256  # tokens from which the scale of histograms is chosen
# Tokens whose input is this many times as long as the median of their context are attention sinks, not text.
MAX_NORM = 10.0


class Inputs(NamedTuple):
    """Inputs of a dictionary on the t counted tokens of a unit, and how many tokens are not counted, by cause."""

    x: torch.Tensor  # (t, d_in) float32
    context: torch.Tensor  # (t,) int64, ascending: row among the contexts of the unit
    position: torch.Tensor  # (t,) int64: index in the context, from 0
    special: int
    sinks: int
    bos: int = 0  # in the middle of documents


@dataclasses.dataclass
class TokenCounts:
    """Tokens of a dictionary's pass: counted ones, and those not counted for being special, sinks, or BOS in a text."""

    tokens: int = 0
    special: int = 0
    sinks: int = 0
    bos: int = 0

    def add(self, inputs: Inputs) -> None:
        """Add the tokens of a unit."""
        self.tokens += len(inputs.x)
        self.special += inputs.special
        self.sinks += inputs.sinks
        self.bos += inputs.bos

    def merge(self, other: TokenCounts) -> None:
        """Add the tokens of another worker."""
        self.tokens += other.tokens
        self.special += other.special
        self.sinks += other.sinks
        self.bos += other.bos


class FeatureStatistics(NamedTuple):
    """Statistics of features first .. last - 1 of one dictionary."""

    first: int
    last: int
    counts: TokenCounts
    accumulator: Accumulator

    def merge(self, other: FeatureStatistics) -> None:
        """Add the statistics of another worker over other units."""
        assert (self.first, self.last) == (other.first, other.last)
        self.counts.merge(other.counts)
        self.accumulator.merge(other.accumulator)

    def state(self) -> dict[str, numpy.ndarray]:
        """Return everything as arrays by name, for `from_state`."""
        counts = numpy.array(dataclasses.astuple(self.counts), numpy.int64)
        return self.accumulator.state() | {"span": numpy.array([self.first, self.last]), "counts": counts}

    @classmethod
    def from_state(cls, state: Mapping[str, numpy.ndarray], seed: int, device: str = "cpu") -> FeatureStatistics:
        """Return the statistics whose `state` this is."""
        first, last = state["span"].tolist()
        return cls(
            first, last, TokenCounts(*state["counts"].tolist()), Accumulator.from_state(dict(state), seed, device)
        )


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPass:
    """A model with dictionaries over the contexts of a corpus, cut into units.

    Tokens whose input is over `max_norm` times as long as the median of their context are not counted (0: all are), nor
    are tokens whose ids are in `special`.
    """

    model: Model
    saes: Mapping[str, Sae]  # by source, on the model's device
    points: Mapping[str, HookPoint]  # where each reads, by source
    corpus: Corpus
    contexts: Contexts
    bos: list[int]
    seed: int = 0
    max_norm: float = MAX_NORM
    special: tuple[int, ...] = ()
    unit_tokens: int = UNIT_TOKENS
    known_scales: Mapping[str, int] | None = None  # of histograms, by source; None: they are measured

    @functools.cached_property
    def units(self) -> list[slice]:
        """The contexts of each unit, as slices of `contexts`."""
        return cut_units(self.contexts, self.unit_tokens)

    @functools.cached_property
    def scales(self) -> Mapping[str, int]:
        """The power of two that the histogram of each dictionary follows, by source: from the corpus's first tokens."""
        if self.known_scales is not None:
            return self.known_scales
        rows = -(-SCALE_TOKENS // int(self.contexts.length[0]))
        begin = self.contexts[:rows]
        length = numpy.minimum(begin.length, SCALE_TOKENS)
        values = self._sample_values(Contexts(begin.document, begin.start, length))
        if not all(map(len, values.values())):  # rare features: a longer look
            values = self._sample_values(self.contexts[self.units[0]])
        return {source: choose_scale(value) for source, value in values.items()}

    @torch.inference_mode()
    def _sample_values(self, batch: Contexts) -> dict[str, torch.Tensor]:
        """Return the activations that are not zero on these contexts, by source."""
        return {
            source: encode.encode_active(self.saes[source], inputs.x, 0, self.saes[source].d_sae)[2].cpu()
            for source, inputs in self.read_inputs(batch).items()
        }

    def begin(self, spans: Mapping[str, tuple[int, int]]) -> dict[str, FeatureStatistics]:
        """Return empty statistics of each dictionary's span of features, by source."""
        return {
            source: FeatureStatistics(
                first,
                last,
                TokenCounts(),
                Accumulator(last - first, self.seed, self.model.device, self.scales[source]),
            )
            for source, (first, last) in spans.items()
        }

    def count(self, unit: slice, statistics: Mapping[str, FeatureStatistics], cache: InputCache | None = None) -> None:
        """Add a unit to the statistics. Raises BadRequest when the model or a dictionary gives NaN or infinity."""
        batch = self.contexts[unit]
        inputs_by_source = cache.get(unit) if cache else None
        if inputs_by_source is None:
            inputs_by_source = self.read_inputs(batch)
            if cache:
                cache.put(unit, inputs_by_source)
        for source, span in statistics.items():
            inputs = inputs_by_source[source]
            span.counts.add(inputs)
            for tile in self._make_tiles(batch, source, inputs, span.first, span.last):
                span.accumulator.add(tile)

    @torch.inference_mode()
    def read_inputs(self, batch: Contexts) -> dict[str, Inputs]:
        """Run the model on these contexts; return the inputs of each dictionary, by source."""
        width = int(batch.length.max())
        ids = numpy.zeros((len(batch), len(self.bos) + width), dtype=numpy.int64)
        ids[:, : len(self.bos)] = self.bos
        for row, context in enumerate(batch):
            ids[row, len(self.bos) : len(self.bos) + context.length] = self.corpus.run(context)
        values_by_hook = self.model.read(torch.from_numpy(ids), list(self.points.values()))
        tokens = torch.from_numpy(ids[:, len(self.bos) :]).to(self.model.device)
        length = torch.from_numpy(batch.length).to(self.model.device)
        is_text = torch.arange(width, device=self.model.device)[None] < length[:, None]  # the rest is padding
        special = torch.isin(tokens, torch.tensor(self.special, dtype=torch.int64, device=self.model.device)) & is_text
        bos = is_text & (tokens == (-1 if self.model.bos is None else self.model.bos))
        special &= ~bos
        inputs = {}
        for source in self.saes:
            values = values_by_hook[self.points[source].name][:, len(self.bos) :]
            self._check_finite(source, values, is_text, batch)
            sink = self._find_sinks(values, is_text) & ~special & ~bos
            keep = is_text & ~special & ~sink & ~bos
            context_row, position = keep.nonzero(as_tuple=True)
            left_out = (int(special.sum()), int(sink.sum()), int(bos.sum()))
            inputs[source] = Inputs(values[keep].float(), context_row, position, *left_out)
        return inputs

    def _find_sinks(self, values: torch.Tensor, is_text: torch.Tensor) -> torch.Tensor:
        """Return bool (contexts, tokens): which tokens are attention sinks."""
        if not self.max_norm:
            return torch.zeros_like(is_text)
        size: torch.Tensor = torch.linalg.vector_norm(values.float(), dim=-1)
        # The median of each context, not of the unit: results must not depend on how contexts are batched.
        median = size.masked_fill(~is_text, torch.nan).nanmedian(dim=1, keepdim=True).values
        return (size > self.max_norm * median) & is_text

    def _check_finite(self, source: str, values: torch.Tensor, is_text: torch.Tensor, batch: Contexts) -> None:
        if torch.isfinite(values.sum()):  # NaN and infinity survive any sum
            return
        bad = (~torch.isfinite(values).all(-1) & is_text).any(1).nonzero()
        if len(bad):
            name = self.corpus.names[batch[int(bad[0])].document]
            raise BadRequest(f"the model gives NaN or infinity at {self.points[source].name} in document '{name}'")

    @torch.inference_mode()
    def _make_tiles(self, batch: Contexts, source: str, inputs: Inputs, first: int, last: int) -> Iterator[Tile]:
        device = inputs.x.device
        columns = (batch.document, batch.start, batch.length)
        document, start, length = (torch.from_numpy(column).to(device) for column in columns)
        offsets = torch.from_numpy(self.corpus.offsets[batch.document]).to(device)
        held_out = torch.from_numpy(self.corpus.held_out[batch.document]).to(device)
        ids, follows = self.corpus.token_ids(batch, inputs.context, inputs.position)
        token_ids, breaks = torch.from_numpy(ids).to(device), torch.from_numpy(follows).to(device)
        step = max(1, TILE_TOKENS // int(batch.length.max()))
        borders = [*range(0, len(batch), step), len(batch)]
        cuts = torch.searchsorted(inputs.context, torch.tensor(borders, device=device)).tolist()
        for (begin, end), span in zip(itertools.pairwise(borders), itertools.pairwise(cuts), strict=True):
            tokens, contexts = slice(*span), slice(begin, end)
            feature, token, value = encode.encode_active(self.saes[source], inputs.x[tokens], first, last)
            if not torch.isfinite(value.sum()):
                raise BadRequest(f"{source} gives NaN or infinity on what the model has at {self.points[source].name}")
            yield Tile(
                feature=feature,
                token=token,
                value=value,
                context=inputs.context[tokens] - begin,
                position=inputs.position[tokens],
                document=document[contexts],
                start=start[contexts],
                length=length[contexts],
                place=offsets[contexts] + start[contexts],
                held_out=held_out[contexts],
                after_break=breaks[tokens],
                token_id=token_ids[tokens],
                first=first,
            )


def cut_units(contexts: Contexts, tokens: int) -> list[slice]:
    """Return slices of `contexts`, which come longest first, of at most `tokens` tokens each, padding included."""
    units, first = [], 0
    while first < len(contexts):
        rows = max(1, tokens // int(contexts.length[first]))
        units.append(slice(first, min(first + rows, len(contexts))))
        first += rows
    return units


class InputCache:
    """Inputs of dictionaries on disk: with several rounds, the model runs in the first only."""

    def __init__(self, folder: Path, device: str):
        self._folder, self._device = folder, device
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, unit: slice) -> dict[str, Inputs] | None:
        """Return the inputs of a unit by source; None if there are none."""
        path = self._path(unit)
        if not path.exists():
            return None
        states = torch.load(path, weights_only=True, map_location=self._device)
        return {source: Inputs(**fields) for source, fields in states.items()}

    def put(self, unit: slice, inputs_by_source: Mapping[str, Inputs]) -> None:
        """Keep the inputs of a unit. Raises Unavailable when the disk is full."""
        path = self._path(unit)
        new = path.with_suffix(".new")
        try:
            torch.save({source: inputs._asdict() for source, inputs in inputs_by_source.items()}, new)
            new.replace(path)
        except (OSError, RuntimeError) as exc:  # torch raises the latter when a disk is full
            new.unlink(missing_ok=True)
            raise Unavailable(
                f"what the dictionaries read cannot be kept in {self._folder} ({first_line(exc)}); make room and run "
                "the same command again: it goes on from there"
            ) from None

    def _path(self, unit: slice) -> Path:
        return self._folder / f"{unit.start}.pt"
