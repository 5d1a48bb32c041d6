"""What runs on the machines of a Ray cluster: workers that count units, and functions that merge and write shards."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from featurestore import BadRequest
from ingest.corpus.corpus import Corpus
from ingest.harvest import shards
from ingest.harvest.forward_pass import FeatureStatistics, ForwardPass
from ingest.harvest.malloc import return_large_arrays
from ingest.model.model import load_as
from ingest.sae import Sae

THREADS = 1  # of a worker


@dataclasses.dataclass(frozen=True)
class PassRecipe:
    """What a worker needs to build the forward pass on its machine, beside dictionaries and corpus."""

    model_location: str
    model_hash: str
    unusual: Mapping[str, Any]  # Model.unusual
    reads: Mapping[str, tuple[str, bool, bool]]  # Sae.reads of each dictionary
    context_size: int  # tokens of the longest context, without BOS
    bos: list[int]
    seed: int
    max_norm: float
    special: tuple[int, ...]
    unit_tokens: int
    scales: Mapping[str, int]

    @classmethod
    def of(cls, forward_pass: ForwardPass, saes: Mapping[str, Sae]) -> PassRecipe:
        """Return what builds this forward pass elsewhere."""
        return cls(
            forward_pass.model.location,
            forward_pass.model.hash,
            forward_pass.model.unusual,
            {source: sae.reads for source, sae in saes.items()},
            int(forward_pass.contexts.length.max()),
            forward_pass.bos,
            forward_pass.seed,
            forward_pass.max_norm,
            forward_pass.special,
            forward_pass.unit_tokens,
            forward_pass.scales,
        )

    def build(self, saes: Mapping[str, Sae], corpus: Corpus, device: str) -> ForwardPass:
        """Return the forward pass with a model loaded here. Raises BadRequest when it is not the driver's model."""
        model = load_as(self.model_location, self.unusual, device)
        if model.hash != self.model_hash:
            raise BadRequest(
                f"the model at {self.model_location} is another one on a worker ({model.hash}, not {self.model_hash}): "
                "put the same files on all machines"
            )
        return ForwardPass(
            model,
            {source: sae.to(device) for source, sae in saes.items()},
            {source: model.hook_point(*reads) for source, reads in self.reads.items()},
            corpus,
            corpus.contexts(self.context_size),
            self.bos,
            self.seed,
            self.max_norm,
            self.special,
            self.unit_tokens,
            self.scales,
        )


class Worker:
    """A Ray actor that counts units, on a GPU if it was given one."""

    def __init__(self, recipe: PassRecipe, saes: Mapping[str, Sae], corpus: Corpus, device: str, threads: int):
        return_large_arrays()
        torch.set_num_threads(threads)
        # Built with the first units, so that errors reach the driver as those of counting do.
        self._build = functools.cache(lambda: recipe.build(saes, corpus, device))
        self._statistics: dict[str, FeatureStatistics] = {}

    def count(self, units: list[int], spans: Mapping[str, tuple[int, int]]) -> list[int]:
        """Count units and return their numbers."""
        forward_pass = self._build()
        if not self._statistics:
            self._statistics = forward_pass.begin(spans)
        for number in units:
            forward_pass.count(forward_pass.units[number], self._statistics)
        return units

    def collect(self) -> list[FeatureStatistics | None]:
        """Return None and the shards counted since the last call. Who waits for the None need not fetch a shard."""
        statistics, self._statistics = self._statistics, {}
        return [None, *(shard for span in statistics.values() for shard in shards.cut_shards(span))]


def merge_shards(*parts: FeatureStatistics) -> FeatureStatistics:
    """Return the statistics of one shard from those of several workers."""
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    return whole


def make_parts(threads: int, helper: Any, function: Callable[..., None], *arguments: Any) -> Any:
    """Return the parts that a function adds to a writer, written on this machine with the writer's helper."""
    torch.set_num_threads(threads)
    return helper.make(lambda writer: function(writer, *arguments))


def call_function(threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns, called on this machine."""
    torch.set_num_threads(threads)
    return function(*arguments)
