"""What is known of features from weights alone: the tokens they promote, norms, and how encoder and decoder align."""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
import torch

from ingest.sae import Sae

LOGITS = 10  # tokens kept at each end
BINS = 40  # of the histogram of effects
BLOCK_ELEMENTS = 16_000_000  # features times tokens whose effects are held at once: 64 MB


class LogitEffects(NamedTuple):
    """Effects of n features on the logits of all tokens.

    Ids and values (n, 10) of the tokens raised most, strongest first, and lowered most, strongest first; mean, standard
    deviation, skewness and kurtosis (n,) float32, the last two NaN where all effects are equal; histogram (n, 40) int32,
    tokens in bins of equal width from the lowest to the highest effect.
    """

    ids: numpy.ndarray
    values: numpy.ndarray
    low_ids: numpy.ndarray
    low_values: numpy.ndarray
    mean: numpy.ndarray
    std: numpy.ndarray
    skewness: numpy.ndarray
    kurtosis: numpy.ndarray
    histogram: numpy.ndarray


def logit_effects(W_dec: torch.Tensor, unembedding: torch.Tensor, centred: bool) -> LogitEffects:
    """Tokens whose logits each decoder vector raises and lowers most, and how its effects are spread over all tokens.

    `W_dec` is (n, d_model), `unembedding` (vocabulary, d_model) with the final norm's gain folded in; `centred` says
    that this norm removes the mean, so each vector's mean is removed first. The norm's division by the stream's size,
    which differs for each token, is left out: logits are those of a stream of unit scale.
    """
    most = min(LOGITS, unembedding.shape[0])
    block = max(1, BLOCK_ELEMENTS // unembedding.shape[0])
    parts: list[list[numpy.ndarray]] = []
    for begin in range(0, len(W_dec), block):
        vectors = W_dec[begin : begin + block].to(unembedding.device).float()
        if centred:
            vectors = vectors - vectors.mean(dim=1, keepdim=True)
        logits = vectors @ unembedding.T
        top = logits.topk(most, dim=1)
        bottom = logits.topk(most, dim=1, largest=False)
        bins = _histogram(logits)
        found = (top.indices, top.values, bottom.indices, bottom.values, *_moments(logits))
        parts.append([*(x.cpu().numpy() for x in found), bins])
    return LogitEffects(*(numpy.concatenate(column) for column in zip(*parts, strict=True)))


def _moments(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Takes the logits' place for its work: they are gone after it."""
    count = logits.shape[1]
    mean = logits.mean(dim=1, keepdim=True)
    away = logits.sub_(mean)
    squares = away * away
    # Sums of products without an array for the products.
    variance = squares.mean(dim=1)
    third = torch.einsum("ij,ij->i", squares, away) / count
    fourth = torch.einsum("ij,ij->i", squares, squares) / count
    return mean.squeeze(1), variance.sqrt(), third / variance**1.5, fourth / variance.square()


def _histogram(logits: torch.Tensor) -> numpy.ndarray:
    low, high = logits.aminmax(dim=1, keepdim=True)
    step = (high - low) / BINS
    # A vector without any effect has all tokens in the first bin.
    bins = ((logits - low) / step.where(step > 0, 1)).clamp_(0, BINS - 1).to(torch.uint8).cpu().numpy()
    return numpy.stack([numpy.bincount(row, minlength=BINS) for row in bins]).astype(numpy.int32)


def logit_column(ids: numpy.ndarray, values: numpy.ndarray, pieces: list[str]) -> pyarrow.Array:
    """Token ids and values, (n, k), as a list of structs {token, value} for each row."""
    n, k = ids.shape
    tokens = pyarrow.array(pieces, pyarrow.string()).take(pyarrow.array(ids.reshape(-1)))
    effects = pyarrow.StructArray.from_arrays(
        [tokens, pyarrow.array(values.reshape(-1), pyarrow.float32())], names=["token", "value"]
    )
    return pyarrow.ListArray.from_arrays(numpy.arange(0, n * k + 1, k, dtype=numpy.int32), effects)


def norms(sae: Sae, first: int, last: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray | None]:
    """Decoder norms, encoder norms and their cosines for features first .. last - 1, float32; the cosines are None when
    widths differ, NaN where a vector is zero. A cross-layer feature's norm is of all it writes, its cosine that of the sum."""
    decoder = sae.decoder_norms[first:last].cpu().numpy()
    encoders = sae.W_enc[:, first:last].float()
    encoder = encoders.norm(dim=0)
    if sae.d_in != sae.d_out:
        return decoder, encoder.cpu().numpy(), None
    written = sae.W_dec_total[first:last].float()
    cosine = (encoders.T * written).sum(dim=1) / (written.norm(dim=1) * encoder)
    return decoder, encoder.cpu().numpy(), cosine.cpu().numpy()
