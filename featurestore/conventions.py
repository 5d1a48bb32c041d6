"""What is the same in every store and may never change: the bins of histograms, and which documents are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

# Bin b counts activations from HISTOGRAM_EDGES[b] to HISTOGRAM_EDGES[b + 1], which is a quarter of an octave; the first
# bin counts smaller ones too, the last one larger ones.
HISTOGRAM_BINS = 64
HISTOGRAM_EDGES: tuple[float, ...] = tuple(2.0 ** (b / 4 - 6) for b in range(HISTOGRAM_BINS + 1))


def list_edges(bins: int, edges: Sequence[float] | None, scale: int | None = None) -> tuple[float, ...]:
    """Return the bins + 1 edges of a histogram of stored.features, given its own edges, which may be two or absent.

    Without edges it is of the standard bins, times 2^scale.
    """
    if edges is None:
        return tuple(edge * 2.0 ** (scale or 0) for edge in HISTOGRAM_EDGES)
    if len(edges) == bins + 1:
        return tuple(edges)
    low, high = edges
    return (*(low + (high - low) * b / bins for b in range(bins)), high)


# One document in so many is held out: labels are made from the rest, which takes more text than scoring does.
HELD_OUT_ONE_IN = 4


def held_out(documents: Iterable[bytes | memoryview]) -> list[bool]:
    """Return for each document, given as the bytes of its token ids (little-endian int32), whether it is held out.

    The hash of its tokens decides, so equal texts fall on the same side, in every corpus and on every machine. If all
    documents would be held out, none is: labels need texts to be made from.
    """
    flags = [hashlib.sha256(ids).digest()[0] % HELD_OUT_ONE_IN == 0 for ids in documents]
    return [False] * len(flags) if all(flags) else flags
