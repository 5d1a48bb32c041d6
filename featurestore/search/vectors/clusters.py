"""Spherical k-means in two levels: groups of clusters, so that training and assigning cost the root of their number."""

from __future__ import annotations

from typing import NamedTuple

import faiss
import numpy

from featurestore.progress import Stage

ITERATIONS = 10
# Groups a row is compared with before its nearest cluster is taken. On clustered vectors 3 find the nearest of all
# clusters for 97 % of rows, and the others go to one about as near.
GROUPS_TRIED = 3


class Clusters(NamedTuple):
    """Centroids in order of their groups."""

    centroids: numpy.ndarray  # (clusters, d) float32, of length 1
    groups: numpy.ndarray  # (groups, d) float32, of length 1
    starts: numpy.ndarray  # (groups + 1,) int64: clusters of group g are starts[g]:starts[g + 1]


def train(sample: numpy.ndarray, clusters: int, stage: Stage | None = None) -> Clusters:
    """Cluster the rows of `sample`, (m, d) unit vectors of any float type, m >= clusters.

    `stage` is called with the number of clusters made, a group at a time.
    """
    group_count = max(1, round(clusters**0.5))
    groups = _k_means(numpy.asarray(sample, numpy.float32), group_count)
    nearest = numpy.concatenate([(block.astype(numpy.float32) @ groups.T).argmax(axis=1) for block in _blocks(sample)])
    counts = numpy.bincount(nearest, minlength=len(groups))
    shares = _shares(counts, clusters)
    centroids = []
    for group, share in enumerate(shares):
        if share:
            centroids.append(_k_means(sample[nearest == group].astype(numpy.float32), share))
        if stage and share:
            stage(int(share))
    return Clusters(numpy.concatenate(centroids), groups, numpy.concatenate([[0], numpy.cumsum(shares)]))


def assign(rows: numpy.ndarray, clusters: Clusters) -> numpy.ndarray:
    """The nearest cluster, (n,) int64, of each of `rows`, (n, d) float32: among the groups nearest to the row."""
    near_groups = _largest(rows @ clusters.groups.T, GROUPS_TRIED)
    best = numpy.full(len(rows), -numpy.inf, numpy.float32)
    nearest_cluster = numpy.zeros(len(rows), numpy.int64)
    # Grouped by group, each comparison is a product of matrices.
    order = numpy.argsort(near_groups, axis=None, kind="stable")
    bounds = numpy.searchsorted(near_groups.ravel()[order], numpy.arange(len(clusters.groups) + 1))
    for group in range(len(clusters.groups)):
        first, last = clusters.starts[group], clusters.starts[group + 1]
        here = order[bounds[group] : bounds[group + 1]] // near_groups.shape[1]
        if first == last or not len(here):
            continue
        cosines = rows[here] @ clusters.centroids[first:last].T
        nearest = cosines.argmax(axis=1)
        cosine = cosines[numpy.arange(len(here)), nearest]
        better = cosine > best[here]
        best[here[better]] = cosine[better]
        nearest_cluster[here[better]] = first + nearest[better]
    return nearest_cluster


def _largest(scores: numpy.ndarray, count: int) -> numpy.ndarray:
    count = min(count, scores.shape[1])
    return numpy.argpartition(scores, -count, axis=1)[:, -count:]


def _shares(counts: numpy.ndarray, clusters: int) -> numpy.ndarray:
    """`clusters` divided in proportion to `counts`, none more than its count."""
    shares: numpy.ndarray = numpy.floor(counts / counts.sum() * clusters).astype(numpy.int64)
    shares = numpy.minimum(numpy.maximum(shares, 1), counts)
    while shares.sum() < clusters:
        open_ones = numpy.flatnonzero(shares < counts)
        wanting = open_ones[numpy.argsort(shares[open_ones] / counts[open_ones], kind="stable")]
        shares[wanting[: clusters - shares.sum()]] += 1
    return shares


def _k_means(rows: numpy.ndarray, clusters: int) -> numpy.ndarray:
    # The sample is chosen by the caller, so faiss's own sampling and its advice on sizes are off.
    k_means = faiss.Kmeans(
        rows.shape[1],
        int(clusters),
        niter=ITERATIONS,
        spherical=True,
        seed=1,
        min_points_per_centroid=1,
        max_points_per_centroid=max(1, len(rows)),
    )
    k_means.train(rows)
    centroids: numpy.ndarray | None = k_means.centroids
    assert centroids is not None
    return centroids


def _blocks(rows: numpy.ndarray, size: int = 65_536) -> list[numpy.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
