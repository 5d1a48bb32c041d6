"""What the scores of a sample say about all labels of a dictionary: a figure with its interval by method and judge."""

from __future__ import annotations

import collections
from typing import Any, NamedTuple

import numpy

from featurestore import Store
from labeler.scorers import sample, statistics


class Figure(NamedTuple):
    """The mean score of a dictionary's labels by one method and judge.

    `value` is estimated from the scores of `features`, out of `labelled` live ones; None when too few have scores.
    `unjudged` more were tried and have no value. `judgements` were given and `failures` were not. `stopped` features
    have fewer judgements because they were decided early, which moves their values, and a little this one, outward.
    """

    method: str
    negatives: str | None
    judge: str
    prompt: str | None
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    auc: float | None
    features: int
    labelled: int
    unjudged: int
    judgements: int
    failures: int
    stopped: int
    tokens: int
    money: float | None


def compute_figures(store: Store, dictionary: str, explainer: str | None = None) -> list[Figure]:
    """The figures of a dictionary, for the best labels or those of `explainer`. Raises NotFound.

    Only scores of a random sample or of all features count, not of features that were selected.
    """
    name = store.dictionary(dictionary).dictionary
    population = sample.read_labels(store, [name], explainer)
    strata = sample.assign_strata(population)
    sizes = numpy.bincount(strata) if len(strata) else numpy.zeros(0, numpy.int64)
    columns = (population[column].to_pylist() for column in ("feature", "label"))
    stratum_of = dict(zip(zip(*columns, strict=True), strata.tolist(), strict=True))
    rows = store.sql(
        "SELECT feature, label, method, negatives, judge, prompt, value, low, high, baseline, auc, n, failures, "
        "stopped, coalesce(tokens_in, 0) + coalesce(tokens_out, 0) AS tokens, money "
        "FROM scores WHERE dictionary = $name AND sampled ORDER BY feature",
        {"name": name},
    ).to_pylist()
    groups = collections.defaultdict(list)
    for row in rows:
        if (row["feature"], row["label"]) in stratum_of:
            groups[row["method"], row["negatives"] or "", row["judge"], row["prompt"] or ""].append(row)
    return [_compute_figure(groups[key], stratum_of, sizes) for key in sorted(groups)]


def _compute_figure(
    rows: list[dict[str, Any]], stratum_of: dict[tuple[int, str], int], sizes: numpy.ndarray[Any, Any]
) -> Figure:
    values = collections.defaultdict(list)
    for row in rows:
        if row["value"] is not None:
            variance = statistics.compute_variance(row["low"], row["high"])
            values[stratum_of[row["feature"], row["label"]]].append((row["value"], variance))
    strata = [
        statistics.Stratum(int(size), *numpy.array(values.get(number, []), float).reshape(-1, 2).T)
        for number, size in enumerate(sizes)
    ]
    value, low, high = statistics.estimate_mean(strata) or (None, None, None)
    judged = [row for row in rows if row["value"] is not None]
    areas = [row["auc"] for row in judged if row["auc"] is not None]
    moneys = [row["money"] for row in rows if row["money"] is not None]
    first = rows[0]
    return Figure(
        first["method"],
        first["negatives"],
        first["judge"],
        first["prompt"],
        value,
        low,
        high,
        first["baseline"],
        float(numpy.mean(areas)) if areas else None,
        len(judged),
        int(sizes.sum()),
        len(rows) - len(judged),
        sum(row["n"] for row in rows),
        sum(row["failures"] for row in rows),
        sum(row["stopped"] for row in rows),
        sum(row["tokens"] for row in rows),
        sum(moneys) if moneys else None,
    )
