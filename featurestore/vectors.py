"""Nearest vectors by cosine. Knows numbers and row positions; knows nothing about dictionaries or features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy

from featurestore.errors import BadStore

# Rows normalised and added at a time, so that building needs little memory beside the index itself.
BLOCK = 65_536


def unit(vectors: numpy.ndarray) -> numpy.ndarray:
    """Rows of (n, d) scaled to length 1, float32; zero rows stay zero, so their cosine to anything is 0."""
    rows = numpy.asarray(vectors, dtype=numpy.float32)
    norms = numpy.linalg.norm(rows, axis=1, keepdims=True)
    return numpy.divide(rows, norms, out=numpy.zeros_like(rows), where=norms > 0)


def build(file: Path, vectors: Sequence[numpy.ndarray], progress: Callable[[int], None] | None = None) -> int:
    """Write the index of all `vectors`, (n_i, d) each, numbered in the order given; the number of rows.

    The index is exact: a scan over unit vectors. It holds 4 d bytes a row.
    """
    index = faiss.IndexFlatIP(vectors[0].shape[1])
    for part in vectors:
        for start in range(0, len(part), BLOCK):
            index.add(unit(part[start : start + BLOCK]))
            if progress:
                progress(min(BLOCK, len(part) - start))
    faiss.write_index(index, str(file))
    return index.ntotal


class VectorIndex:
    """An index written by `build`, opened for searching. Safe to share between threads."""

    def __init__(self, file: Path, rows: int):
        """Raises BadStore when the file is not a readable index of `rows` rows."""
        try:
            self._index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP)
        except RuntimeError as exc:
            raise BadStore(f"the index {file} cannot be read; run `featurestore index` ({_first_line(exc)})") from None
        if self._index.ntotal != rows:
            raise BadStore(f"the index {file} has {self._index.ntotal} rows, not {rows}; run `featurestore index`")

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self._index.d

    def __len__(self) -> int:
        return self._index.ntotal

    def search(
        self, vector: numpy.ndarray, k: int, allowed: numpy.ndarray | None = None
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The `k` rows of largest cosine to `vector`, (d,): row numbers (int64) and cosines (float32), best first.

        With `allowed`, a boolean for each row, only rows that are allowed; min(k, allowed rows) are found.
        Rows of equal cosine come in the order of their numbers.
        """
        parameters = None
        if allowed is not None:
            bitmap = numpy.packbits(allowed, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bitmap))  # type: ignore[call-arg, arg-type]
            k = min(k, int(numpy.count_nonzero(allowed)))
        k = min(k, len(self))
        if k == 0:
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        scores, rows = self._index.search(unit(vector[None]), k, params=parameters)
        order = numpy.lexsort((rows[0], -scores[0]))
        return rows[0][order], scores[0][order]


def _first_line(exc: Exception) -> str:
    return str(exc).strip().splitlines()[0][:200]
