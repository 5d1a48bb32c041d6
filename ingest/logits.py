"""What is known of features from weights alone: the tokens they promote, norms, and how encoder and decoder align."""

from __future__ import annotations

import numpy
import pyarrow
import torch

from ingest.sae import Sae

LOGITS = 10  # tokens kept at each end
BLOCK = 2048  # features whose logits are held at once


def logit_effects(
    W_dec: torch.Tensor, unembedding: torch.Tensor, centred: bool
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Tokens whose logits each decoder vector raises and lowers most.

    `W_dec` is (n, d_model), `unembedding` (vocabulary, d_model) with the final norm's gain folded in; `centred` says
    that this norm removes the mean, so each vector's mean is removed first. The norm's division by the stream's size,
    which differs for each token, is left out: logits are those of a stream of unit scale. Gives ids and values of the
    top (descending) and of the bottom (ascending): four arrays (n, 10).
    """
    most = min(LOGITS, unembedding.shape[0])
    parts: list[list[numpy.ndarray]] = []
    for begin in range(0, len(W_dec), BLOCK):
        vectors = W_dec[begin : begin + BLOCK]
        if centred:
            vectors = vectors - vectors.mean(dim=1, keepdim=True)
        logits = vectors @ unembedding.T
        top = logits.topk(most, dim=1)
        bottom = logits.topk(most, dim=1, largest=False)
        parts.append([x.cpu().numpy() for x in (top.indices, top.values, bottom.indices, bottom.values)])
    ids, values, low_ids, low_values = (numpy.concatenate(column) for column in zip(*parts, strict=True))
    return ids, values, low_ids, low_values


def logit_column(ids: numpy.ndarray, values: numpy.ndarray, pieces: list[str]) -> pyarrow.Array:
    """Token ids and values, (n, k), as a list of structs {token, value} for each row."""
    n, k = ids.shape
    tokens = pyarrow.array(pieces, pyarrow.string()).take(pyarrow.array(ids.reshape(-1)))
    effects = pyarrow.StructArray.from_arrays(
        [tokens, pyarrow.array(values.reshape(-1), pyarrow.float32())], names=["token", "value"]
    )
    return pyarrow.ListArray.from_arrays(numpy.arange(0, n * k + 1, k, dtype=numpy.int32), effects)


def norms(sae: Sae) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray | None]:
    """Decoder norms, encoder norms and their cosines, (n,) float32; the cosines are None when widths differ, NaN where a
    vector is zero."""
    decoder = sae.W_dec.norm(dim=1)
    encoder = sae.W_enc.norm(dim=0)
    if sae.d_in != sae.d_out:
        return decoder.cpu().numpy(), encoder.cpu().numpy(), None
    cosine = (sae.W_enc.T * sae.W_dec).sum(dim=1) / (decoder * encoder)
    return decoder.cpu().numpy(), encoder.cpu().numpy(), cosine.cpu().numpy()
