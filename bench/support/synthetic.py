"""A store of any size, shaped like a real one: heavy-tailed densities, logit effects, labels, 20 examples of 64
tokens."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute

import featurestore

SHARD = 65_536
D_SAE = 131_072  # of one dictionary
LAYERS = 24
VOCABULARY, TOKENS, DOCUMENT = 50_000, 4_000_000, 1_000
COUNTED = 100_000_000  # tokens that densities are computed over
EXAMPLES, WINDOW, LOGITS = 20, 64, 20
WIDE_VOCABULARY, WIDE_EXAMPLES = 262_144, 2_000
WORDS = 20_000
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def build(
    path: Path,
    features: int,
    dim: int,
    advance: Callable[[int], None],
    examples: bool = True,
    of_dictionary: int = D_SAE,
) -> featurestore.Store:
    """Write a store of `features` features with decoder vectors of `dim` numbers, in one commit a dictionary.

    A dictionary has at most `of_dictionary` features. Continues a store whose writing was interrupted.
    """
    store = featurestore.Store(path) if path.exists() else featurestore.create(path)
    names = {dictionary.dictionary for dictionary in store.dictionaries()}
    if not names:
        with store.writer("bench") as writer:
            _write_corpus(writer, numpy.random.default_rng(0))
    for number, first in enumerate(range(0, features, of_dictionary)):
        d_sae = min(of_dictionary, features - first)
        name = f"synthetic/{number}-res"
        if name in names:
            continue
        rng = numpy.random.default_rng((1, number))
        with store.writer("bench") as writer:
            writer.add(
                "dictionaries", pyarrow.Table.from_pylist([_make_dictionary(number, d_sae, max(dim, 1))]), key=name
            )
            for shard, start in enumerate(range(0, d_sae, SHARD)):
                rows = numpy.arange(start, min(start + SHARD, d_sae), dtype=numpy.int32)
                table, strongest = _draw_features(rng, name, rows)
                writer.add("features", table, key=name, shard=shard)
                if examples:
                    writer.add("examples", _draw_examples(rng, name, rows, strongest), key=name, shard=shard)
                writer.add("labels", draw_labels(rng, name, rows), key=name)
                if dim:
                    writer.add_vectors(name, rng.standard_normal((len(rows), dim), dtype=numpy.float32), shard=shard)
                advance(len(rows))
    return store


def build_wide(path: Path) -> featurestore.Store:
    """Write a store of WIDE_EXAMPLES examples over a vocabulary of WIDE_VOCABULARY tokens, as Gemma's is."""
    rng, name, d_sae = numpy.random.default_rng(0), "synthetic/wide", WIDE_EXAMPLES // EXAMPLES
    store = featurestore.create(path)
    with store.writer("bench") as writer:
        pieces = [f" {make_word(n)}" for n in range(WIDE_VOCABULARY)]
        row = {"tokenizer": "synthetic", "pieces": pieces, "bytes": [piece.encode() for piece in pieces]}
        writer.add("tokenizers", pyarrow.Table.from_pylist([row]), key="synthetic")
        documents = [
            {"document": n, "name": f"document {n}", "tokenizer": "synthetic", "length": DOCUMENT} for n in range(200)
        ]
        stream = rng.integers(0, WIDE_VOCABULARY, len(documents) * DOCUMENT).astype(numpy.int32)
        writer.add_corpus("synthetic", pyarrow.Table.from_pylist(documents), stream)
        dictionary = _make_dictionary(0, d_sae, 1) | {"dictionary": name, "source": "wide"}
        writer.add("dictionaries", pyarrow.Table.from_pylist([dictionary]), key=name)
        examples = [
            {"dictionary": name, "feature": n // EXAMPLES, "band": "top", "rank": n % EXAMPLES, "corpus": "synthetic"}
            | {"document": n % 200, "start": start, "length": WINDOW, "position": start, "activation": 1.0}
            | {"offsets": [0], "activations": [1.0]}
            for n, start in enumerate(rng.integers(0, DOCUMENT - WINDOW, WIDE_EXAMPLES).tolist())
        ]
        writer.add("examples", pyarrow.Table.from_pylist(examples), key=name)
    return store


def _draw_zipf(rng: numpy.random.Generator, most: int, size: Any) -> numpy.ndarray:
    """Numbers below `most`, the n-th about 1/n as frequent as the first, int32."""
    numbers: numpy.ndarray = most ** rng.random(size) - 1
    return numbers.astype(numpy.int32)


def _make_pieces() -> list[str]:
    return [f" {make_word(n)}" if n % 3 else make_word(n) for n in range(VOCABULARY)]


def make_word(n: int) -> str:
    """A word for each number: syllables, short for small numbers."""
    syllables = ("ka", "to", "mi", "re", "su", "no", "la", "ve", "di", "po", "en", "ar")
    text = ""
    while True:
        n, rest = divmod(n, len(syllables))
        text += syllables[rest]
        if not n:
            return text


def _write_corpus(writer: Any, rng: numpy.random.Generator) -> None:
    pieces = _make_pieces()
    row = {"tokenizer": "synthetic", "pieces": pieces, "bytes": [piece.encode() for piece in pieces]}
    writer.add("tokenizers", pyarrow.Table.from_pylist([row]), key="synthetic")
    count = TOKENS // DOCUMENT
    documents = pyarrow.table(
        {
            "document": numpy.arange(count, dtype=numpy.int32),
            "name": [f"document {n}" for n in range(count)],
            "tokenizer": ["synthetic"] * count,
            "length": numpy.full(count, DOCUMENT, dtype=numpy.int32),
        }
    )
    writer.add_corpus("synthetic", documents, _draw_zipf(rng, VOCABULARY, TOKENS))


def _make_dictionary(number: int, d_sae: int, dim: int) -> dict[str, Any]:
    layer = number % LAYERS
    return {
        "dictionary": f"synthetic/{number}-res",
        "model": "synthetic",
        "source": f"{number}-res",
        "kind": "sae",
        "architecture": "jumprelu",
        "hook_point": f"blocks.{layer}.hook_resid_post",
        "layer": layer,
        "site": "resid_post",
        "d_in": dim,
        "d_out": dim,
        "d_sae": d_sae,
        "space": "synthetic",
        "tokenizer": "synthetic",
        "corpus": "synthetic",
        "context_size": 1024,
        "tokens_counted": COUNTED,
        "tokens_excluded": 0,
        "tool": "bench",
        "created_at": NOW,
    }


def _draw_features(rng: numpy.random.Generator, name: str, rows: numpy.ndarray) -> tuple[pyarrow.Table, numpy.ndarray]:
    n = len(rows)
    density = numpy.minimum(10 ** rng.normal(-4, 0.8, n), 0.6)
    active = numpy.where(rng.random(n) < 0.03, 0, (density * COUNTED)).astype(numpy.int64)
    strongest = (2 ** rng.normal(3, 1, n)).astype(numpy.float32)
    # Counts fall by half every octave up to the largest activation.
    bins = numpy.arange(featurestore.HISTOGRAM_BINS)
    reach = numpy.log2(strongest)[:, None] * 4 + 24
    share = numpy.where(bins < reach, 2.0 ** (-numpy.abs(bins - reach + 10) / 4), 0)
    share /= share.sum(1, keepdims=True)
    histogram = rng.poisson(share * active[:, None]).astype(numpy.int64)
    dead = active == 0

    def statistic(values: numpy.ndarray) -> pyarrow.Array:
        """A float32 column, null for dead features."""
        return pyarrow.array(values.astype(numpy.float32), mask=dead)

    table = pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * n),
            "feature": rows,
            "density": active / COUNTED,
            "active_tokens": active,
            "active_contexts": active // 2,
            "mean_activation": statistic(strongest / 4),
            "std_activation": statistic(strongest / 5),
            "max_activation": statistic(strongest),
            "histogram": pyarrow.ListArray.from_arrays(
                numpy.arange(0, (n + 1) * len(bins), len(bins), dtype=numpy.int32), pyarrow.array(histogram.reshape(-1))
            ),
            "decoder_norm": numpy.ones(n, numpy.float32),
            "encoder_norm": (1 + rng.random(n)).astype(numpy.float32),
            "encoder_decoder_cosine": rng.random(n).astype(numpy.float32),
            "top_logits": _draw_logits(rng, n, 1),
            "bottom_logits": _draw_logits(rng, n, -1),
        }
    )
    return table, strongest


_TEXTS = pyarrow.array(_make_pieces())


def _draw_logits(rng: numpy.random.Generator, n: int, sign: int) -> pyarrow.Array:
    values = sign * -numpy.sort(-rng.gamma(2, 0.5, (n, LOGITS)).astype(numpy.float32), axis=1)
    ids = pyarrow.array(_draw_zipf(rng, VOCABULARY, n * LOGITS))
    columns = [_TEXTS.take(ids), pyarrow.array(values.reshape(-1)), ids]
    pairs = pyarrow.StructArray.from_arrays(columns, ["token", "value", "id"])
    return pyarrow.ListArray.from_arrays(numpy.arange(0, (n + 1) * LOGITS, LOGITS, dtype=numpy.int32), pairs)


def _draw_examples(
    rng: numpy.random.Generator, name: str, rows: numpy.ndarray, strongest: numpy.ndarray
) -> pyarrow.Table:
    n = len(rows) * EXAMPLES
    which = numpy.tile(numpy.arange(EXAMPLES), len(rows))
    top = which < EXAMPLES // 2
    octave = 3 - (which - EXAMPLES // 2) // 5
    low = numpy.where(top, numpy.nan, 2.0**octave).astype(numpy.float32)
    # Some active tokens in each window, always the one that the example is centred on.
    fires = rng.random((n, WINDOW), dtype=numpy.float32) < (rng.gamma(1.5, 0.05, n)[:, None])
    fires[:, WINDOW // 2] = True
    counts = fires.sum(1)
    offsets = numpy.nonzero(fires)[1].astype(numpy.uint16)
    values = rng.random(len(offsets), dtype=numpy.float32) * numpy.repeat(numpy.repeat(strongest, EXAMPLES), counts)
    ends = numpy.append(0, numpy.cumsum(counts)).astype(numpy.int32)
    start = rng.integers(0, DOCUMENT - WINDOW, n).astype(numpy.int32)
    bands = pyarrow.array(["top", "[8, 16)", "[4, 8)"]).take(pyarrow.array(numpy.where(top, 0, 4 - octave)))
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * n),
            "feature": numpy.repeat(rows, EXAMPLES),
            "band": bands,
            "band_low": pyarrow.array(low, mask=top),
            "band_high": pyarrow.array(2 * low, mask=top),
            "rank": numpy.where(top, which, (which - EXAMPLES // 2) % 5).astype(numpy.int32),
            "weight": pyarrow.array(numpy.full(n, 7.5, numpy.float32), mask=top),
            "corpus": pyarrow.array(["synthetic"] * n),
            "document": rng.integers(0, TOKENS // DOCUMENT, n).astype(numpy.int32),
            "start": start,
            "length": numpy.full(n, WINDOW, numpy.int32),
            "position": start + WINDOW // 2,
            "activation": (numpy.repeat(strongest, EXAMPLES) * rng.random(n)).astype(numpy.float32),
            "offsets": pyarrow.ListArray.from_arrays(ends, pyarrow.array(offsets)),
            "activations": pyarrow.ListArray.from_arrays(ends, pyarrow.array(values)),
        }
    )


_LEXICON = pyarrow.array([make_word(n) for n in range(WORDS)])


def draw_labels(rng: numpy.random.Generator, name: str, rows: numpy.ndarray) -> pyarrow.Table:
    """Labels of nine made-up words for features of a dictionary."""
    n = len(rows)
    words = [_LEXICON.take(pyarrow.array(_draw_zipf(rng, WORDS, n))) for _ in range(9)]
    return pyarrow.table(
        {
            "dictionary": pyarrow.array([name] * n),
            "feature": rows,
            "label": pyarrow.compute.binary_join_element_wise(*words, " "),
            "explainer": pyarrow.array(["a-model"] * n),
            "prompt": pyarrow.array(["pairs/1"] * n),
            "examples": numpy.full(n, EXAMPLES, numpy.int32),
            "tool": pyarrow.array(["bench"] * n),
            "created_at": pyarrow.array([NOW] * n, pyarrow.timestamp("us", tz="UTC")),
        }
    )


def feature_ids(features: int, count: int, seed: int = 1) -> Iterator[str]:
    """Yields ids of features drawn at random."""
    for n in numpy.random.default_rng(seed).integers(0, features, count).tolist():
        yield f"synthetic/{n // D_SAE}-res/{n % D_SAE}"
