"""One bit a dimension in inverted lists: rows coded by RaBitQ, put in lists, scanned.

RaBitQ (Gao and Long, SIGMOD 2024, arXiv:2405.12497) keeps the signs of a randomly rotated residual and two factors that
make the estimate of an inner product unbiased.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy

from featurestore.display.text import first_line
from featurestore.errors import BadStore
from featurestore.search.vectors import clusters
from featurestore.search.vectors.rows import inner_products, unit
from featurestore.storage import numpy_files

# Rows brought to float32, rotated, assigned and coded at a time.
CODED_AT_ONCE = 16_384
# Codes are at least this wide: one bit for each dimension of a narrow space would tell too little.
LEAST_CODE_DIM = 512
# Bits a query's numbers are rounded to, so that codes are compared by counting bits. 8 are slower and find no more.
QUERY_BITS = 4


class Trained(NamedTuple):
    """What rows are coded with. Codes of one Trained can lie in one index; those of two cannot."""

    rotation: numpy.ndarray  # (d, code_dim) float32, orthonormal rows
    clusters: clusters.Clusters  # over rotated unit vectors


def rotation(dim: int) -> numpy.ndarray:
    """A random rotation of `dim` dimensions into at least as many, (dim, code_dim); always the same one."""
    code_dim = max(LEAST_CODE_DIM, -(-dim // 8) * 8)
    gaussian = numpy.random.default_rng(dim).standard_normal((code_dim, dim))
    return numpy.ascontiguousarray(numpy.linalg.qr(gaussian)[0].T, dtype=numpy.float32)


def save_trained(file: Path, trained: Trained) -> None:
    """Write `trained` as one .npz file."""
    with file.open("wb") as opened:
        numpy.savez(opened, rotation=trained.rotation, **trained.clusters._asdict())


def load_trained(file: Path) -> Trained:
    """What `save_trained` wrote. Raises BadStore when it cannot be read."""
    try:
        arrays = {name: numpy_files.read_member(file, name) for name in ("rotation", *clusters.Clusters._fields)}
    except Exception as exc:  # a damaged zip file raises errors of many kinds
        raise BadStore(f"{file} cannot be read; run `featurestore index --rebuild` ({exc})") from None
    return Trained(arrays.pop("rotation"), clusters.Clusters(**arrays))


def code_type(trained: Trained) -> numpy.dtype:
    """What is kept of a row: the number of its list, and its code."""
    return numpy.dtype([("list", "<u4"), ("code", "u1", (_empty(trained).code_size,))])


def encode(vectors: numpy.ndarray, trained: Trained) -> numpy.ndarray:
    """The codes of `vectors`, (n, d) of any float type and length: (n,) of `code_type`."""
    index = _empty(trained)
    coded = numpy.empty(len(vectors), code_type(trained))
    for start in range(0, len(vectors), CODED_AT_ONCE):
        rows = unit(vectors[start : start + CODED_AT_ONCE]) @ trained.rotation
        lists = clusters.assign(rows, trained.clusters)
        codes = numpy.empty((len(rows), index.code_size), numpy.uint8)
        index.encode_vectors(len(rows), *(faiss.swig_ptr(array) for array in (rows, lists, codes)))
        coded["list"][start : start + len(rows)] = lists
        coded["code"][start : start + len(rows)] = codes
    return coded


def pack(file: Path, blocks: Sequence[numpy.ndarray], trained: Trained) -> None:
    """Put all `blocks` of codes in their lists, numbered in the order given, as `Lists` reads them."""
    index = _empty(trained)
    sizes = numpy.zeros(index.nlist, numpy.int64)
    for block in blocks:
        sizes += numpy.bincount(block["list"], minlength=index.nlist)
    lists = index.invlists
    assert lists is not None
    for number, size in enumerate(sizes.tolist()):
        lists.resize(number, size)
    filled, first = numpy.zeros(index.nlist, numpy.int64), 0
    for block in blocks:
        order = numpy.argsort(block["list"], kind="stable")
        codes, rows = block["code"][order], order + first
        bounds = numpy.searchsorted(block["list"][order], numpy.arange(index.nlist + 1))
        for number in numpy.flatnonzero(bounds[1:] > bounds[:-1]).tolist():
            start, stop = int(bounds[number]), int(bounds[number + 1])
            pointers = faiss.swig_ptr(rows[start:stop]), faiss.swig_ptr(codes[start:stop])
            lists.update_entries(number, int(filled[number]), stop - start, *pointers)
            filled[number] += stop - start
        first += len(block)
    index.ntotal = first
    faiss.write_index(index, str(file))


def _empty(trained: Trained) -> faiss.IndexIVFRaBitQ:
    centroids = trained.clusters.centroids
    quantizer = faiss.IndexFlatIP(centroids.shape[1])
    quantizer.add(centroids)
    index = faiss.IndexIVFRaBitQ(quantizer, centroids.shape[1], len(centroids), faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()  # type: ignore[attr-defined]
    index.train(centroids)  # of the codes themselves nothing is learned from data
    return index


class Probe(NamedTuple):
    """A query as the lists see it."""

    rotated: numpy.ndarray  # (code_dim,)
    cosines: numpy.ndarray  # (lists,) to every centroid
    order: numpy.ndarray  # (lists,) list numbers, nearest first

    def within(self, gap: float, order: numpy.ndarray) -> int:
        """How many of some lists, nearest first, have a cosine at most `gap` below that of the nearest of them."""
        return int(numpy.searchsorted(-self.cosines[order], gap - self.cosines[order[0]], side="right"))


class Lists:
    """Lists of codes, opened for scanning. Safe to share between threads."""

    def __init__(self, file: Path, trained: Trained, rows: int):
        """Raises BadStore when the file does not hold the codes of `rows` rows."""
        try:
            index: Any = faiss.read_index(str(file))
        except RuntimeError as exc:
            raise BadStore(
                f"the index {file} cannot be read; run `featurestore index --rebuild` ({first_line(exc)})"
            ) from None
        if index.ntotal != rows:
            raise BadStore(f"the index {file} has {index.ntotal} rows, not {rows}; run `featurestore index --rebuild`")
        index.qb = QUERY_BITS
        self._index = index
        self._centroids = numpy.ascontiguousarray(trained.clusters.centroids)
        self._rotation = numpy.ascontiguousarray(trained.rotation.T)  # (code_dim, d)
        self.count: int = index.nlist
        # Making the wrapped object takes as long as scanning a list.
        self._parameters = functools.lru_cache(64)(
            lambda count: faiss.SearchParametersIVF(nprobe=count)  # type: ignore[call-arg]
        )

    def probe(self, direction: numpy.ndarray) -> Probe:
        """Compare `direction`, (d,) of length 1, with every list's centroid."""
        rotated = inner_products(self._rotation, direction)
        cosines = inner_products(self._centroids, rotated)
        return Probe(rotated, cosines, numpy.argsort(-cosines))

    def scan(
        self, probe: Probe, lists: numpy.ndarray, count: int, allowed: numpy.ndarray | None = None
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """At most `count` rows of the given lists, largest estimated cosine first: row numbers and estimates.

        `allowed` is a bitmap of the rows, eight to the byte, the first in the lowest bit.
        """
        estimates, rows = numpy.empty(count, numpy.float32), numpy.empty(count, numpy.int64)
        lists = numpy.ascontiguousarray(lists, dtype=numpy.int64)
        cosines = probe.cosines[lists]
        if allowed is None:
            parameters = self._parameters(len(lists))
        else:
            selector = faiss.IDSelectorBitmap(allowed)  # type: ignore[call-arg, arg-type]
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=len(lists))  # type: ignore[call-arg]
        # The wrapped method checks for the index's own nprobe, which threads would share.
        self._index.search_preassigned_c(
            1,
            faiss.swig_ptr(probe.rotated),
            count,
            *(faiss.swig_ptr(array) for array in (lists, cosines, estimates, rows)),
            False,
            parameters,
        )
        present = rows >= 0
        return rows[present], estimates[present]

    def above(self, probe: Probe, lists: numpy.ndarray, least: float) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Every row of the given lists of an estimated cosine above `least`, largest first: row numbers and estimates.

        Takes a fifth of the time of `scan` for some thousand rows, since nothing is kept in order meanwhile.
        """
        lists = numpy.ascontiguousarray(lists, dtype=numpy.int64)
        cosines = probe.cosines[lists]
        result = faiss.RangeSearchResult(1)
        pointers = [faiss.swig_ptr(array) for array in (lists, cosines)]
        self._index.range_search_preassigned_c(
            1, faiss.swig_ptr(probe.rotated), least, *pointers, result, False, self._parameters(len(lists)), None
        )
        count = int(faiss.rev_swig_ptr(result.lims, 2)[1])
        if not count:
            return numpy.empty(0, numpy.int64), numpy.empty(0, numpy.float32)
        estimates = faiss.rev_swig_ptr(result.distances, count)
        order = numpy.argsort(-estimates, kind="stable")
        return faiss.rev_swig_ptr(result.labels, count)[order], estimates[order]
