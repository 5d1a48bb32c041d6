"""Vectors as they are on disk: memory-mapped parts seen as one matrix, and exact cosines to its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import faiss
import numpy

from featurestore.errors import BadRequest, BadStore

# Numbers brought to float32 and compared at a time: 128 rows of 768. More do not stay in a processor's second-level
# cache, and with fewer Python takes most of the time.
CHUNK = 98_304
# Rows whose cosines are kept before the best of them are chosen, in an exact scan.
KEPT = 16_384


def unit(vectors: numpy.ndarray) -> numpy.ndarray:
    """Rows of (n, d) scaled to length 1, float32; zero rows stay zero, so their cosine to anything is 0."""
    rows = as_float32(vectors)
    norms = numpy.linalg.norm(rows, axis=1, keepdims=True)
    units: numpy.ndarray = numpy.divide(rows, norms, out=numpy.zeros_like(rows), where=norms > 0)
    return units


def as_float32(vectors: numpy.ndarray) -> numpy.ndarray:
    """The same numbers as float32; three times as fast for float16 as NumPy's own conversion."""
    if vectors.dtype != numpy.float16:
        return numpy.asarray(vectors, dtype=numpy.float32)
    # Sign, exponent and mantissa moved to their places in a float32 (IEEE 754); the difference of the two exponents'
    # biases, 127 - 15, is made up by a product, which is right for subnormal numbers too. Finite numbers only.
    bits = numpy.ascontiguousarray(vectors).view(numpy.int16).astype(numpy.int32)
    bits <<= 13
    bits &= numpy.int32(-0x70002000)
    numbers = bits.view(numpy.float32)
    numbers *= numpy.float32(2.0**112)
    return numbers


def best(rows: numpy.ndarray, cosines: numpy.ndarray, k: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The `k` rows of largest cosine, best first; of equal cosines the smallest row number first."""
    if len(rows) > k > 0:
        least = numpy.partition(cosines, -k)[-k]
        near = numpy.flatnonzero(cosines >= least)
        rows, cosines = rows[near], cosines[near]
    order = numpy.lexsort((rows, -cosines))[:k]
    return rows[order], cosines[order]


class VectorRows:
    """Parts, (n_i, d) each, as one matrix.

    The rows of a part that is gone (None) keep their numbers and are never found.
    """

    def __init__(self, parts: Sequence[numpy.ndarray | None], counts: Sequence[int] | None = None):
        """`counts` says how many rows each part must have; needed where a part is None.

        Raises BadStore when a part has another number of rows.
        """
        if counts is None:
            counts = [len(part) for part in parts if part is not None]
        if len(counts) != len(parts):
            raise BadStore(f"the index is over {len(counts)} files of vectors, but there are {len(parts)}")
        for number, (part, count) in enumerate(zip(parts, counts, strict=True)):
            if part is not None and len(part) != count:
                raise BadStore(f"file {number} of an index has {len(part)} vectors, not {count}")
        # numpy.asarray: a memmap's own indexing is several times slower than an array's.
        self._parts = [None if part is None else numpy.asarray(part) for part in parts]
        self._starts = numpy.concatenate([[0], numpy.cumsum(counts)]).astype(numpy.int64)
        present = [part for part in self._parts if part is not None]
        self.dim: int = present[0].shape[1] if present else 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def present(self) -> numpy.ndarray | None:
        """A boolean for each row, whether its part is present; None when all are."""
        if all(part is not None for part in self._parts):
            return None
        return numpy.repeat([part is not None for part in self._parts], numpy.diff(self._starts))

    def blocks(self, size: int) -> Iterator[tuple[int, numpy.ndarray]]:
        """The first row number and the rows, as they are stored, of runs of at most `size` rows of one part."""
        for first, part in zip(self._starts, self._parts, strict=False):
            for start in range(0, 0 if part is None else len(part), size):
                assert part is not None
                yield int(first) + start, part[start : start + size]

    def take(self, rows: numpy.ndarray) -> numpy.ndarray:
        """The vectors of `rows`, ascending row numbers, as float32."""
        bounds = numpy.searchsorted(rows, self._starts)
        runs = []
        for number in numpy.flatnonzero(bounds[1:] > bounds[:-1]):
            part = self._parts[number]
            assert part is not None, "rows of a part that is gone were asked for"
            runs.append(part.take(rows[bounds[number] : bounds[number + 1]] - self._starts[number], axis=0))
        return as_float32(runs[0] if len(runs) == 1 else numpy.concatenate(runs))

    def cosines(self, rows: numpy.ndarray, direction: numpy.ndarray) -> numpy.ndarray:
        """Cosines, float32, of `rows`, any row numbers, to `direction`, (d,) of length 1."""
        order = numpy.argsort(rows, kind="stable")
        ascending = rows[order]
        products, norms = numpy.empty((2, len(rows)), numpy.float32)
        step = max(1, CHUNK // max(1, self.dim))
        for start in range(0, len(rows), step):
            chunk = slice(start, start + step)
            vectors = self.take(ascending[chunk])
            # faiss's products, not NumPy's: the latter wake threads for so small a matrix, and wait for them.
            products[chunk] = inner_products(vectors, direction)
            norms[chunk] = numpy.sqrt(numpy.einsum("ij,ij->i", vectors, vectors))
        cosines = numpy.zeros(len(rows), numpy.float32)
        cosines[order] = numpy.divide(products, norms, out=numpy.zeros_like(products), where=norms > 0)
        return cosines

    def nearest(
        self, direction: numpy.ndarray, k: int, among: numpy.ndarray | None = None
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` rows of largest cosine by comparing all, or all of `among`, ascending row numbers; best first."""
        rows, cosines = numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        count = len(self) if among is None else len(among)
        step = max(KEPT, 2 * k)
        for start in range(0, count, step):
            stop = min(count, start + step)
            chunk = numpy.arange(start, stop) if among is None else among[start:stop]
            rows, cosines = best(
                numpy.concatenate([rows, chunk]), numpy.concatenate([cosines, self.cosines(chunk, direction)]), k
            )
        return rows, cosines


def inner_products(matrix: numpy.ndarray, vector: numpy.ndarray) -> numpy.ndarray:
    """matrix @ vector for a contiguous (n, d) float32 matrix, in the calling thread alone."""
    products = numpy.empty(len(matrix), numpy.float32)
    if len(matrix):
        pointers = [faiss.swig_ptr(array) for array in (products, vector, matrix)]
        faiss.fvec_inner_products_ny(*pointers, matrix.shape[1], len(matrix))  # type: ignore[attr-defined]
    return products


def direction_of(vector: numpy.ndarray, dim: int) -> numpy.ndarray:
    """`vector` scaled to length 1, float32. Raises BadRequest for another width, NaN, infinity and zeros."""
    direction = numpy.asarray(vector, dtype=numpy.float32)
    if direction.shape != (dim,):
        raise BadRequest(f"the vector has shape {direction.shape}, but the index holds vectors of {dim} numbers")
    if not numpy.isfinite(direction).all():
        raise BadRequest("the vector has a number that is not finite: NaN or infinity")
    largest = numpy.abs(direction).max(initial=0)
    if largest == 0:
        raise BadRequest("all numbers of the vector are zero, so it has no direction")
    direction = direction / largest  # lengths beyond float32's range have a direction too
    return numpy.ascontiguousarray(direction / numpy.linalg.norm(direction))
