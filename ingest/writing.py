"""Dictionaries into a store: everything that was counted, or what weights alone say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pyarrow

from ingest import coactivity, tables
from ingest.corpus import Corpus
from ingest.model import Model
from ingest.onepass import Counted
from ingest.sae import Sae
from ingest.tables import Coactivity, Unembedding

SHARD = 65_536  # features of one part


def write_corpus(writer: Any, corpus: Corpus) -> None:
    """Add a corpus and its tokenizer, unless the store has them."""
    if not writer.has("tokenizers", corpus.tokenizer_id):
        writer.add("tokenizers", corpus.tokenizer_table(), key=corpus.tokenizer_id)
    if not writer.has("documents", corpus.id):
        writer.add_corpus(corpus.id, corpus.document_table(), corpus.data)


def write_counted(
    writer: Any,
    model_id: str,
    source: str,
    sae: Sae,
    model: Model,
    corpus: Corpus,
    spans: Callable[[], Iterator[Counted]],
    settings: dict[str, Any],
    bos: int,
    unembedding: Unembedding | None,
) -> dict[str, Any]:
    """Add one dictionary from what is counted of its spans of features, in order; what a report says of it.

    `bos` is how many BOS tokens the model saw, `settings` what is to be recorded.
    """
    name = f"{model_id}/{source}"
    drawn: dict[str, list[tuple[int, coactivity.Drawn]]] = {"contexts": [], "tokens": []}
    dead = active = 0
    for one in spans():
        counts = one.counts
        firing = one.accumulator.tally.active_tokens
        dead += int((firing == 0).sum())
        active += int(firing.sum())
        for what, rows in one.accumulator.draw.kept().items():
            drawn[what].append((one.first, rows))
    excluded = {"bos": bos, "special": counts.special, "sinks": counts.sinks}
    together = coactivity.joined(drawn["tokens"])
    row = tables.dictionary_row(
        model_id,
        source,
        sae,
        model,
        tokenizer=corpus.tokenizer_id,
        corpus=corpus.id,
        context_size=settings["context_size"],
        tokens_counted=counts.tokens,
        tokens_excluded=sum(excluded.values()),
        settings=json.dumps(settings | {"excluded": excluded, "coactive_tokens": len(together)}),
    )
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    writer.add("contexts", tables.contexts(name, corpus.id, coactivity.joined(drawn["contexts"])), key=name)
    pairs = Coactivity(*coactivity.coactive(together, sae.d_sae))
    for one in spans():
        examples = tables.examples(name, corpus.id, one)
        features = tables.statistics(one)
        begins = numpy.arange(one.first, one.last + SHARD, SHARD)
        cuts = numpy.searchsorted(examples["feature"].to_numpy(), begins)
        for n, first in enumerate(range(one.first, one.last, SHARD)):
            last = min(first + SHARD, one.last)
            some = {column: values[first - one.first : last - one.first] for column, values in features.items()}
            known = tables.of_weights(name, sae, first, last, unembedding)
            known |= some | {"coactive": tables.coactive(pairs, first, last)}
            _write_shard(writer, name, sae, first, last, pyarrow.table(known))
            writer.add("examples", examples.slice(cuts[n], cuts[n + 1] - cuts[n]), key=name, shard=first // SHARD)
    return {"counted": counts.tokens, "excluded": excluded, "dead": dead, "l0": active / max(1, counts.tokens)}


def write_weights(
    writer: Any, model_id: str, source: str, sae: Sae, model: Model | None, unembedding: Unembedding | None
) -> None:
    """Add one dictionary with what its weights alone say."""
    name = f"{model_id}/{source}"
    row = tables.dictionary_row(model_id, source, sae, model)
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    for first in range(0, sae.d_sae, SHARD):
        last = min(first + SHARD, sae.d_sae)
        known = tables.of_weights(name, sae, first, last, unembedding)
        _write_shard(writer, name, sae, first, last, pyarrow.table(known))


def _write_shard(writer: Any, name: str, sae: Sae, first: int, last: int, features: pyarrow.Table) -> None:
    writer.add("features", features, key=name, shard=first // SHARD)
    vectors = sae.W_dec[first:last].float().cpu().numpy()
    writer.add_vectors(name, vectors, shard=first // SHARD, targets=sae.targets)
