"""Kinds of queries that people ask of an index, none of them a row of it, and the recall that a search has of each."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import msgspec
import numpy

from featurestore.search.vectors import plan
from featurestore.search.vectors.description import read_about
from featurestore.search.vectors.plan import Kind, Plan
from featurestore.search.vectors.rows import VectorRows, unit

QUERIES = 64  # of each kind
DEPTH = 10  # neighbours that are to be found
# How many times as far as the plan a search looks that is far from all rows, until every kind has the recall asked for.
EFFORTS = (1, 2, 4, 8, 16)
# What is near two groups of rows at once: the plan itself looks far enough for it, as nothing tells that it has not.
PLANNED = ("means of two",)
GROUP = 8  # rows that a probe tells from as many others


class Search(Protocol):
    """Finds the k nearest rows of a direction with some effort."""

    def __call__(self, direction: numpy.ndarray, k: int, *, effort: int) -> numpy.ndarray: ...


def draw(rows: VectorRows, texts: numpy.ndarray | None, rng: numpy.random.Generator) -> dict[str, plan.Asked]:
    """Return queries of each kind: the directions, (q, d) of length 1, and the row that each must not find.

    `texts` are the vectors of texts that may be asked, (q, d); without any the rows are of a model, and are asked for
    by the directions that people make of them.
    """
    count = min(QUERIES, len(rows))

    def sample() -> numpy.ndarray:
        return unit(rows.take(numpy.sort(rng.choice(len(rows), count, replace=False))))

    own = numpy.sort(rng.choice(len(rows), count, replace=False)).astype(numpy.int64)
    kinds = {"rows": (unit(rows.take(own)), own)}
    if texts is not None:
        directions = {"texts": unit(texts)}
    else:
        noise = unit(rng.standard_normal((count, rows.dim)))
        groups = [sum((sample() for _ in range(GROUP)), numpy.zeros((count, rows.dim), numpy.float32)) for _ in "ab"]
        directions = {
            "near rows": unit(sample() + plan.NOISE * noise),
            "means of two": unit(_shuffle(sample(), rng) + sample()),
            "differences of two": unit(_shuffle(sample(), rng) - sample()),
            "probes": unit(groups[0] - _shuffle(groups[1], rng)),
            "random directions": unit(rng.standard_normal((count, rows.dim))),
        }
    nobody = {name: (queries, numpy.full(len(queries), -1)) for name, queries in directions.items()}
    drawn = {name: _drop_zeros(*pair) for name, pair in (kinds | nobody).items()}
    return {name: pair for name, pair in drawn.items() if len(pair[0])}


def _shuffle(vectors: numpy.ndarray, rng: numpy.random.Generator) -> numpy.ndarray:
    """Rows are sampled in order, so that two samples would hold neighbours in the file."""
    shuffled: numpy.ndarray = rng.permutation(vectors)
    return shuffled


def _drop_zeros(queries: numpy.ndarray, own: numpy.ndarray) -> plan.Asked:
    nonzero = queries.any(axis=1)
    return queries[nonzero], own[nonzero]


def settle(settled: Plan, asked: Mapping[str, plan.Asked], rows: VectorRows, search: Search) -> Plan:
    """Return the plan with the least effort at which each kind has the recall asked for, and with what each has."""
    if not asked:
        return settled
    queries, own = (numpy.concatenate([pair[n] for pair in asked.values()]) for n in (0, 1))
    _, truth = plan.nearest_rows(rows, queries, own, min(DEPTH, len(rows)), None)
    bounds = numpy.cumsum([len(pair[0]) for pair in asked.values()])[:-1]
    of_kind = dict(zip(asked, numpy.split(truth, bounds), strict=True))
    kinds: dict[str, Kind] = {}
    for effort in EFFORTS:
        for name, pair in asked.items():
            # What has the recall keeps it: looking farther finds no less.
            if name not in kinds or not _has_recall(kinds[name], settled.asked):
                kinds[name] = _measure(pair, of_kind[name], rows, functools.partial(search, effort=effort))
        settled = msgspec.structs.replace(settled, effort=effort, kinds=kinds)
        if all(_has_recall(kind, settled.asked) for kind in kinds.values()):
            break
    return settled


def _has_recall(kind: Kind, asked: float) -> bool:
    """Whether a kind has the recall that was asked for, a standard error below what was measured of it."""
    return kind.recall - kind.error >= asked or kind.recall == 1


def _measure(
    asked: plan.Asked, truth: numpy.ndarray, rows: VectorRows, search: Callable[[numpy.ndarray, int], numpy.ndarray]
) -> Kind:
    """The mean share of the true neighbours that is found; `truth` has their cosines, (q, depth), best first."""
    shares = []
    for query, own, cosines in zip(*asked, truth, strict=True):
        found = search(query, len(cosines) + (own >= 0))
        found = found[found != own][: len(cosines)]
        # Rows as near as the last are as good as it; cosines computed in another order differ in their last digit.
        enough = cosines[-1] - 1e-6
        shares.append(numpy.count_nonzero(rows.cosines(found, query) >= enough) / len(cosines))
    error = float(numpy.std(shares) / len(shares) ** 0.5)
    return Kind(recall=round(float(numpy.mean(shares)), 4), error=round(error, 4), queries=len(shares))


def describe_quality(path: Path) -> list[str]:
    """Return a line on the recall of each kind of queries of an index, the worst first; none for one that is exact."""
    if not path.is_dir():
        return []
    settled = read_about(path).plan
    worst_first = sorted(settled.kinds.items(), key=lambda entry: entry[1].recall)
    figures = ", ".join(f"{name} {kind.recall:.3f} ± {kind.error:.3f}" for name, kind in worst_first)
    return [f"recall of the nearest {DEPTH}, {settled.asked:g} asked for: {figures}"] if figures else []
