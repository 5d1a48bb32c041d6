"""Dictionaries into a store: everything that was counted, or what weights alone say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow

from ingest.corpus.corpus import Corpus
from ingest.harvest import store_rows
from ingest.harvest.executor import Crew
from ingest.harvest.forward_pass import Counted, Counts
from ingest.harvest.shards import SHARD
from ingest.harvest.store_rows import Coactivity, Unembedding
from ingest.model.model import Model
from ingest.sae import Sae
from ingest.statistics import coactivity


def write_corpus(writer: Any, corpus: Corpus) -> None:
    """Add a corpus and its tokenizer, unless the store has them."""
    if not writer.has("tokenizers", corpus.tokenizer_id):
        writer.add("tokenizers", corpus.tokenizer_table(), key=corpus.tokenizer_id)
    if not writer.has("documents", corpus.id):
        writer.add_corpus(corpus.id, corpus.document_table(), corpus.data)


class Survey(NamedTuple):
    """What is wanted of a shard for what is said of a whole dictionary."""

    first: int
    counts: Counts
    dead: int
    active: int  # activations counted
    drawn: dict[str, coactivity.ContextSample]


def survey(shard: Counted) -> Survey:
    """A shard's survey."""
    firing = shard.accumulator.tally.active_tokens
    drawn = shard.accumulator.sampler.samples()
    return Survey(shard.first, shard.counts, int((firing == 0).sum()), int(firing.sum()), drawn)


def write_counted(
    writer: Any,
    crew: Crew,
    model_id: str,
    source: str,
    sae: Sae,
    model: Model,
    corpus: Corpus,
    shards: Callable[[], Iterator[Any]],
    settings: dict[str, Any],
    bos: int,
    unembedding: Any,
) -> dict[str, Any]:
    """Add one dictionary from what is counted of it, of whose shards the crew has handles; what a report says of it.

    `bos` is how many BOS tokens the model saw, `settings` what is to be recorded, `unembedding` a handle as well.
    """
    name = f"{model_id}/{source}"
    surveys = list(crew.run(survey, ((shard,) for shard in shards())))
    counts = surveys[0].counts
    excluded = {"bos": bos, "special": counts.special, "sinks": counts.sinks}
    drawn = {
        what: coactivity.join_samples([(one.first, one.drawn[what]) for one in surveys])
        for what in ("contexts", "tokens")
    }
    row = store_rows.dictionary_row(
        model_id,
        source,
        sae,
        model,
        tokenizer=corpus.tokenizer_id,
        corpus=corpus.id,
        context_size=settings["context_size"],
        tokens_counted=counts.tokens,
        tokens_excluded=sum(excluded.values()),
        settings=json.dumps(settings | {"excluded": excluded, "coactive_tokens": len(drawn["tokens"])}),
    )
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    writer.add("contexts", store_rows.contexts(name, corpus.id, drawn["contexts"]), key=name)
    pairs = crew.hold(Coactivity(*coactivity.find_coactive(drawn["tokens"], sae.d_sae)))
    spans = [(first, min(first + SHARD, sae.d_sae)) for first in range(0, sae.d_sae, SHARD)]
    crew.write(
        writer,
        add_shard,
        (
            (name, first, sae.part(first, last), crew.device, unembedding, corpus.id, shard, pairs)
            for (first, last), shard in zip(spans, shards(), strict=True)
        ),
    )
    dead, active = (sum(getattr(one, what) for one in surveys) for what in ("dead", "active"))
    return {"counted": counts.tokens, "excluded": excluded, "dead": dead, "l0": active / max(1, counts.tokens)}


def write_weights(
    writer: Any, model_id: str, source: str, sae: Sae, model: Model | None, unembedding: Unembedding | None
) -> None:
    """Add one dictionary with what its weights alone say."""
    name = f"{model_id}/{source}"
    row = store_rows.dictionary_row(model_id, source, sae, model)
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    device = str(unembedding.matrix.device) if unembedding else "cpu"
    for first in range(0, sae.d_sae, SHARD):
        add_shard(writer, name, first, sae.part(first, min(first + SHARD, sae.d_sae)), device, unembedding)


def add_shard(
    writer: Any,
    name: str,
    first: int,
    sae: Sae,
    device: str,
    unembedding: Unembedding | None,
    corpus: str = "",
    counted: Counted | None = None,
    pairs: Coactivity | None = None,
) -> None:
    """Add the parts of a shard of a dictionary: features from `first`, of which `sae` has the weights and `counted` and
    `pairs` what is counted in a corpus, if anything. Effects on logits are worked out on `device`."""
    shard = first // SHARD
    known = store_rows.of_weights(name, first, sae, unembedding and unembedding.to(device))
    if counted is not None and pairs is not None:
        known |= store_rows.statistics(counted) | {"coactive": store_rows.coactive(pairs, first, first + sae.d_sae)}
    writer.add("features", pyarrow.table(known), key=name, shard=shard)
    writer.add_vectors(name, sae.W_dec.float().cpu().numpy(), shard=shard, targets=sae.targets)
    if counted is not None:
        writer.add("examples", store_rows.examples(name, corpus, counted), key=name, shard=shard)
