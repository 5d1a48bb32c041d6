"""What is known of features from weights alone: the tokens they promote, norms, and how encoder and decoder align."""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
import torch

from ingest.sae import Sae

LOGITS = 10  # tokens kept at each end
BINS = 40  # of the histogram of effects
BLOCK_ELEMENTS = 32_000_000  # features times tokens whose effects are held at once: 128 MB
ROWS_ELEMENTS = 3_000_000  # and so many of them are gone through together: they stay in a processor's cache
STRIPE = 1024  # tokens whose effects a processor computes at once
CHUNKS = 1024  # of a row, the highest of each found first


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
    count, device = len(unembedding), unembedding.device
    block = max(1, BLOCK_ELEMENTS // count)
    together, stripe = (max(1, ROWS_ELEMENTS // count), STRIPE) if device.type == "cpu" else (block, count)
    logits, scratch = torch.empty(block, count, device=device), _Scratch(together, count, device)
    parts: list[tuple[torch.Tensor, ...]] = []
    for begin in range(0, len(W_dec), block):
        vectors = W_dec[begin : begin + block].to(device).float()
        if centred:
            vectors = vectors - vectors.mean(dim=1, keepdim=True)
        found = logits[: len(vectors)]
        for start in range(0, count, stripe):
            some = slice(start, start + stripe)
            torch.mm(vectors, unembedding[some].T, out=found[:, some])
        parts += [_effects(rows, scratch) for rows in found.split(together)]
    return LogitEffects(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))


class _Scratch:
    """Memory for what is computed on the way, of some features at once: new memory takes longer to get than to fill."""

    def __init__(self, features: int, tokens: int, device: torch.device):
        self.one, self.other = torch.empty(2, features, tokens, device=device)
        self.bins = torch.empty(features, tokens, dtype=torch.int32, device=device)


def _effects(logits: torch.Tensor, scratch: _Scratch) -> tuple[torch.Tensor, ...]:
    """What LogitEffects has, of some features' effects on all tokens."""
    ids, values = _ends(logits, largest=True)
    low_ids, low_values = _ends(logits, largest=False)
    histogram = _histogram(logits, low_values[:, :1], values[:, :1], scratch)
    return ids, values, low_ids, low_values, *_moments(logits, scratch), histogram


def _ends(logits: torch.Tensor, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and values (n, 10) of each row's largest numbers, or smallest, as topk gives them, which takes several times as
    long: the largest of all lie in the chunks with the largest maxima."""
    count = logits.shape[1]
    most, deep = min(LOGITS, count), count // CHUNKS
    if deep < 2:
        found = logits.topk(most, dim=1, largest=largest)
        return found.indices, found.values
    # A chunk is a column here: its numbers lie CHUNKS apart, which lets a processor compare several columns at once.
    square = logits[:, : deep * CHUNKS].unflatten(1, (deep, CHUNKS))
    chunks = (square.amax(1) if largest else square.amin(1)).topk(most, dim=1, largest=largest).indices
    down = torch.arange(deep, device=logits.device) * CHUNKS
    rest = torch.arange(deep * CHUNKS, count, device=logits.device).expand(len(logits), -1)
    at = torch.cat([(chunks[:, :, None] + down).flatten(1), rest], dim=1)
    found = logits.gather(1, at).topk(most, dim=1, largest=largest)
    return at.gather(1, found.indices), found.values


def _moments(logits: torch.Tensor, scratch: _Scratch) -> tuple[torch.Tensor, ...]:
    mean = logits.mean(dim=1, keepdim=True)
    away = torch.sub(logits, mean, out=scratch.one[: len(logits)])
    squares = torch.square(away, out=scratch.other[: len(logits)])
    variance = squares.mean(dim=1)
    third = away.mul_(squares).mean(dim=1)
    fourth = squares.square_().mean(dim=1)
    return mean.squeeze(1), variance.sqrt(), third / variance**1.5, fourth / variance.square()


def _histogram(logits: torch.Tensor, low: torch.Tensor, high: torch.Tensor, scratch: _Scratch) -> torch.Tensor:
    step = (high - low) / BINS
    # A vector without any effect has all tokens in the first bin.
    places = torch.sub(logits, low, out=scratch.one[: len(logits)]).div_(step.where(step > 0, 1)).clamp_(0, BINS - 1)
    bins = scratch.bins[: len(logits)].copy_(places)
    bins += torch.arange(len(bins), dtype=torch.int32, device=bins.device)[:, None] * BINS
    return torch.bincount(bins.view(-1), minlength=len(bins) * BINS).view(-1, BINS).int()


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
