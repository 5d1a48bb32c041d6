"""The task of bench.search: vectors on disk, queries, filters, and the true neighbours."""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from pathlib import Path

import faiss
import numpy

from bench.support import decoders
from bench.support.engines import draws, unit_blocks
from featurestore.search import vectors

K = 10
SELECTIVITIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
STREAM = 2**31  # of the queries' draws; no file has it


@dataclasses.dataclass
class Task:
    """Files and queries that every engine gets, and the true neighbours."""

    files: list[Path]
    queries: numpy.ndarray  # (q, d) float32 of length 1
    truth: dict[float, numpy.ndarray]  # selectivity -> (q, K) rows, -1 where there are fewer
    recall: float

    @property
    def rows(self) -> int:
        """Vectors in all files."""
        return sum(len(numpy.load(file, mmap_mode="r")) for file in self.files)

    def select_rows(self, share: float) -> numpy.ndarray:
        """The filter of a selectivity: a bool for each row."""
        parts, first = [], 0
        for file in self.files:
            count = len(numpy.load(file, mmap_mode="r"))
            parts.append(draws(first, count) < share)
            first += count
        return numpy.concatenate(parts)


def make_task(folder: Path, features: int, options: argparse.Namespace) -> Task:
    """Write the vectors, draw the queries, and find their true neighbours; print them as the table's head."""
    began = time.perf_counter()
    files, source = decoders.write(folder, features, options.dim)
    queries = vectors.unit(source.draw(options.queries, STREAM))
    task = Task(files, queries, {}, options.recall)
    task.truth = find_true_neighbours(task)
    median = numpy.median(
        [_compute_cosine(task, query, row) for query, row in zip(queries, task.truth[1.0][:, -1], strict=True)]
    )
    print(
        f"\n{features:,} x {options.dim}, {options.queries} queries, 10th neighbour at a median cosine of {median:.2f} "
        f"(made and compared in {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f})\n"
        f"{'engine':10} {'build s':>8} {'B/feature':>9} {'effort':>6} {'p50 ms':>8} {'p95 ms':>8} {'recall@10':>9}"
    )
    return task


def _compute_cosine(task: Task, query: numpy.ndarray, row: int) -> float:
    file = numpy.load(task.files[row // decoders.SHARD], mmap_mode="r")
    return float(vectors.unit(file[row % decoders.SHARD][None])[0] @ query)


def find_true_neighbours(task: Task) -> dict[float, numpy.ndarray]:
    """Exact nearest rows of each query, by selectivity of the filter, in one pass over the files."""
    count = len(task.queries)
    best = {share: (numpy.full((count, K), -2.0, numpy.float32), numpy.full((count, K), -1)) for share in SELECTIVITIES}
    for first, block in unit_blocks(task.files):
        draw = draws(first, len(block))
        for share, (cosines, rows) in best.items():
            selected = numpy.flatnonzero(draw < share)
            if not len(selected):
                continue
            near, positions = faiss.knn(
                task.queries, block[selected], min(K, len(selected)), metric=faiss.METRIC_INNER_PRODUCT
            )
            all_cosines = numpy.concatenate([cosines, near], axis=1)
            all_rows = numpy.concatenate([rows, selected[positions] + first], axis=1)
            order = numpy.argsort(-all_cosines, axis=1, kind="stable")[:, :K]
            best[share] = numpy.take_along_axis(all_cosines, order, 1), numpy.take_along_axis(all_rows, order, 1)
    return {share: rows for share, (_, rows) in best.items()}


def compute_cosines(task: Task, queries: numpy.ndarray) -> numpy.ndarray:
    """Cosine of each query with every row, (q, rows) float32."""
    return numpy.concatenate([queries @ block.T for _, block in unit_blocks(task.files)], axis=1)
