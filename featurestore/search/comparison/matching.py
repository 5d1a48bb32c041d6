"""The best matches between two matrices of vectors: of each row the row of the other of largest cosine. Exact.

Blocks of both are multiplied, so that memory is the same however many rows there are: some 100 MB.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy

from featurestore.progress import Stage
from featurestore.search import vectors
from featurestore.values.matrix import Matrix

ROWS, OTHER_ROWS = 2048, 4096  # of a block: their cosines take 34 MB


class Matches(NamedTuple):
    """For each row of a matrix the number of its best match in the other, -1 without one, and the cosine, float32."""

    best: numpy.ndarray
    cosines: numpy.ndarray

    @classmethod
    def none(cls, rows: int) -> Matches:
        """The matches of rows of which none has one: their cosines are -2, less than any."""
        return cls(numpy.full(rows, -1, numpy.int64), numpy.full(rows, -2.0, numpy.float32))


def match_rows(
    matrix: Matrix, rows: numpy.ndarray, other: Matrix, other_rows: numpy.ndarray, stage: Stage
) -> tuple[Matches, Matches]:
    """Return the best match of each of `rows` (numbers) among `other_rows`, and of each of these among the former.

    Of equal cosines the first row counts. `stage` is called with each number of `rows` that is done.
    """
    mine, theirs = Matches.none(matrix.shape[0]), Matches.none(other.shape[0])
    for first in range(0, len(rows), ROWS):
        block = rows[first : first + ROWS]
        units = vectors.unit(_take(matrix, block))
        for second in range(0, len(other_rows), OTHER_ROWS):
            other_block = other_rows[second : second + OTHER_ROWS]
            cosines = units @ vectors.unit(_take(other, other_block)).T
            _keep(mine, block, other_block, cosines)
            _keep(theirs, other_block, block, cosines.T)
        stage(len(block))
    return mine, theirs


def _take(matrix: Matrix, rows: numpy.ndarray) -> numpy.ndarray:
    """Rows of a matrix by ascending numbers."""
    first = int(rows[0])
    taken: numpy.ndarray = matrix.rows(first, int(rows[-1]) + 1)[rows - first]
    return taken


def _keep(matches: Matches, rows: numpy.ndarray, others: numpy.ndarray, cosines: numpy.ndarray) -> None:
    """Keep the largest of `cosines` (rows, others) where it is larger than what a row has."""
    nearest = cosines.argmax(axis=1)
    values = cosines[numpy.arange(len(rows)), nearest]
    better = values > matches.cosines[rows]
    matches.best[rows[better]] = others[nearest[better]]
    matches.cosines[rows[better]] = numpy.clip(values[better], -1, 1)
