"""Non-zero activations of a dictionary. Never holds all tokens times all features at once."""

from __future__ import annotations

import torch

from ingest.sae import Sae
from ingest.statistics.ragged import order_by_group

# Tokens times features held dense at once: 32 MB, so that a slice nearly fits into a processor's cache.
TILE_ELEMENTS = 8_000_000
DEVICE_ELEMENTS = 128_000_000  # on a GPU: 512 MB, since there the number of slices decides the time


def encode_active(sae: Sae, x: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the non-zero activations of features first .. last - 1 on inputs x (t, d_in).

    Three tensors (entries,) on the device of x, sorted by feature and then by token: the feature counted from `first`
    (int64), the row of x (int64), and the activation (float32).
    """
    if sae.activation in ("topk", "abstopk"):
        return _encode_top(sae, x, first, last)
    step = max(1, (TILE_ELEMENTS if x.device.type == "cpu" else DEVICE_ELEMENTS) // max(1, len(x)))
    parts = []
    for start in range(first, last, step):
        feature, token, value = _compact(sae.encode(x, start, min(start + step, last)))
        parts.append((feature + (start - first), token, value))
    feature, token, value = (torch.cat(column) for column in zip(*parts, strict=True))
    return feature, token, value


def _encode_top(sae: Sae, x: torch.Tensor, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    activations, features = sae.top(x)
    keep = (activations != 0) & (features >= first) & (features < last)
    token = keep.nonzero()[:, 0]
    feature, order = torch.sort(features[keep] - first, stable=True)
    return feature, token[order], activations[keep][order]


def _compact(dense: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    width = dense.shape[1]
    flat = dense.reshape(-1)
    places = flat.nonzero().squeeze(1)
    token, feature = places // width, places % width
    if dense.device.type == "cpu":
        order = torch.from_numpy(order_by_group(feature.numpy(), width))
    else:
        order = torch.sort(feature, stable=True).indices
    return feature[order], token[order], flat[places[order]]
