"""Which labels are scored, and which of them a judge is asked about: SQL chooses, and chance draws from strata."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore import BadRequest
from labeler.selection import quoted

DENSITIES, SIMILARITIES = 4, 2  # strata by how often a feature fires, and by how its label's embedding fits


class Target(NamedTuple):
    """A label to score, in a `row` of what was chosen; `done` are the methods by which this judge scored it before."""

    dictionary: str
    feature: int
    label: str
    explainer: str
    done: frozenset[str]
    row: int

    @property
    def id(self) -> str:
        """The feature's id."""
        return f"{self.dictionary}/{self.feature}"


def labels(
    store: Any,
    dictionaries: Sequence[str],
    explainer: str | None,
    where: str | None = None,
    order: str | None = None,
    limit: int | None = None,
    judge: str = "",
    prompts: Sequence[str] = (),
) -> pyarrow.Table:
    """The labels of live features that fulfil `where` (SQL over the view features), ordered by `order` (default: by id).

    Those that `explainer` made, or the best of each feature. Columns: dictionary, feature, label, explainer, density,
    similarity (the label's embedding score, null without one) and done (the methods by which `judge` scored it with one
    of `prompts`, or with none). Raises BadRequest when the SQL is not to be read.
    """
    names = ", ".join(quoted(name) for name in dictionaries)
    condition = f"AND (\n{where}\n)" if where else ""
    first = f"{order}\n, " if order else ""
    of = f"labels WHERE explainer = {quoted(explainer)}" if explainer else "features WHERE label IS NOT NULL"
    known = ", ".join(["NULL", *map(quoted, prompts)])
    return store.sql(
        f"""
        SELECT f.dictionary, f.feature, l.label, l.explainer, f.density, e.similarity, d.done
        FROM (SELECT *, row_number() OVER (ORDER BY {first}dictionary, feature) AS place
              FROM features WHERE dictionary IN ({names}) AND active_tokens > 0 {condition}) f
        JOIN (SELECT dictionary, feature, label, explainer FROM {of} AND dictionary IN ({names})) l
          ON l.dictionary = f.dictionary AND l.feature = f.feature
        LEFT JOIN (SELECT dictionary, feature, label, avg(value) AS similarity FROM scores
                   WHERE method = 'embedding' AND negatives = 'random' GROUP BY dictionary, feature, label) e
          ON e.dictionary = l.dictionary AND e.feature = l.feature AND e.label = l.label
        LEFT JOIN (SELECT dictionary, feature, label, list(DISTINCT method) AS done FROM stored.scores
                   WHERE judge = {quoted(judge)} AND (prompt IS NULL OR prompt IN ({known})) GROUP BY ALL) d
          ON d.dictionary = l.dictionary AND d.feature = l.feature AND d.label = l.label
        ORDER BY place {f"LIMIT {limit}" if limit is not None else ""}
        """
    )


def targets(table: pyarrow.Table, first: int = 0) -> Iterator[Target]:
    """The rows of `labels`, counted from `first`, as they are needed."""
    number = itertools.count(first)
    for batch in table.select(["dictionary", "feature", "label", "explainer", "done"]).to_batches(4096):
        for one in batch.to_pylist():
            done = frozenset(one["done"] or ())
            yield Target(one["dictionary"], one["feature"], one["label"], one["explainer"], done, next(number))


def strata(table: pyarrow.Table) -> numpy.ndarray:
    """The stratum of each row of `labels`, (n,) int: quarters by density, each in halves by similarity where that is known."""
    density = table["density"].to_numpy().astype(numpy.float64)
    similarity = table["similarity"].to_numpy().astype(numpy.float64)
    quarter = _rank(density, DENSITIES)
    known = ~numpy.isnan(similarity)
    half = numpy.zeros(len(density), numpy.int64)
    if known.any():
        half[known] = 1 + _rank(similarity[known], SIMILARITIES)
    return quarter * (SIMILARITIES + 1) + half


def _rank(values: numpy.ndarray, parts: int) -> numpy.ndarray:
    """Which of so many equal parts of the sorted values each is in; equal values share one."""
    ordered = numpy.sort(numpy.nan_to_num(values))
    return numpy.searchsorted(ordered, numpy.nan_to_num(values), "left") * parts // max(1, len(values))


def draw(table: pyarrow.Table, n: int) -> pyarrow.Table:
    """n rows of `labels` by chance, from each stratum as many as its share, in an order of chance.

    Which rows depends on the features' ids only: a larger sample holds most of a smaller one. Raises BadRequest.
    """
    if n < 1:
        raise BadRequest(f"sample: {n} is not a number of features")
    if n >= table.num_rows:
        n = table.num_rows
    of = strata(table)
    ids = zip(
        table["dictionary"].to_pylist(), table["feature"].to_pylist(), table["explainer"].to_pylist(), strict=True
    )
    lots = numpy.array([int.from_bytes(hashlib.sha256(repr(id).encode()).digest()[:7]) for id in ids], numpy.int64)
    by_lot = numpy.lexsort((lots, of))
    # The k-th of a stratum of m stands at (k + 1/2) / m: the first n of all, by that, are of each stratum its share.
    sizes = {int(one): int(count) for one, count in zip(*numpy.unique(of, return_counts=True), strict=True)}
    place, seen = numpy.empty(len(of)), dict.fromkeys(sizes, 0)
    for row in by_lot.tolist():
        stratum = int(of[row])
        place[row] = (seen[stratum] + 0.5) / sizes[stratum]
        seen[stratum] += 1
    return table.take(numpy.lexsort((lots, place))[:n])
