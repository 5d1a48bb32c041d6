"""Nearest-vector engines under one interface: featurestore's, an exact scan, and the peers that are installed.

Each is built from the same files and searched one query at a time, as a service does. `effort` is the engine's
parameter (probes or the width of its search); featurestore's has none, it is tuned when it is built.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy

from featurestore.search import vectors

THREADS = os.cpu_count() or 1
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)


class Engine:
    """An index over `files` of float16 rows; `folder` is an empty directory for its files."""

    name = ""
    module: str | None = None  # the package it needs
    efforts: tuple[int, ...] = (0,)
    filters = True
    hardest = False  # whether it is measured under filters that forbid the nearest rows, too
    on_disk = False  # whether the index is a file that another process can open

    def __init__(self, files: list[Path], folder: Path, recall: float):
        """Build the index with the recall wanted."""

    def open(self) -> None:
        """Open the index in a process that has not built it. Only for engines that keep files."""

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest, int64."""
        raise NotImplementedError

    def search_filtered(self, query: numpy.ndarray, k: int, effort: int, allowed: numpy.ndarray, share: float) -> Any:
        """Row numbers of the k nearest among `allowed` rows; `share` is the selectivity they were drawn with."""
        raise NotImplementedError

    @staticmethod
    def needs_bytes(rows: int, dim: int) -> float:
        """Memory the engine holds, in bytes, roughly."""
        return 4.2 * rows * dim


def unit_blocks(files: list[Path]) -> Iterator[tuple[int, numpy.ndarray]]:
    """First row number and unit rows, float32, of each file."""
    first = 0
    for file in files:
        block = vectors.unit(numpy.load(file, mmap_mode="r"))
        yield first, block
        first += len(block)


class StoreIndex(Engine):
    """The index of featurestore.search.vectors."""

    name, on_disk, hardest = "ours", True, True

    def __init__(self, files: list[Path], folder: Path, recall: float):
        self._files, self._path = files, folder / "index"
        vectors.build(self._path, self._map_files(), names=[file.name for file in files], recall=recall)

    def _map_files(self) -> list[numpy.ndarray]:
        return [numpy.load(file, mmap_mode="r") for file in self._files]

    def open(self) -> None:
        """Map the files and open the index over them."""
        self._index = vectors.VectorIndex(self._path, self._map_files())

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest; the index chooses its effort."""
        return self._index.search(query, k)[0]

    def search_filtered(self, query: numpy.ndarray, k: int, effort: int, allowed: numpy.ndarray, share: float) -> Any:
        """Row numbers of the k nearest among `allowed` rows."""
        return self._index.search(query, k, allowed)[0]

    @staticmethod
    def needs_bytes(rows: int, dim: int) -> float:
        """Memory while building: codes of a bit per dimension, and ids."""
        return 2.5 * rows * (dim / 8 + 24)


class Exact(Engine):
    """A scan of all rows as float32 by faiss."""

    name = "exact"

    def __init__(self, files: list[Path], folder: Path, recall: float):
        import faiss

        self._index = faiss.IndexFlatIP(numpy.load(files[0], mmap_mode="r").shape[1])
        for _, block in unit_blocks(files):
            self._index.add(block)

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest."""
        rows: numpy.ndarray = self._index.search(query[None], k)[1][0]
        return rows

    def search_filtered(self, query: numpy.ndarray, k: int, effort: int, allowed: numpy.ndarray, share: float) -> Any:
        """Row numbers of the k nearest among `allowed` rows, by a bitmap."""
        import faiss

        bits = numpy.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
        parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        rows = self._index.search(query[None], k, params=parameters)[1][0]
        return rows[rows >= 0]


class Hnswlib(Engine):
    """hnswlib with M 16, ef_construction 200, float32."""

    name, module, efforts = "hnswlib", "hnswlib", EFFORTS

    def __init__(self, files: list[Path], folder: Path, recall: float):
        import hnswlib

        rows = sum(len(numpy.load(file, mmap_mode="r")) for file in files)
        self._index = hnswlib.Index(space="ip", dim=numpy.load(files[0], mmap_mode="r").shape[1])
        self._index.init_index(max_elements=rows, M=16, ef_construction=200, random_seed=1)
        for first, block in unit_blocks(files):
            self._index.add_items(block, numpy.arange(first, first + len(block)), num_threads=THREADS)

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest; `effort` is ef."""
        self._index.set_ef(max(effort, k))
        rows: numpy.ndarray = self._index.knn_query(query, k, num_threads=1)[0][0]
        return rows.astype(numpy.int64)

    def search_filtered(self, query: numpy.ndarray, k: int, effort: int, allowed: numpy.ndarray, share: float) -> Any:
        """Row numbers of the k nearest among `allowed` rows, by a callback for each row."""
        self._index.set_ef(max(effort, k))
        k = min(k, int(allowed.sum()))
        try:
            answer = self._index.knn_query(query, k, num_threads=1, filter=lambda row: bool(allowed[row]))
        except RuntimeError:  # raised when fewer than k rows are reached
            return numpy.empty(0, numpy.int64)
        return answer[0][0].astype(numpy.int64)


class Usearch(Engine):
    """usearch with connectivity 16, expansion 128, float16."""

    name, module, efforts, filters = "usearch", "usearch", EFFORTS, False

    def __init__(self, files: list[Path], folder: Path, recall: float):
        from usearch.index import Index

        dim = numpy.load(files[0], mmap_mode="r").shape[1]
        self._index: Any = Index(ndim=dim, metric="cos", dtype="f16", connectivity=16, expansion_add=128)
        for first, block in unit_blocks(files):
            self._index.add(numpy.arange(first, first + len(block)), block, threads=THREADS)

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest; `effort` is the expansion."""
        self._index.expansion_search = max(effort, k)
        rows: numpy.ndarray = self._index.search(query, k, threads=1).keys
        return rows.astype(numpy.int64)

    @staticmethod
    def needs_bytes(rows: int, dim: int) -> float:
        """Memory of float16 vectors and the graph."""
        return rows * (2.1 * dim + 200)


class LanceDB(Engine):
    """LanceDB with IVF_PQ, a code byte for each 8 dimensions, and refining by the full vectors; `effort` is its
    probes."""

    name, module, efforts, on_disk = "lancedb", "lancedb", EFFORTS, True

    def __init__(self, files: list[Path], folder: Path, recall: float):
        import lancedb
        import pyarrow

        dim = numpy.load(files[0], mmap_mode="r").shape[1]
        fields = [
            ("row", pyarrow.int64()),
            ("draw", pyarrow.float32()),
            ("vector", pyarrow.list_(pyarrow.float32(), dim)),
        ]
        schema = pyarrow.schema(fields)

        def read_batches() -> Iterator[pyarrow.RecordBatch]:
            """Rows, draws for filters, and vectors of each file."""
            for first, block in unit_blocks(files):
                rows = numpy.arange(first, first + len(block))
                vector = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(block.ravel()), dim)
                yield pyarrow.record_batch(
                    [pyarrow.array(rows), pyarrow.array(draws(first, len(block))), vector], schema=schema
                )

        self._folder = folder
        table = lancedb.connect(folder).create_table("vectors", data=read_batches(), schema=schema)
        table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_PQ", num_sub_vectors=dim // 8)
        table.create_scalar_index("draw")

    def open(self) -> None:
        """Open the table."""
        import lancedb

        self._table: Any = lancedb.connect(self._folder).open_table("vectors")

    def _query(self, query: numpy.ndarray, k: int, effort: int) -> Any:
        return (
            self._table.search(query)
            .distance_type("cosine")
            .nprobes(effort)
            .refine_factor(20)
            .limit(k)
            .select(["row", "_distance"])
        )

    def search(self, query: numpy.ndarray, k: int, effort: int) -> numpy.ndarray:
        """Row numbers of the k nearest; `effort` is the number of probes."""
        rows: numpy.ndarray = self._query(query, k, effort).to_arrow()["row"].to_numpy()
        return rows

    def search_filtered(self, query: numpy.ndarray, k: int, effort: int, allowed: numpy.ndarray, share: float) -> Any:
        """Row numbers of the k nearest among rows whose draw is below `share`."""
        return self._query(query, k, effort).where(f"draw < {share}", prefilter=True).to_arrow()["row"].to_numpy()

    @staticmethod
    def needs_bytes(rows: int, dim: int) -> float:
        """Memory of codes and of what is read while building."""
        return rows * dim / 4


ENGINES: tuple[type[Engine], ...] = (StoreIndex, Exact, Hnswlib, Usearch, LanceDB)


def draws(first: int, count: int) -> numpy.ndarray:
    """A number in [0, 1) for each of `count` rows, float32: rows below s are a random filter of selectivity s.

    `first` is the number of a file's first row.
    """
    return numpy.random.default_rng((7, first)).random(count, dtype=numpy.float32)
