"""The forward pass of BERT encoders, such as MiniLM, in NumPy: mean pooling, then L2 norm.

Equal to transformers' within 1e-5. Texts of equal length are computed together, so that nothing is padded or masked.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from featurestore.display.text import first_line
from featurestore.errors import Unavailable
from featurestore.progress import Stage
from featurestore.search.encoders.blas_threads import one_blas_thread
from featurestore.search.encoders.mapped_tensors import map_tensors
from featurestore.search.encoders.weights_hash import hash_weights

WEIGHTS, CONFIG, TOKENIZER = "model.safetensors", "config.json", "tokenizer.json"
# Tokens that go through the layers together; more do not fit the processor's cache.
BATCH_TOKENS = 2048
BLOCK = 8192  # numbers to which one function is applied at a time, for the same reason
# The standard normal distribution function is the logistic function of this odd polynomial in x, within 2e-8; computed
# so, GELU takes 16 passes of additions and products and one exponential. Fitted by least squares, x from 0 to 7.
LOGIT = (
    1.5957684316539364,
    0.07266856490589409,
    -6.625747546778433e-05,
    -0.00011048120819494918,
    7.938352822077412e-06,
    -2.66901634652858e-07,
    3.611440049788861e-09,
)


def recognises(folder: Path) -> bool:
    """Whether a folder holds an encoder that this module computes, from its config and the names of its files."""
    if not all((folder / name).is_file() for name in (WEIGHTS, CONFIG, TOKENIZER)):
        return False
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(config, dict)
        and config.get("model_type") == "bert"
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and config.get("embedding_size", config.get("hidden_size")) == config.get("hidden_size")
    )


class Linear(NamedTuple):
    """x @ weight.T + bias."""

    weight: numpy.ndarray  # (out, in)
    bias: numpy.ndarray  # (out,)

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        out: numpy.ndarray = x @ self.weight.T
        out += self.bias
        return out


class Norm(NamedTuple):
    """Layer normalisation."""

    weight: numpy.ndarray  # (d,)
    bias: numpy.ndarray  # (d,)
    epsilon: float

    def __call__(self, x: numpy.ndarray) -> numpy.ndarray:
        x -= x.mean(axis=-1, keepdims=True)
        variance = numpy.einsum("td,td->t", x, x) / numpy.float32(x.shape[-1])
        x *= (1 / numpy.sqrt(variance + numpy.float32(self.epsilon)))[:, None]
        x *= self.weight
        x += self.bias
        return x


class Layer(NamedTuple):
    """One layer; `attend_in` gives queries, keys and values side by side."""

    attend_in: Linear
    attend_out: Linear
    attend_norm: Norm
    widen: Linear
    narrow: Linear
    norm: Norm


class BertEncoder:
    """Turns texts into unit vectors. Safe to share between threads."""

    def __init__(self, folder: Path, max_tokens: int, few: int):
        """`folder` is one that `recognises` knows. Texts are cut at `max_tokens`; up to `few` stay on one thread.

        Raises Unavailable where a package is missing, or the files are not what their config says.
        """
        try:
            import threadpoolctl  # noqa: F401 - said now rather than at the first text
            import tokenizers
        except ImportError as exc:
            raise Unavailable(
                f"embedding text with {folder.name} needs {exc.name}: pip install 'featurestore[embed]', "
                "or search by words (mode keyword)"
            ) from None
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            tensors = _bare_names(map_tensors(folder / WEIGHTS))
            self._tokenizer = tokenizers.Tokenizer.from_file(str(folder / TOKENIZER))
            self._read(config, tensors)
        except Unavailable:
            raise
        except Exception as exc:  # the tokenizer's and the file's own kinds of error
            raise Unavailable(f"no embedder at {folder}: {first_line(exc)}") from None
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(min(max_tokens, len(self._positions)))
        self._few = few
        self.weights_hash = hash_weights(tensors, {name: tensor.shape for name, tensor in tensors.items()})

    def _read(self, config: dict[str, Any], tensors: dict[str, numpy.ndarray]) -> None:
        d, wide = int(config["hidden_size"]), int(config["intermediate_size"])
        self.dim, self._heads = d, int(config["num_attention_heads"])
        if d % self._heads:
            raise Unavailable(f"no embedder: {d} numbers cannot be shared among {self._heads} heads")
        epsilon = float(config.get("layer_norm_eps", 1e-12))

        def tensor(name: str, *shape: int | None) -> numpy.ndarray:
            """A tensor in float32. Raises Unavailable where it is missing or has another shape."""
            if name not in tensors:
                raise Unavailable(f"no embedder: {WEIGHTS} has no tensor {name}")
            value = tensors[name]
            wanted = [m if n is None else n for n, m in zip(shape, value.shape, strict=False)]
            if list(value.shape) != wanted or len(wanted) != len(shape):
                raise Unavailable(f"no embedder: {name} in {WEIGHTS} has the shape {value.shape}, config says {shape}")
            return numpy.asarray(value, numpy.float32)

        def linear(name: str, inputs: int, outputs: int) -> Linear:
            """A linear map by its name."""
            return Linear(tensor(f"{name}.weight", outputs, inputs), tensor(f"{name}.bias", outputs))

        def norm(name: str) -> Norm:
            """A layer normalisation by its name."""
            return Norm(tensor(f"{name}.weight", d), tensor(f"{name}.bias", d), epsilon)

        self._words = tensor("embeddings.word_embeddings.weight", None, d)
        kinds = tensor("embeddings.token_type_embeddings.weight", None, d)
        # A text is one segment, so that all its tokens are of the first kind.
        self._positions = tensor("embeddings.position_embeddings.weight", None, d) + kinds[0]
        self._norm = norm("embeddings.LayerNorm")
        self._layers = []
        for n in range(int(config["num_hidden_layers"])):
            at = f"encoder.layer.{n}"
            parts = [linear(f"{at}.attention.self.{name}", d, d) for name in ("query", "key", "value")]
            self._layers.append(
                Layer(
                    Linear(*(numpy.concatenate(values) for values in zip(*parts, strict=True))),
                    linear(f"{at}.attention.output.dense", d, d),
                    norm(f"{at}.attention.output.LayerNorm"),
                    linear(f"{at}.intermediate.dense", d, wide),
                    linear(f"{at}.output.dense", wide, d),
                    norm(f"{at}.output.LayerNorm"),
                )
            )

    def __call__(self, texts: Sequence[str], stage: Stage | None = None) -> numpy.ndarray:
        """Unit vectors of `texts`, (n, d) float32."""
        out = numpy.empty((len(texts), self.dim), numpy.float32)
        if len(texts) <= self._few:
            ids = [self._tokenizer.encode(text).ids for text in texts]
        else:
            ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        order = sorted(range(len(texts)), key=lambda i: len(ids[i]))
        batches = list(_cut(order, [len(ids[i]) for i in order]))

        def encode(batch: list[int]) -> int:
            """Write the vectors of a batch. Returns its size."""
            out[batch] = self._encode([ids[i] for i in batch])
            return len(batch)

        with one_blas_thread():
            if len(batches) == 1 or len(texts) <= self._few:
                for batch in batches:
                    count = encode(batch)
                    if stage:
                        stage(count)
            else:  # the longest first, so that no thread is left with one at the end
                with ThreadPoolExecutor(_processors(), thread_name_prefix="embed") as pool:
                    for count in pool.map(encode, batches[::-1]):
                        if stage:
                            stage(count)
        return out

    def _encode(self, ids: list[list[int]]) -> numpy.ndarray:
        """Unit vectors of tokenised texts that are ordered by length, (n, d) float32."""
        runs = [(length, len(list(run))) for length, run in groupby(map(len, ids))]
        positions = numpy.concatenate([numpy.tile(numpy.arange(length), count) for length, count in runs])
        hidden = self._words[numpy.concatenate([numpy.asarray(tokens) for tokens in ids])]  # (tokens, d)
        hidden += self._positions[positions]
        hidden = self._norm(hidden)
        for layer in self._layers:
            attended = layer.attend_out(self._attend(layer.attend_in(hidden), runs))
            attended += hidden
            hidden = layer.attend_norm(attended)
            wide = layer.widen(hidden)
            _gelu(wide)
            narrow = layer.narrow(wide)
            narrow += hidden
            hidden = layer.norm(narrow)
        starts = numpy.cumsum([0] + [len(tokens) for tokens in ids[:-1]])
        # The norm is taken away afterwards, so that a sum does as well as a mean.
        sums: numpy.ndarray = numpy.add.reduceat(hidden, starts, axis=0)
        sums /= numpy.sqrt(numpy.einsum("nd,nd->n", sums, sums))[:, None]
        return sums

    def _attend(self, mixed: numpy.ndarray, runs: list[tuple[int, int]]) -> numpy.ndarray:
        """What the tokens (tokens, 3 d) of each text take from one another, (tokens, d)."""
        out = numpy.empty((len(mixed), self.dim), numpy.float32)
        size = self.dim // self._heads
        start = 0
        for length, count in runs:
            rows = slice(start, start + length * count)
            start = rows.stop
            # (3, texts, heads, tokens, size)
            query, key, value = mixed[rows].reshape(count, length, 3, self._heads, size).transpose(2, 0, 3, 1, 4)
            scores = query @ key.transpose(0, 1, 3, 2)
            scores *= numpy.float32(size**-0.5)
            scores -= scores.max(axis=-1, keepdims=True)
            numpy.exp(scores, out=scores)
            scores /= scores.sum(axis=-1, keepdims=True)
            out[rows].reshape(count, length, self._heads, size)[:] = (scores @ value).transpose(0, 2, 1, 3)
        return out


def _gelu(x: numpy.ndarray) -> None:
    """Replace each number by its GELU, block by block."""
    flat = x.reshape(-1)
    with numpy.errstate(over="ignore"):  # far below 0 the exponential is infinite, and the result 0
        for start in range(0, len(flat), BLOCK):
            block = flat[start : start + BLOCK]
            square = block * block
            logit = square * numpy.float32(-LOGIT[-1])
            for coefficient in LOGIT[-2:0:-1]:
                logit -= numpy.float32(coefficient)
                logit *= square
            logit -= numpy.float32(LOGIT[0])
            logit *= block
            numpy.exp(logit, out=logit)
            logit += numpy.float32(1)
            block /= logit


def _cut(order: list[int], lengths: list[int]) -> Iterator[list[int]]:
    """Batches of at most BATCH_TOKENS tokens, or of one text."""
    batch: list[int] = []
    tokens = 0
    for i, length in zip(order, lengths, strict=True):
        if batch and tokens + length > BATCH_TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(i)
        tokens += length
    if batch:
        yield batch


@functools.cache
def _processors() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _bare_names(tensors: dict[str, numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Tensors by their names in a bare encoder: without the prefix and the heads of a model for another task."""
    names = {name: name.removeprefix("bert.") for name in tensors}
    return {
        short: tensors[name]
        for name, short in names.items()
        if short.startswith(("embeddings.", "encoder.", "pooler.")) and not short.endswith(".position_ids")
    }
