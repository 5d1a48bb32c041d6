"""How well a dictionary works: L0, variance explained and dead features on some text; norms from its weights alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch

from featurestore import BadRequest
from ingest.corpus import Context, Corpus
from ingest.model import Model
from ingest.sae import Sae

TOGETHER = 16  # contexts run at once


def facts(sae: Sae) -> dict[str, Any]:
    """What the weights alone say."""
    norms = sae.W_dec.norm(dim=1)
    return {
        "location": sae.location,
        "kind": sae.kind,
        "architecture": sae.architecture,
        "hook_point": sae.hook_point,
        "hook_point_out": sae.hook_point_out,
        "d_in": sae.d_in,
        "d_out": sae.d_out,
        "d_sae": sae.d_sae,
        "trained_on_context": sae.context_size,
        "prepend_bos": sae.prepend_bos,
        "decoder_norm_smallest": float(norms.min()),
        "decoder_norm_mean": float(norms.mean()),
        "decoder_norm_largest": float(norms.max()),
        "weights_hash": sae.hash,
    }


def _alike(contexts: list[Context]) -> Iterator[list[Context]]:
    """Contexts of equal length, some at a time, so that they need no padding."""
    for _, group in itertools.groupby(contexts, key=lambda context: context.length):
        alike = list(group)
        for first in range(0, len(alike), TOGETHER):
            yield alike[first : first + TOGETHER]


@torch.inference_mode()
def measure(sae: Sae, model: Model, corpus: Corpus) -> dict[str, Any]:
    """L0 (mean features active on a token), variance explained and dead features, BOS left out.

    Variance explained is 1 - sum |y - y'|^2 / sum |y - mean(y)|^2 over tokens, y being what the dictionary should give:
    its input, or for a transcoder what the model has at hook_point_out.
    """
    reads = model.hook_point(sae.hook_point)
    writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else reads
    bos = [model.bos] if sae.prepend_bos and model.bos is not None else []
    size = min(sae.context_size or model.max_context, model.max_context) - len(bos)
    points = [reads] if reads is writes else [reads, writes]
    fired = torch.zeros(sae.d_sae, dtype=torch.int64)
    tokens, residue = 0, 0.0
    sums, squares = torch.zeros(sae.d_out, dtype=torch.float64), 0.0
    for contexts in _alike(corpus.contexts(size)):
        runs = [corpus.tokens[c.document][c.start : c.start + c.length] for c in contexts]
        ids = torch.tensor([[*bos, *run.tolist()] for run in runs])
        read = model.read(ids, points)
        x, y = (read[point.name][:, len(bos) :].flatten(0, 1).float() for point in (reads, writes))
        if x.shape[1] != sae.d_in or y.shape[1] != sae.d_out:
            raise BadRequest(
                f"{sae.location} reads {sae.d_in} and writes {sae.d_out} numbers, but {model.location} has "
                f"{x.shape[1]} at {reads.name} and {y.shape[1]} at {writes.name}: the weights are of another model"
            )
        activations = sae.encode(x)
        fired += (activations != 0).sum(0)
        residue += float((y - sae.decode(activations, x)).double().square().sum())
        sums += y.double().sum(0)
        squares += float(y.double().square().sum())
        tokens += len(x)
    spread = squares - float((sums / tokens).square().sum()) * tokens
    return {
        "tokens": tokens,
        "l0": float(fired.sum()) / tokens,
        "variance_explained": 1 - residue / spread if spread > 0 else None,  # None: one token has no variance
        "never_fired": int((fired == 0).sum()),
        "never_fired_fraction": float((fired == 0).float().mean()),
    }
