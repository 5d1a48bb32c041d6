"""Numbers that are the same for every store and for ever: the bins of histograms, and which documents are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

HISTOGRAM_BINS = 64


HISTOGRAM_EDGES: tuple[float, ...] = tuple(2.0 ** (b / 4 - 6) for b in range(HISTOGRAM_BINS + 1))


# One document in four: labels are made from the rest, which needs more.
OF = 4


def held_out(documents: Iterable[bytes | memoryview]) -> list[bool]:
    """For each document, given as its token ids (little-endian int32), whether it is held out.

    The hash of its tokens decides, so equal texts fall on the same side, in every corpus and on every machine. Where all
    documents would be held out, none is: there would be nothing to make labels from.
    """
    found = [hashlib.sha256(ids).digest()[0] % OF == 0 for ids in documents]
    return [False] * len(found) if all(found) else found
