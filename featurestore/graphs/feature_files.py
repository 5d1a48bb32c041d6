"""Features as files of attribution-graph front ends: JSON of one feature, and virtual bins of a layer's features.

A bin is, for each feature, a uint32 (little-endian) with the length of what follows, and gzip of the feature's JSON.
Here each feature has a slot of the same size, filled up with zeros, so that the offsets of millions of features are
known without making their records. Knows no store.
"""

from __future__ import annotations

import gzip
import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from featurestore.conventions import HISTOGRAM_EDGES
from featurestore.values.examples import Example
from featurestore.values.feature import Feature

SLOT = 65_536  # bytes of a feature in a virtual bin
BARS = 40  # of a histogram
QUANTILES = 100
TOP = "Top activations"


def unpair(number: int) -> tuple[int, int]:
    """Return layer and feature of Cantor's number of the two."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature


def describe_feature(page: Feature) -> dict[str, Any]:
    """Return a feature as attribution-graph front ends read it. Beside their fields it has `label` and `id`."""
    bands = itertools.groupby(page.examples, key=lambda example: example.band)
    bars, quantiles = _spread(page.histogram or (), page.histogram_edges or HISTOGRAM_EDGES, page.max_activation or 0.0)
    return {
        "transcoder_id": page.dictionary,
        "index": page.feature,
        "examples_quantiles": [
            {
                "quantile_name": TOP if band == "top" else f"Activations {band}",
                "examples": [
                    {
                        "tokens": list(example.tokens),
                        "tokens_acts_list": list(example.activations),
                        "train_token_ind": find_peak(example),
                        "is_repeated_datapoint": False,
                    }
                    for example in examples
                ],
            }
            for band, examples in bands
        ],
        "top_logits": [effect.token for effect in page.top_logits],
        "bottom_logits": [effect.token for effect in page.bottom_logits],
        "top_logit_values": [effect.value for effect in page.top_logits],
        "bottom_logit_values": [effect.value for effect in page.bottom_logits],
        "act_min": 0.0,
        "act_max": page.max_activation or 0.0,
        "quantile_values": quantiles,
        "histogram": bars,
        "activation_frequency": page.density or 0.0,
        "isDead": page.state == "dead",
        "label": page.label,
        "id": page.id,
    }


def find_peak(example: Example) -> int:
    """Return the place in an example's window of the token that it was chosen for; the strongest where nobody says."""
    if example.position is not None:
        return example.position - example.start
    return max(range(len(example.activations)), key=example.activations.__getitem__, default=0)


def _spread(counts: Sequence[int], edges: Sequence[float], largest: float) -> tuple[list[float], list[float]]:
    """Return counts in BARS equal bars from 0 to `largest`, and the activations below which 1 %, 2 % ... lie.

    Activations within one of our bins, which widen, are taken to lie evenly in it.
    """
    total = sum(counts)
    if not total or largest <= 0:
        return [], []
    bars, below = [0.0] * BARS, 0.0
    quantiles: list[float] = []
    for place, count in enumerate(counts):
        if not count:
            continue
        low = min(edges[place], largest)
        high = min(edges[place + 1], largest)
        for bar in range(BARS):
            first, last = bar * largest / BARS, (bar + 1) * largest / BARS
            inside = min(high, last) - max(low, first)
            if high > low and inside > 0:
                bars[bar] += count * inside / (high - low)
        while len(quantiles) < QUANTILES and below + count >= (len(quantiles) + 1) / QUANTILES * total:
            share = ((len(quantiles) + 1) / QUANTILES * total - below) / count
            quantiles.append(low + share * (high - low))
        below += count
    return [round(bar, 3) for bar in bars], quantiles


def pack(page: Feature) -> bytes:
    """Return the slot of a feature in a virtual bin, SLOT bytes; the last examples are left out if they do not fit."""
    document = describe_feature(page)
    while True:
        packed = gzip.compress(msgspec.json.encode(document), compresslevel=6, mtime=0)
        if len(packed) <= SLOT - 4:
            return (struct.pack("<I", len(packed)) + packed).ljust(SLOT, b"\0")
        longest = max(document["examples_quantiles"], key=lambda band: len(band["examples"]), default=None)
        if longest is None or not longest["examples"]:
            document = {"index": page.feature, "examples_quantiles": [], "isDead": page.state == "dead"}
        else:
            del longest["examples"][len(longest["examples"]) // 2 :]


def describe_index(sizes: dict[int, int]) -> bytes:
    """Return the gzip of a store's index: by layer the name of its bin and the offsets of its features.

    `sizes` are the numbers of features of layers.
    """
    layers = {
        str(layer): {"filename": f"layer_{layer}.bin", "offsets": list(range(0, (size + 1) * SLOT, SLOT))}
        for layer, size in sorted(sizes.items())
    }
    return gzip.compress(msgspec.json.encode(layers), compresslevel=1, mtime=0)
