"""Decoder vectors as a part holds them: checked, as float16."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from featurestore.errors import BadRequest


def to_half(dictionary: str, vectors: numpy.ndarray, first: int, targets: Sequence[int] | None) -> numpy.ndarray:
    """Return decoder vectors of features from `first` on, (rows, d_out) float16.

    `vectors` is (rows, d_out) or, with `targets`, (rows, len(targets), d_out), of which each feature gives len(targets)
    rows. Raises BadRequest for another shape, and for numbers that are not finite in float16.
    """
    count = 1 if targets is None else len(targets)
    if vectors.ndim != (2 if targets is None else 3) or (targets is not None and vectors.shape[1] != count):
        wanted = "(rows, d_out)" if targets is None else f"(rows, {count}, d_out)"
        raise BadRequest(f"decoder vectors of {dictionary} have shape {vectors.shape}; {wanted} is wanted")
    if targets is not None and (not count or len(set(targets)) != count):
        raise BadRequest(f"targets {list(targets)} of {dictionary} are no layers, or one stands twice")
    with numpy.errstate(over="ignore"):
        half: numpy.ndarray = numpy.ascontiguousarray(vectors, dtype=numpy.float16).reshape(-1, vectors.shape[-1])
    bad = numpy.flatnonzero(~numpy.isfinite(half).all(axis=1))
    if len(bad):
        feature = first + int(bad[0]) // count
        raise BadRequest(f"decoder vector {dictionary}/{feature} has a number that is not finite in float16")
    return half
