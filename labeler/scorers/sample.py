"""Which labels are scored, and which of them a judge is asked about: SQL chooses, and a random sample has strata."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore import BadRequest, Store

Integers = numpy.ndarray[Any, numpy.dtype[numpy.int64]]
Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
DENSITIES, SIMILARITIES = 4, 2  # strata by how often a feature fires, and by its label's embedding score


class Target(NamedTuple):
    """A label to score, and its `row` in the table; `done` are the methods by which this judge scored it before."""

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


def read_labels(
    store: Store,
    dictionaries: Sequence[str],
    explainer: str | None,
    where: str | None = None,
    order: str | None = None,
    limit: int | None = None,
    judge: str = "",
    prompts: Sequence[str] = (),
) -> pyarrow.Table:
    """The labels of live features that fulfil `where` (SQL over the view features), ordered by `order` (default: by
    id).

    Labels of `explainer`, or the best of each feature. Columns: dictionary, feature, label, explainer, density,
    similarity (the label's embedding score, null without one) and done (the methods by which `judge` scored it with one
    of `prompts`, or with none). Raises BadRequest when the SQL cannot be read.
    """
    condition = f"AND (\n{where}\n)" if where else ""
    first = f"{order}\n, " if order else ""
    source = "labels WHERE explainer = $explainer" if explainer else "features WHERE label IS NOT NULL"
    parameters = {"names": list(dictionaries), "judge": judge, "prompts": list(prompts), "rows": limit}
    return store.sql(
        f"""
        SELECT f.dictionary, f.feature, l.label, l.explainer, f.density, e.similarity, d.done
        FROM (SELECT *, row_number() OVER (ORDER BY {first}dictionary, feature) AS place
              FROM features WHERE dictionary IN $names AND coalesce(active_tokens, density) > 0 {condition}) f
        JOIN (SELECT dictionary, feature, label, explainer FROM {source} AND dictionary IN $names) l
          ON l.dictionary = f.dictionary AND l.feature = f.feature
        LEFT JOIN (SELECT dictionary, feature, label, avg(value) AS similarity FROM scores
                   WHERE method = 'embedding' AND negatives = 'random' GROUP BY dictionary, feature, label) e
          ON e.dictionary = l.dictionary AND e.feature = l.feature AND e.label = l.label
        LEFT JOIN (SELECT dictionary, feature, label, list(DISTINCT method) AS done FROM stored.scores
                   WHERE judge = $judge AND (prompt IS NULL OR prompt IN $prompts) GROUP BY ALL) d
          ON d.dictionary = l.dictionary AND d.feature = l.feature AND d.label = l.label
        ORDER BY place LIMIT $rows
        """,
        parameters | ({"explainer": explainer} if explainer else {}),
    ).to_arrow()


def iterate_targets(table: pyarrow.Table, first: int = 0) -> Iterator[Target]:
    """The rows of `read_labels`, counted from `first`, as they are needed."""
    number = itertools.count(first)
    for batch in table.select(["dictionary", "feature", "label", "explainer", "done"]).to_batches(4096):
        for row in batch.to_pylist():
            done = frozenset(row["done"] or ())
            yield Target(row["dictionary"], row["feature"], row["label"], row["explainer"], done, next(number))


def assign_strata(table: pyarrow.Table) -> Integers:
    """The stratum of each row of `read_labels`, (n,) int64: quarters by density, each halved by known similarity."""
    density = table["density"].to_numpy().astype(numpy.float64)
    similarity = table["similarity"].to_numpy().astype(numpy.float64)
    quarter = _rank(density, DENSITIES)
    known = ~numpy.isnan(similarity)
    half = numpy.zeros(len(density), numpy.int64)
    if known.any():
        half[known] = 1 + _rank(similarity[known], SIMILARITIES)
    return quarter * (SIMILARITIES + 1) + half


def _rank(values: Floats, parts: int) -> Integers:
    """The part (n,) int64 of each value when the sorted values are cut in equal parts; equal values share one."""
    ordered = numpy.sort(numpy.nan_to_num(values))
    return numpy.searchsorted(ordered, numpy.nan_to_num(values), "left") * parts // max(1, len(values))


def draw_sample(table: pyarrow.Table, n: int) -> pyarrow.Table:
    """A random sample of n rows of `read_labels`, from each stratum its share, in random order.

    It depends on the features' ids only, so a larger sample holds most of a smaller one. Raises BadRequest for n < 1.
    """
    if n < 1:
        raise BadRequest(f"sample: {n} is not a number of features")
    if n >= table.num_rows:
        n = table.num_rows
    strata = assign_strata(table)
    ids = zip(
        table["dictionary"].to_pylist(), table["feature"].to_pylist(), table["explainer"].to_pylist(), strict=True
    )
    lots = numpy.array([int.from_bytes(hashlib.sha256(repr(id).encode()).digest()[:7]) for id in ids], numpy.int64)
    by_lot = numpy.lexsort((lots, strata))
    # The k-th of a stratum of m gets the place (k + 1/2) / m, so the first n by place hold each stratum's share.
    sizes = {int(stratum): int(size) for stratum, size in zip(*numpy.unique(strata, return_counts=True), strict=True)}
    place, seen = numpy.empty(len(strata)), dict.fromkeys(sizes, 0)
    for row in by_lot.tolist():
        stratum = int(strata[row])
        place[row] = (seen[stratum] + 0.5) / sizes[stratum]
        seen[stratum] += 1
    return table.take(numpy.lexsort((lots, place))[:n])
