"""Rows of the store's tables, from statistics of features and from weights."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy
import pyarrow
import torch

import featurestore
from featurestore.extension.text import show_bytes
from ingest.harvest.forward_pass import FeatureStatistics
from ingest.model.model import RESIDUAL_SITES, HookPoint, Model
from ingest.sae import Sae
from ingest.statistics.coactivity import ContextSample
from ingest.statistics.examples import OCTAVES, Examples
from ingest.statistics.logits import compute_logit_effects, compute_norms, make_logit_column
from ingest.statistics.ragged import rank_in_groups
from ingest.statistics.token_table import summarise_tokens


class Unembedding(NamedTuple):
    """What turns a vector of the residual stream into effects on logits, see Model.unembedding."""

    matrix: torch.Tensor  # (vocabulary, d_model)
    centred: bool
    pieces: list[str]  # texts of the tokens

    @classmethod
    def of(cls, model: Model, pieces: list[bytes]) -> Unembedding:
        """Return a model's, with `pieces`, the bytes of its tokens. Rows beyond these only pad the matrix."""
        matrix, centred = model.unembedding()
        return cls(matrix[: len(pieces)], centred, [show_bytes(piece) for piece in pieces])

    def to(self, device: str) -> Unembedding:
        """Return the same on another device."""
        return self._replace(matrix=self.matrix.to(device))

    def __reduce__(self) -> tuple[type[Unembedding], tuple[Any, ...]]:
        return Unembedding, tuple(self.to("cpu"))  # other machines may lack the device


class Coactivity(NamedTuple):
    """Pairs of features that are active on the same tokens, see coactivity.find_coactive."""

    feature: numpy.ndarray
    other: numpy.ndarray
    jaccard: numpy.ndarray


def make_dictionary_row(model_id: str, source: str, sae: Sae, model: Model | None, **more: Any) -> dict[str, Any]:
    """Return the row of stored.dictionaries, with `more` columns. Without the model, layer and site are unknown."""
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
        "space": _name_space(name, model_id, writes),
        "model_location": model and model.location,
        "model_hash": model and model.hash,
        "weights_location": sae.location,
        "weights_hash": sae.hash,
        "neuronpedia_id": sae.neuronpedia_id,
        "origin": "harvest" if "corpus" in more else "weights",
        "tool": f"featurestore {featurestore.__version__}",
        "created_at": datetime.datetime.now(datetime.UTC),
        **more,
    }


def _name_space(name: str, model_id: str, writes: HookPoint | None) -> str:
    """Return the name of the space of a dictionary's vectors: those of one space can be compared."""
    if writes is None:  # without the model nothing is known to be comparable
        return name
    return model_id if writes.site in RESIDUAL_SITES else f"{model_id}/{writes.site}/{writes.layer}"


def writes_to_stream(model: Model, sae: Sae) -> bool:
    """Return whether a dictionary writes to the residual stream, so that its features have effects on logits."""
    return model.has_logits and model.hook_point(sae.hook_point_out or sae.hook_point).site in RESIDUAL_SITES


def make_weight_columns(name: str, first: int, sae: Sae, unembedding: Unembedding | None) -> dict[str, Any]:
    """Return columns of stored.features that weights alone give; logits only with `unembedding`.

    `sae` has the weights of the features from `first` on.
    """
    columns: dict[str, Any] = {
        "dictionary": pyarrow.array([name] * sae.d_sae, pyarrow.string()),
        "feature": numpy.arange(first, first + sae.d_sae, dtype=numpy.int32),
    }
    decoder, encoder, cosine = compute_norms(sae, 0, sae.d_sae)
    columns |= {"decoder_norm": decoder, "encoder_norm": encoder}
    if cosine is not None:
        columns["encoder_decoder_cosine"] = pyarrow.array(cosine, mask=~numpy.isfinite(cosine))
    if unembedding is not None:
        effects = compute_logit_effects(sae.W_dec_total, unembedding.matrix, unembedding.centred)
        columns |= {
            "top_logits": make_logit_column(effects.ids, effects.values, unembedding.pieces),
            "bottom_logits": make_logit_column(effects.low_ids, effects.low_values, unembedding.pieces),
            "logit_mean": effects.mean,
            "logit_std": effects.std,
            "logit_skewness": pyarrow.array(effects.skewness, mask=~numpy.isfinite(effects.skewness)),
            "logit_kurtosis": pyarrow.array(effects.kurtosis, mask=~numpy.isfinite(effects.kurtosis)),
            "logit_histogram": _make_lists(effects.histogram),
        }
    return columns


def make_coactive_column(pairs: Coactivity, first: int, last: int) -> pyarrow.Array:
    """Return the column coactive of features first .. last - 1."""
    cuts = numpy.searchsorted(pairs.feature, numpy.arange(first, last + 1))
    rows = slice(cuts[0], cuts[-1])
    others = [pairs.other[rows].astype(numpy.int32), pairs.jaccard[rows].astype(numpy.float32)]
    structs = pyarrow.StructArray.from_arrays(list(map(pyarrow.array, others)), names=["feature", "jaccard"])
    return pyarrow.ListArray.from_arrays((cuts - cuts[0]).astype(numpy.int32), structs)


def make_statistics_columns(statistics: FeatureStatistics) -> dict[str, Any]:
    """Return the columns of stored.features with statistics of a span of features."""
    tally = statistics.accumulator.tally
    counts = {name: value.cpu().numpy() for name, value in tally.tensors().items()}
    active = counts["active_tokens"]
    dead = active == 0
    mean, spread = tally.moments()
    distinct, most = summarise_tokens(*statistics.accumulator.tokens.counts(), len(active))
    return {
        "density": active / max(1, statistics.counts.tokens),
        "active_tokens": active,
        "active_contexts": counts["active_contexts"],
        "mean_activation": pyarrow.array(mean.astype(numpy.float32), mask=dead),
        "std_activation": pyarrow.array(spread.astype(numpy.float32), mask=dead),
        "max_activation": pyarrow.array(tally.largest(), mask=dead),
        "first_active": pyarrow.array(counts["first"], mask=dead),
        "last_active": pyarrow.array(counts["last"], mask=dead),
        "first_token_share": pyarrow.array(_share(counts["first_tokens"], active), mask=dead),
        "after_break_share": pyarrow.array(_share(counts["after_breaks"], active), mask=dead),
        "top_token_share": pyarrow.array(_share(most, active), mask=dead),
        "distinct_tokens": distinct,
        "histogram": _make_lists(counts["histogram"]),
    }


def _share(part: numpy.ndarray, whole: numpy.ndarray) -> numpy.ndarray:
    """Return float32 shares; those of nothing are 0."""
    shares: numpy.ndarray = (part / numpy.maximum(whole, 1)).astype(numpy.float32)
    return shares


def _make_lists(rows: numpy.ndarray) -> pyarrow.Array:
    """Return n lists of k numbers from rows (n, k)."""
    n, k = rows.shape
    return pyarrow.ListArray.from_arrays(
        numpy.arange(0, (n + 1) * k, k, dtype=numpy.int32), pyarrow.array(rows.reshape(-1))
    )


def make_example_rows(name: str, corpus: str, statistics: FeatureStatistics) -> pyarrow.Table:
    """Return rows of stored.examples, sorted by feature."""
    buffers, tally = statistics.accumulator.examples, statistics.accumulator.tally
    top, sample = buffers.top(), buffers.sample()
    octaves = tally.histogram.cpu().numpy().reshape(-1, OCTAVES, tally.histogram.shape[1] // OCTAVES).sum(2)
    held_out = tally.held_out.cpu().numpy()
    in_band = numpy.stack([octaves - held_out, held_out], axis=2).reshape(-1)
    kept = numpy.bincount(sample.cell, minlength=len(in_band))
    weight = in_band[sample.cell] / numpy.maximum(kept[sample.cell], 1)
    octave = sample.cell // 2 % OCTAVES
    # The lowest octave also holds all weaker activations, the highest one all stronger ones.
    low = numpy.where(octave == 0, 0, 2.0 ** (octave - 6 + tally.scale))
    high = numpy.where(octave == OCTAVES - 1, numpy.inf, 2.0 ** (octave - 5 + tally.scale))
    # Ranks are by strength within the band, held out or not; the sample was sorted by its hashes.
    order = numpy.lexsort((sample.hash, -numpy.abs(sample.activation), sample.cell // 2))
    sample, low, high, weight = sample.take(order), low[order], high[order], weight[order]
    top = top.take(numpy.lexsort((top.hash, top.order, top.cell // 2)))
    top_feature, sample_feature = top.cell // 2, sample.cell // 2 // OCTAVES
    tables = [
        _make_rows(name, corpus, top, statistics.first + top_feature, None),
        _make_rows(name, corpus, sample, statistics.first + sample_feature, Bands(low, high, weight)),
    ]
    return pyarrow.concat_tables(tables).sort_by("feature")


class Bands(NamedTuple):
    """Bands of sampled examples: float64 (n,) each."""

    low: numpy.ndarray
    high: numpy.ndarray
    weight: numpy.ndarray  # active tokens that an example stands for

    def names(self) -> list[str]:
        """Return the names of the bands, as in "[0.5, 1)"."""
        return [f"[{low:g}, {high:g})" for low, high in zip(self.low, self.high, strict=True)]


def _make_rows(
    name: str, corpus: str, examples: Examples, feature: numpy.ndarray, bands: Bands | None
) -> pyarrow.Table:
    """Return rows of stored.examples; without `bands` the examples are the strongest."""
    count = len(examples)
    ends = numpy.concatenate([[0], numpy.cumsum(examples.counts)]).astype(numpy.int32)
    low, high, weight = map(_make_floats, bands) if bands else [pyarrow.nulls(count, pyarrow.float32())] * 3
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * count, pyarrow.string()),
            "feature": feature.astype(numpy.int32),
            "band": pyarrow.array(bands.names() if bands else ["top"] * count, pyarrow.string()),
            "band_low": low,
            "band_high": high,
            "rank": rank_in_groups(examples.cell // 2).astype(numpy.int32),
            "weight": weight,
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


def _make_floats(values: numpy.ndarray) -> pyarrow.Array:
    """Return a float32 column, null where a number is not finite."""
    return pyarrow.array(values.astype(numpy.float32), mask=~numpy.isfinite(values))


def make_context_rows(name: str, corpus: str, sample: ContextSample) -> pyarrow.Table:
    """Return rows of stored.contexts."""
    count = len(sample)
    ends = numpy.concatenate([[0], numpy.cumsum(sample.counts)]).astype(numpy.int32)
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * count, pyarrow.string()),
            "context": numpy.arange(count, dtype=numpy.int32),
            "corpus": pyarrow.array([corpus] * count, pyarrow.string()),
            "document": sample.document,
            "start": sample.start,
            "length": sample.length,
            "features": pyarrow.ListArray.from_arrays(ends, pyarrow.array(sample.features)),
            "peaks": pyarrow.ListArray.from_arrays(ends, pyarrow.array(sample.peaks)),
        }
    )
