"""Measures a dictionary on some text: L0, variance explained and dead features, and whether L0 is as published."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from featurestore import BadRequest
from ingest.corpus.corpus import Context, Corpus
from ingest.model.model import Model
from ingest.sae import TILE, Sae

TOGETHER = 16  # contexts in a batch
# Inputs so many times as long as the median of their context are attention sinks; they would dominate the variance.
SINK = 10.0
TOLERANCE = 1.5  # L0 depends on the text: within this factor of what is published it agrees


class Read(NamedTuple):
    """Values of the model on t tokens: x (t, d_in) where the dictionary reads, y (t, d_out) where it writes.

    y is None for a cross-layer transcoder, since one layer's features do not give it alone.
    """

    x: torch.Tensor
    y: torch.Tensor | None
    left_out: int = 0  # number of attention sinks, in neither x nor y


def _batch(contexts: Sequence[Context]) -> Iterator[list[Context]]:
    """Yields batches of contexts of equal length, which need no padding."""
    for _, group in itertools.groupby(contexts, key=lambda context: context.length):
        alike = list(group)
        for first in range(0, len(alike), TOGETHER):
            yield alike[first : first + TOGETHER]


@torch.inference_mode()
def read_values(sae: Sae, model: Model, corpus: Corpus) -> Iterator[Read]:
    """Yields what the dictionary reads and should write, without BOS and attention sinks.

    Raises BadRequest when hooks or widths do not fit.
    """
    at = model.hook_point(*sae.reads)
    to = at if not sae.hook_point_out else None if sae.targets else model.hook_point(sae.hook_point_out)
    bos = model.begin(sae.prepend_bos)
    size = min(sae.context_size or model.max_context, model.max_context) - len(bos)
    points = [at] if to is None or to is at or to.name == at.name else [at, to]
    for contexts in _batch(corpus.contexts(size)):
        ids = torch.tensor([[*bos, *corpus.run(context).tolist()] for context in contexts])
        read = model.read(ids, points)
        lengths = read[at.name][:, len(bos) :].float().norm(dim=-1)
        kept = (lengths <= SINK * lengths.median(dim=1, keepdim=True).values).flatten()
        values_at = {point.name: read[point.name][:, len(bos) :].flatten(0, 1).float()[kept] for point in points}
        x, y = values_at[at.name], values_at[to.name] if to else None
        for point, values, width in ((at, x, sae.d_in), (to, y, sae.d_out)):
            if point and values is not None and values.shape[1] != width:
                raise BadRequest(
                    f"{sae.location} reads {sae.d_in} and writes {sae.d_out} numbers, but {model.location} has "
                    f"{values.shape[1]} at {point.name}: the weights are of another model"
                )
        yield Read(x, y, int((~kept).sum()))


@torch.inference_mode()
def measure_values(sae: Sae, seen: Iterable[Read]) -> dict[str, Any]:
    """Returns L0 (mean features active on a token), variance explained and dead features on the values of `seen`.

    Variance explained is 1 - sum |y - y'|^2 / sum |y - mean(y)|^2 over tokens, y being what the dictionary should give:
    its input, or for a transcoder the model's value at hook_point_out. It is None for a cross-layer transcoder, which
    would need all layers' features. Raises BadRequest without tokens.
    """
    fired = torch.zeros(sae.d_sae, dtype=torch.int64)
    tokens, left_out, residue = 0, 0, 0.0
    sums, squares = torch.zeros(sae.d_out, dtype=torch.float64), 0.0
    explained = True
    for x, y, without in seen:
        left_out += without
        tokens += len(x)
        output = _through(sae, x, fired, decoded=y is not None)
        if y is None or output is None:
            explained = False
            continue
        residue += float((y - output).double().square().sum())
        sums += y.double().sum(0)
        squares += float(y.double().square().sum())
    if not tokens:
        raise BadRequest(f"{sae.location}: there is no token to measure it on; give more text")
    spread = squares - float((sums / tokens).square().sum()) * tokens
    return {
        "tokens": tokens,
        "sinks_left_out": left_out,
        "l0": float(fired.sum()) / tokens,
        # None: one token has no variance, and one layer's features alone explain none.
        "variance_explained": 1 - residue / spread if spread > 0 and explained else None,
        "never_fired": int((fired == 0).sum()),
        "never_fired_fraction": float((fired == 0).float().mean()),
    }


def _through(sae: Sae, x: torch.Tensor, fired: torch.Tensor, decoded: bool) -> torch.Tensor | None:
    """Returns the dictionary's output for x, one slice of features after another; None unless `decoded`.

    Adds to `fired` (n,) the number of tokens on which each feature is active.
    """
    if not len(x):
        return x.new_zeros(0, sae.d_out) if decoded else None
    top = sae.top(x) if sae.activation in ("topk", "abstopk") else None
    step = max(1, TILE // len(x))
    out = None
    for start in range(0, sae.d_sae, step):
        activations = sae.encode(x, start, min(start + step, sae.d_sae), top)
        fired[start : start + step] += (activations != 0).sum(0)
        if decoded:
            part = sae.contribution(activations, start)
            out = part if out is None else out + part
    return sae.complete(out, x) if out is not None else None


def measure(sae: Sae, model: Model, corpus: Corpus) -> dict[str, Any]:
    """Returns measure_values of what the model has on a corpus."""
    return measure_values(sae, read_values(sae, model, corpus))


def agrees(sae: Sae, result: dict[str, Any]) -> bool | None:
    """Tells whether the measured L0 is the published one, up to TOLERANCE; None if none is published."""
    if sae.promised_l0 is None:
        return None
    least, most = sae.promised_l0
    l0: float = result["l0"]
    return least / TOLERANCE <= l0 <= most * TOLERANCE
