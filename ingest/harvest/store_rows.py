"""What was counted, and what weights alone say, as rows of the store's tables."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy
import pyarrow
import torch

import featurestore
from ingest.harvest.forward_pass import Counted
from ingest.model.model import RESIDUAL_SITES, Model
from ingest.sae import Sae
from ingest.statistics.coactivity import ContextSample
from ingest.statistics.examples import OCTAVES, Examples
from ingest.statistics.logits import compute_logit_effects, compute_norms, make_logit_column
from ingest.statistics.ragged import rank_in_groups


class Unembedding(NamedTuple):
    """What turns a vector of the stream into effects on tokens: see Model.unembedding; and the tokens' texts."""

    matrix: torch.Tensor
    centred: bool
    pieces: list[str]

    @classmethod
    def of(cls, model: Model, pieces: list[bytes]) -> Unembedding:
        """A model's, with the tokens as bytes. Rows beyond the tokenizer's tokens only pad the matrix and are left out."""
        matrix, centred = model.unembedding()
        return cls(matrix[: len(pieces)], centred, [one.decode("utf-8", errors="replace") for one in pieces])

    def to(self, device: str) -> Unembedding:
        """The same on another device."""
        return self._replace(matrix=self.matrix.to(device))

    def __reduce__(self) -> tuple[Any, ...]:
        return Unembedding, tuple(self.to("cpu"))  # other machines may lack the device


class Coactivity(NamedTuple):
    """Pairs of features that fire together, see coactivity.coactive."""

    feature: numpy.ndarray
    other: numpy.ndarray
    jaccard: numpy.ndarray


def dictionary_row(model_id: str, source: str, sae: Sae, model: Model | None, **more: Any) -> dict[str, Any]:
    """The row of stored.dictionaries. Without the model it is not known where hooks lie."""
    reads = model.hook_point(*sae.reads) if model else None
    writes = model.hook_point(sae.hook_point_out) if model and sae.hook_point_out else reads
    name = f"{model_id}/{source}"
    return {
        "dictionary": name,
        "model": model_id,
        "source": source,
        "kind": sae.kind,
        "architecture": sae.architecture,
        "hook_point": sae.hook_point,
        "hook_point_out": sae.hook_point_out,
        "layer": reads and reads.layer,
        "site": reads and reads.site,
        "d_in": sae.d_in,
        "d_out": sae.d_out,
        "d_sae": sae.d_sae,
        # Without the model nobody knows what its vectors can be compared with.
        "space": name
        if writes is None
        else model_id
        if in_stream(writes)
        else f"{model_id}/{writes.site}/{writes.layer}",
        "model_location": model and model.location,
        "model_hash": model and model.hash,
        "weights_location": sae.location,
        "weights_hash": sae.hash,
        "tool": f"featurestore {featurestore.__version__}",
        "created_at": datetime.datetime.now(datetime.UTC),
        **more,
    }


def in_stream(point: Any) -> bool:
    """Whether what is written there adds to the residual stream."""
    return point.site in RESIDUAL_SITES


def of_weights(name: str, first: int, sae: Sae, unembedding: Unembedding | None) -> dict[str, Any]:
    """Columns of stored.features that weights alone give, for features from `first`, which `sae` has; without
    `unembedding` no logits."""
    columns: dict[str, Any] = {
        "dictionary": pyarrow.array([name] * sae.d_sae, pyarrow.string()),
        "feature": numpy.arange(first, first + sae.d_sae, dtype=numpy.int32),
    }
    decoder, encoder, cosine = compute_norms(sae, 0, sae.d_sae)
    columns |= {"decoder_norm": decoder, "encoder_norm": encoder}
    if cosine is not None:
        columns["encoder_decoder_cosine"] = pyarrow.array(cosine, mask=~numpy.isfinite(cosine))
    if unembedding is not None:
        found = compute_logit_effects(sae.W_dec_total, unembedding.matrix, unembedding.centred)
        columns |= {
            "top_logits": make_logit_column(found.ids, found.values, unembedding.pieces),
            "bottom_logits": make_logit_column(found.low_ids, found.low_values, unembedding.pieces),
            "logit_mean": found.mean,
            "logit_std": found.std,
            "logit_skewness": pyarrow.array(found.skewness, mask=~numpy.isfinite(found.skewness)),
            "logit_kurtosis": pyarrow.array(found.kurtosis, mask=~numpy.isfinite(found.kurtosis)),
            "logit_histogram": _lists(found.histogram),
        }
    return columns


def coactive(pairs: Coactivity, first: int, last: int) -> pyarrow.Array:
    """The column coactive for features first .. last - 1."""
    cuts = numpy.searchsorted(pairs.feature, numpy.arange(first, last + 1))
    mine = slice(cuts[0], cuts[-1])
    others = [pairs.other[mine].astype(numpy.int32), pairs.jaccard[mine].astype(numpy.float32)]
    structs = pyarrow.StructArray.from_arrays(list(map(pyarrow.array, others)), names=["feature", "jaccard"])
    return pyarrow.ListArray.from_arrays((cuts - cuts[0]).astype(numpy.int32), structs)


def statistics(counted: Counted) -> dict[str, Any]:
    """Columns of stored.features with what is counted of a span of features."""
    tally = counted.accumulator.tally
    counts = {name: value.cpu().numpy() for name, value in tally.tensors().items()}
    active = counts["active_tokens"]
    dead = active == 0
    with numpy.errstate(divide="ignore", invalid="ignore"):
        mean = tally.sum.value() / active
        spread = numpy.sqrt(numpy.maximum(tally.sum_squares.value() / active - mean**2, 0))
    return {
        "density": active / max(1, counted.counts.tokens),
        "active_tokens": active,
        "active_contexts": counts["active_contexts"],
        "mean_activation": pyarrow.array(mean.astype(numpy.float32), mask=dead),
        "std_activation": pyarrow.array(spread.astype(numpy.float32), mask=dead),
        "max_activation": pyarrow.array(counts["max"], mask=dead),
        "first_active": pyarrow.array(counts["first"], mask=dead),
        "last_active": pyarrow.array(counts["last"], mask=dead),
        "histogram": _lists(counts["histogram"]),
    }


def _lists(rows: numpy.ndarray) -> pyarrow.Array:
    """(n, k) as a list of k for each row."""
    n, k = rows.shape
    return pyarrow.ListArray.from_arrays(
        numpy.arange(0, (n + 1) * k, k, dtype=numpy.int32), pyarrow.array(rows.reshape(-1))
    )


def examples(name: str, corpus: str, counted: Counted) -> pyarrow.Table:
    """Rows of stored.examples, ordered by feature."""
    top, sample = counted.accumulator.examples.top(), counted.accumulator.examples.sample()
    tally = counted.accumulator.tally
    octaves = tally.histogram.cpu().numpy().reshape(-1, OCTAVES, tally.histogram.shape[1] // OCTAVES).sum(2)
    held_out = tally.held_out.cpu().numpy()
    in_band = numpy.stack([octaves - held_out, held_out], axis=2).reshape(-1)
    kept = numpy.bincount(sample.cell, minlength=len(in_band))
    weight = in_band[sample.cell] / numpy.maximum(kept[sample.cell], 1)
    octave = sample.cell // 2 % OCTAVES
    # The lowest octave's bin also holds all that is weaker, the highest one's all that is stronger.
    low = numpy.where(octave == 0, 0, 2.0 ** (octave - 6))
    high = numpy.where(octave == OCTAVES - 1, numpy.inf, 2.0 ** (octave - 5))
    # Ranks go by strength in the band, whether held out or not; the sample was ordered by its hashes.
    order = numpy.lexsort((sample.hash, -numpy.abs(sample.activation), sample.cell // 2))
    sample, low, high, weight = sample.take(order), low[order], high[order], weight[order]
    top = top.take(numpy.lexsort((top.hash, top.order, top.cell // 2)))
    nothing = numpy.zeros(len(top), bool)
    tables = [
        _rows(name, corpus, top, counted.first + top.cell // 2, "top", nothing, nothing, nothing),
        _rows(name, corpus, sample, counted.first + sample.cell // 2 // OCTAVES, None, low, high, weight),
    ]
    return pyarrow.concat_tables(tables).sort_by("feature")


def _rows(
    name: str,
    corpus: str,
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
            "rank": rank_in_groups(examples.cell // 2).astype(numpy.int32),
            "weight": column(weight),
            "corpus": pyarrow.array([corpus] * count, pyarrow.string()),
            "document": examples.document,
            "start": examples.start,
            "length": examples.length,
            "position": examples.position,
            "activation": examples.activation,
            "offsets": pyarrow.ListArray.from_arrays(ends, pyarrow.array(examples.offsets)),
            "activations": pyarrow.ListArray.from_arrays(ends, pyarrow.array(examples.values)),
        }
    )


def contexts(name: str, corpus: str, drawn: ContextSample) -> pyarrow.Table:
    """Rows of stored.contexts."""
    count = len(drawn)
    ends = numpy.concatenate([[0], numpy.cumsum(drawn.counts)]).astype(numpy.int32)
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * count, pyarrow.string()),
            "context": numpy.arange(count, dtype=numpy.int32),
            "corpus": pyarrow.array([corpus] * count, pyarrow.string()),
            "document": drawn.document,
            "start": drawn.start,
            "length": drawn.length,
            "features": pyarrow.ListArray.from_arrays(ends, pyarrow.array(drawn.features)),
            "peaks": pyarrow.ListArray.from_arrays(ends, pyarrow.array(drawn.peaks)),
        }
    )
