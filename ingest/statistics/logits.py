"""Statistics of features from weights alone: effects on logits, norms, and cosines of encoder and decoder."""

from __future__ import annotations

from typing import NamedTuple

import numpy
import pyarrow
import torch

from ingest.sae import Sae

LOGITS = 20  # tokens kept at each end, raised and lowered most; a page folds those after the tenth
BINS = 40  # of the histogram of effects
BLOCK_ELEMENTS = 32_000_000  # features times tokens whose effects are held at once: 128 MB
ROWS_ELEMENTS = 3_000_000  # of these, so many are summarised at once: they stay in the processor's cache
STRIPE = 1024  # tokens per matrix product on a CPU
CHUNKS = 1024  # of a row, see _find_extremes


class LogitEffects(NamedTuple):
    """Effects of n features on the logits of all tokens.

    `ids` int64 and `values` float32 (n, 20) are the tokens raised most, strongest first; `low_ids` and `low_values`
    those lowered most. Mean, standard deviation, skewness and kurtosis are (n,) float32, the last two NaN where all
    effects are equal. `histogram` (n, 40) int32 counts tokens in bins of equal width from the lowest to the highest
    effect.
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


def compute_logit_effects(W_dec: torch.Tensor, unembedding: torch.Tensor, centred: bool) -> LogitEffects:
    """Return the effects of decoder vectors `W_dec` (n, d_model) on the logits of all tokens.

    `unembedding` is (vocabulary, d_model) with the gain of the final norm folded in. `centred` means that this norm
    removes the mean, so the mean of each vector is removed first. The norm's division by the size of the stream, which
    differs for each token, is left out: logits are those of a stream of unit scale.
    """
    count, device = len(unembedding), unembedding.device
    block = max(1, BLOCK_ELEMENTS // count)
    step, stripe = (max(1, ROWS_ELEMENTS // count), STRIPE) if device.type == "cpu" else (block, count)
    buffer, scratch = torch.empty(block, count, device=device), _Scratch(step, count, device)
    parts: list[tuple[torch.Tensor, ...]] = []
    for begin in range(0, len(W_dec), block):
        vectors = W_dec[begin : begin + block].to(device).float()
        if centred:
            vectors = vectors - vectors.mean(dim=1, keepdim=True)
        logits = buffer[: len(vectors)]
        for start in range(0, count, stripe):
            tokens = slice(start, start + stripe)
            torch.mm(vectors, unembedding[tokens].T, out=logits[:, tokens])
        parts += [_summarise(rows, scratch) for rows in torch.split(logits, step)]
    return LogitEffects(*(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)))


class _Scratch:
    """Buffers for intermediate results of `features` rows: allocating memory takes longer than filling it."""

    def __init__(self, features: int, tokens: int, device: torch.device):
        self.first, self.second = torch.empty(2, features, tokens, device=device)
        self.bins = torch.empty(features, tokens, dtype=torch.int32, device=device)


def _summarise(logits: torch.Tensor, scratch: _Scratch) -> tuple[torch.Tensor, ...]:
    """Return the fields of LogitEffects for rows of effects on all tokens."""
    ids, values = _find_extremes(logits, largest=True)
    low_ids, low_values = _find_extremes(logits, largest=False)
    histogram = _count_bins(logits, low_values[:, :1], values[:, :1], scratch)
    return ids, values, low_ids, low_values, *_compute_moments(logits, scratch), histogram


def _find_extremes(logits: torch.Tensor, largest: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and values (n, 20) of the largest or smallest numbers of each row, several times faster than topk.

    The largest of all are in the chunks with the largest maxima, so topk looks only at those.
    """
    count = logits.shape[1]
    most, depth = min(LOGITS, count), count // CHUNKS
    if depth < 2:
        extremes = logits.topk(most, dim=1, largest=largest)
        return extremes.indices, extremes.values
    # The numbers of a chunk are CHUNKS apart (a column of `square`), so that a CPU compares several chunks at once.
    square = logits[:, : depth * CHUNKS].view(-1, depth, CHUNKS)
    chunks = (square.amax(1) if largest else square.amin(1)).topk(most, dim=1, largest=largest).indices
    offsets = torch.arange(depth, device=logits.device) * CHUNKS
    rest = torch.arange(depth * CHUNKS, count, device=logits.device).expand(len(logits), -1)
    candidates = torch.cat([(chunks[:, :, None] + offsets).flatten(1), rest], dim=1)
    extremes = logits.gather(1, candidates).topk(most, dim=1, largest=largest)
    return candidates.gather(1, extremes.indices), extremes.values


def _compute_moments(logits: torch.Tensor, scratch: _Scratch) -> tuple[torch.Tensor, ...]:
    mean = logits.mean(dim=1, keepdim=True)
    difference = torch.sub(logits, mean, out=scratch.first[: len(logits)])
    squares = torch.square(difference, out=scratch.second[: len(logits)])
    variance = squares.mean(dim=1)
    third = difference.mul_(squares).mean(dim=1)
    fourth = squares.square_().mean(dim=1)
    return mean.squeeze(1), variance.sqrt(), third / variance**1.5, fourth / variance.square()


def _count_bins(logits: torch.Tensor, low: torch.Tensor, high: torch.Tensor, scratch: _Scratch) -> torch.Tensor:
    step = (high - low) / BINS
    # A vector without effects puts all tokens into the first bin.
    places = torch.sub(logits, low, out=scratch.first[: len(logits)]).div_(step.where(step > 0, 1)).clamp_(0, BINS - 1)
    bins = scratch.bins[: len(logits)].copy_(places)
    bins += torch.arange(len(bins), dtype=torch.int32, device=bins.device)[:, None] * BINS
    return torch.bincount(bins.view(-1), minlength=len(bins) * BINS).view(-1, BINS).int()


def make_logit_column(ids: numpy.ndarray, values: numpy.ndarray, pieces: list[str]) -> pyarrow.Array:
    """Return a column of n lists of k structs {token, value, id} from token ids and values (n, k)."""
    n, k = ids.shape
    numbers = pyarrow.array(ids.reshape(-1).astype(numpy.int32))
    tokens = pyarrow.array(pieces, pyarrow.string()).take(numbers)
    effects = pyarrow.StructArray.from_arrays(
        [tokens, pyarrow.array(values.reshape(-1), pyarrow.float32()), numbers], names=["token", "value", "id"]
    )
    return pyarrow.ListArray.from_arrays(numpy.arange(0, n * k + 1, k, dtype=numpy.int32), effects)


def compute_norms(sae: Sae, first: int, last: int) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray | None]:
    """Return decoder norms, encoder norms and their cosines for features first .. last - 1, each (n,) float32.

    The cosines are None when the widths differ, and NaN where a vector is zero. Of a cross-layer feature the norm is
    that of all it writes, the cosine that of the sum over layers.
    """
    decoder = sae.decoder_norms[first:last].cpu().numpy()
    encoders = sae.W_enc[:, first:last].float()
    encoder = encoders.norm(dim=0)
    if sae.d_in != sae.d_out:
        return decoder, encoder.cpu().numpy(), None
    written = sae.W_dec_total[first:last].float()
    cosine = (encoders.T * written).sum(dim=1) / (written.norm(dim=1) * encoder)
    return decoder, encoder.cpu().numpy(), cosine.cpu().numpy()
