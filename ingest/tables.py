"""Accumulated statistics to the store's tables: dictionaries, features, examples, vectors."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy
import pyarrow

import featurestore
from ingest.corpus import Corpus
from ingest.logits import logit_column, logit_effects, norms
from ingest.model import RESIDUAL_SITES, HookPoint, Model
from ingest.sae import Sae
from ingest.statistics import OCTAVES, Accumulator, Examples, rank_in_groups

SHARD = 65_536  # features of one part


class Counts(NamedTuple):
    """What the whole pass counted, and its settings as JSON."""

    tokens: int
    excluded: int
    context_size: int
    settings: str


def write(
    writer: Any,
    model: Model,
    model_id: str,
    source: str,
    sae: Sae,
    point: HookPoint,
    corpus: Corpus,
    counts: Counts,
    accumulator: Accumulator,
) -> None:
    """Add one harvested dictionary to `writer`."""
    name = f"{model_id}/{source}"
    out = model.hook_point(sae.hook_point_out) if sae.hook_point_out else point
    residual = out.site in RESIDUAL_SITES
    row = {
        "dictionary": name,
        "model": model_id,
        "source": source,
        "kind": sae.kind,
        "architecture": sae.architecture,
        "hook_point": sae.hook_point,
        "hook_point_out": sae.hook_point_out,
        "layer": point.layer,
        "site": point.site,
        "d_in": sae.d_in,
        "d_out": sae.d_out,
        "d_sae": sae.d_sae,
        "space": model_id if residual else f"{model_id}/{out.site}/{out.layer}",
        "model_location": model.location,
        "model_hash": model.hash,
        "weights_location": sae.location,
        "weights_hash": sae.hash,
        "tokenizer": corpus.tokenizer_id,
        "corpus": corpus.id,
        "context_size": counts.context_size,
        "tokens_counted": counts.tokens,
        "tokens_excluded": counts.excluded,
        "settings": counts.settings,
        "tool": f"featurestore {featurestore.__version__}",
        "created_at": datetime.datetime.now(datetime.UTC),
    }
    writer.add("dictionaries", pyarrow.Table.from_pylist([row]), key=name)
    features = feature_table(name, sae, model if residual else None, corpus, counts.tokens, accumulator)
    examples = example_table(name, corpus, accumulator)
    vectors = sae.W_dec.cpu().numpy()
    cuts = numpy.searchsorted(examples["feature"].to_numpy(), numpy.arange(0, sae.d_sae + SHARD, SHARD))
    for shard, first in enumerate(range(0, sae.d_sae, SHARD)):
        writer.add("features", features.slice(first, SHARD), key=name, shard=shard)
        some = examples.slice(cuts[shard], cuts[shard + 1] - cuts[shard])
        writer.add("examples", some, key=name, shard=shard)
        writer.add_vectors(name, vectors[first : first + SHARD], shard=shard)


def feature_table(
    name: str, sae: Sae, model: Model | None, corpus: Corpus, tokens: int, accumulator: Accumulator
) -> pyarrow.Table:
    """Rows of stored.features; without `model`, or where its stream is not what is written to, no logits."""
    active = accumulator.active_tokens
    dead = active == 0
    with numpy.errstate(divide="ignore", invalid="ignore"):
        mean = accumulator.sum / active
        spread = numpy.sqrt(numpy.maximum(accumulator.sum_squares / active - mean**2, 0))
    decoder, encoder, cosine = norms(sae)
    flat = pyarrow.array(accumulator.histogram.reshape(-1))
    bins = accumulator.histogram.shape[1]
    columns: dict[str, Any] = {
        "dictionary": pyarrow.array([name] * sae.d_sae),
        "feature": numpy.arange(sae.d_sae, dtype=numpy.int32),
        "density": active / tokens,
        "active_tokens": active,
        "active_contexts": accumulator.active_contexts,
        "mean_activation": pyarrow.array(mean.astype(numpy.float32), mask=dead),
        "std_activation": pyarrow.array(spread.astype(numpy.float32), mask=dead),
        "max_activation": pyarrow.array(accumulator.max, mask=dead),
        "histogram": pyarrow.ListArray.from_arrays(
            numpy.arange(0, (sae.d_sae + 1) * bins, bins, dtype=numpy.int32), flat
        ),
        "decoder_norm": decoder,
        "encoder_norm": encoder,
    }
    if cosine is not None:
        columns["encoder_decoder_cosine"] = pyarrow.array(cosine, mask=~numpy.isfinite(cosine))
    if model is not None:
        pieces = [one.decode("utf-8", errors="replace") for one in corpus.bytes]
        unembedding, centred = model.unembedding()
        if unembedding.shape[0] > len(pieces):
            unembedding = unembedding[: len(pieces)]  # rows beyond the tokenizer's tokens only pad the matrix
        ids, values, low_ids, low_values = logit_effects(sae.W_dec, unembedding, centred)
        columns["top_logits"] = logit_column(ids, values, pieces)
        columns["bottom_logits"] = logit_column(low_ids, low_values, pieces)
    return pyarrow.table(columns)


def example_table(name: str, corpus: Corpus, accumulator: Accumulator) -> pyarrow.Table:
    """Rows of stored.examples, ordered by feature."""
    top, sample = accumulator.top(), accumulator.sample()
    octave = sample.cell % OCTAVES
    in_band = accumulator.histogram.reshape(accumulator.d_sae, OCTAVES, -1).sum(2)
    kept = numpy.bincount(sample.cell, minlength=accumulator.d_sae * OCTAVES)
    weight = in_band.reshape(-1)[sample.cell] / numpy.maximum(kept[sample.cell], 1)
    # The lowest octave's bin also holds all that is weaker, the highest one's all that is stronger.
    low = numpy.where(octave == 0, 0, 2.0 ** (octave - 6))
    high = numpy.where(octave == OCTAVES - 1, numpy.inf, 2.0 ** (octave - 5))
    # Ranks go by strength within the band; the sample was ordered by its hashes.
    order = numpy.lexsort((sample.hash, -numpy.abs(sample.activation), sample.cell))
    sample, low, high, weight = sample.take(order), low[order], high[order], weight[order]
    nothing = numpy.zeros(len(top), bool)
    tables = [
        _rows(name, corpus, top, top.cell, "top", nothing, nothing, nothing),
        _rows(name, corpus, sample, sample.cell // OCTAVES, None, low, high, weight),
    ]
    return pyarrow.concat_tables(tables).sort_by("feature")


def _rows(
    name: str,
    corpus: Corpus,
    examples: Examples,
    feature: numpy.ndarray,
    band: str | None,
    low: numpy.ndarray,
    high: numpy.ndarray,
    weight: numpy.ndarray,
) -> pyarrow.Table:
    count = len(examples)
    ends = numpy.concatenate([[0], numpy.cumsum(examples.counts)]).astype(numpy.int32)

    def column(values: numpy.ndarray) -> pyarrow.Array:
        if band:
            return pyarrow.nulls(count, pyarrow.float32())
        return pyarrow.array(values.astype(numpy.float32), mask=~numpy.isfinite(values))

    bands = [band] * count if band else [f"[{a:g}, {b:g})" for a, b in zip(low, high, strict=True)]
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * count, pyarrow.string()),
            "feature": feature.astype(numpy.int32),
            "band": pyarrow.array(bands, pyarrow.string()),
            "band_low": column(low),
            "band_high": column(high),
            "rank": rank_in_groups(examples.cell).astype(numpy.int32),
            "weight": column(weight),
            "corpus": pyarrow.array([corpus.id] * count, pyarrow.string()),
            "document": examples.document,
            "start": examples.start,
            "length": examples.length,
            "position": examples.position,
            "activation": examples.activation,
            "offsets": pyarrow.ListArray.from_arrays(ends, pyarrow.array(examples.offsets)),
            "activations": pyarrow.ListArray.from_arrays(ends, pyarrow.array(examples.values)),
        }
    )
