"""Adds dictionaries to a store: their statistics, or what their weights alone say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import pyarrow

from featurestore.extension.locations import remember_locations
from ingest.corpus.corpus import Corpus
from ingest.harvest import shards, store_rows
from ingest.harvest.executor import Executor, Handle
from ingest.harvest.forward_pass import FeatureStatistics, TokenCounts
from ingest.harvest.store_rows import Coactivity, Unembedding
from ingest.model.model import Model
from ingest.sae import Sae
from ingest.statistics.coactivity import ContextSample, find_coactive, join_samples

if TYPE_CHECKING:
    from featurestore import Writer
    from ingest.harvest.plan import HarvestPlan


def write_corpus(writer: Writer, corpus: Corpus) -> None:
    """Add a corpus and its tokenizer, unless the store has them."""
    if not writer.has("tokenizers", corpus.tokenizer_id):
        writer.add("tokenizers", corpus.tokenizer_table(), key=corpus.tokenizer_id)
    if not writer.has("documents", corpus.id):
        writer.add_corpus(corpus.id, corpus.document_table(), corpus.data)


class DictionaryReport(NamedTuple):
    """What a harvest counted for one dictionary."""

    counted: int  # tokens
    excluded: dict[str, int]  # tokens that are not counted, by cause
    dead: int  # features that are never active
    l0: float  # mean number of features active on a counted token


class ShardSummary(NamedTuple):
    """What a shard contributes to the figures of its whole dictionary."""

    first: int
    counts: TokenCounts
    dead: int
    active: int  # activations above zero
    samples: dict[str, ContextSample]
    scale: int  # of histograms


def summarise_shard(shard: FeatureStatistics) -> ShardSummary:
    """Return the summary of a shard."""
    active_tokens = shard.accumulator.tally.active_tokens
    samples = shard.accumulator.sampler.samples()
    dead, active = int((active_tokens == 0).sum()), int(active_tokens.sum())
    return ShardSummary(shard.first, shard.counts, dead, active, samples, shard.accumulator.scale)


def write_statistics(
    writer: Writer,
    executor: Executor,
    plan: HarvestPlan,
    source: str,
    find_shards: Callable[[], Iterator[Handle]],
    unembedding: Handle | None,
) -> DictionaryReport:
    """Add one dictionary with its statistics, and report them.

    `find_shards` yields handles of its shards in order, each time it is called; `unembedding` is a handle too.
    """
    name, sae, corpus = f"{plan.model_id}/{source}", plan.dictionaries[source], plan.forward_pass.corpus
    summaries: list[ShardSummary] = list(executor.map(summarise_shard, ((shard,) for shard in find_shards())))
    counts = summaries[0].counts
    bos = len(plan.forward_pass.contexts) * len(plan.forward_pass.bos) + counts.bos
    excluded = {"bos": bos, "special": counts.special, "sinks": counts.sinks}
    samples = {
        kind: join_samples([(summary.first, summary.samples[kind]) for summary in summaries])
        for kind in ("contexts", "tokens")
    }
    row = store_rows.make_dictionary_row(
        plan.model_id,
        source,
        sae,
        plan.forward_pass.model,
        tokenizer=corpus.tokenizer_id,
        corpus=corpus.id,
        context_size=plan.context_size,
        tokens_counted=counts.tokens,
        tokens_excluded=sum(excluded.values()),
        histogram_scale=summaries[0].scale or None,
        settings=json.dumps(plan.settings | {"excluded": excluded, "coactive_tokens": len(samples["tokens"])}),
    )
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    remember_locations(row["model_location"], row["weights_location"])
    writer.add("contexts", store_rows.make_context_rows(name, corpus.id, samples["contexts"]), key=name)
    pairs = executor.put(Coactivity(*find_coactive(samples["tokens"], sae.d_sae)))
    spans = [(first, min(first + shards.SHARD, sae.d_sae)) for first in range(0, sae.d_sae, shards.SHARD)]
    calls = (
        (name, first, sae.part(first, last), executor.device, unembedding, corpus.id, shard, pairs)
        for (first, last), shard in zip(spans, find_shards(), strict=True)
    )
    executor.write(writer, add_shard, calls)
    dead, active = sum(summary.dead for summary in summaries), sum(summary.active for summary in summaries)
    return DictionaryReport(counts.tokens, excluded, dead, active / max(1, counts.tokens))


def write_weights(
    writer: Writer, model_id: str, source: str, sae: Sae, model: Model | None, unembedding: Unembedding | None
) -> None:
    """Add one dictionary with what its weights alone say."""
    name = f"{model_id}/{source}"
    row = store_rows.make_dictionary_row(model_id, source, sae, model)
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    remember_locations(row["model_location"], row["weights_location"])
    device = str(unembedding.matrix.device) if unembedding else "cpu"
    for first in range(0, sae.d_sae, shards.SHARD):
        add_shard(writer, name, first, sae.part(first, min(first + shards.SHARD, sae.d_sae)), device, unembedding)


def add_shard(
    writer: Writer,
    name: str,
    first: int,
    sae: Sae,
    device: str,
    unembedding: Unembedding | None,
    corpus: str = "",
    statistics: FeatureStatistics | None = None,
    pairs: Coactivity | None = None,
) -> None:
    """Add one shard of a dictionary: features from `first` on, of which `sae` has the weights.

    `statistics` and `pairs` are those of a corpus, if there is one. Effects on logits are computed on `device`.
    """
    shard = first // shards.SHARD
    columns = store_rows.make_weight_columns(name, first, sae, unembedding and unembedding.to(device))
    if statistics is not None and pairs is not None:
        coactive = store_rows.make_coactive_column(pairs, first, first + sae.d_sae)
        columns |= store_rows.make_statistics_columns(statistics) | {"coactive": coactive}
    writer.add("features", pyarrow.table(columns), key=name, shard=shard)
    writer.add_vectors(name, sae.W_dec.float().cpu().numpy(), shard=shard, targets=sae.targets)
    if statistics is not None:
        writer.add("examples", store_rows.make_example_rows(name, corpus, statistics), key=name, shard=shard)
