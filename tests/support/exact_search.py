"""Exact cosines to the decoder vectors of the tiny store, to hold searches to."""

from __future__ import annotations

import numpy
import pytest

from tests.support import tiny

MATRIX = numpy.concatenate([tiny.vectors(0), tiny.vectors(1)]).astype(numpy.float16).astype(numpy.float32)

IDS = [f"tiny/{source}/{i}" for source in tiny.SOURCES for i in range(tiny.D_SAE)]

LIVE = [i for i in range(48) if i % 24 not in (22, 23)]


def cosines(vector):
    unit = MATRIX / numpy.linalg.norm(MATRIX, axis=1, keepdims=True)
    return unit @ (vector / numpy.linalg.norm(vector))


def check_exact(hits, scores, among, k):
    wanted = numpy.sort(scores[among])[::-1][:k]
    assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), abs=1e-5)
    for hit in hits:
        at = IDS.index(hit.id)
        assert at in among
        assert hit.score == pytest.approx(scores[at], abs=1e-5)


def unit(rows):
    return MATRIX[rows] / numpy.linalg.norm(MATRIX[rows], axis=-1, keepdims=True)
