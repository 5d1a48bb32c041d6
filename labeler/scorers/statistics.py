"""Scores and their confidence intervals, from counts and arrays. Knows nothing of labels, judges or stores.

Sources. Wilson, J. Am. Stat. Assoc. 22 (1927): interval of a proportion. Newcombe, Stat. Med. 17 (1998) 873, method 10,
and Zou and Donner, Stat. Med. 27 (2008) 1693: intervals of sums from intervals of their terms. Hanley and McNeil,
Radiology 143 (1982) 29, and Newcombe, Stat. Med. 25 (2006) 559, method 5: area under the ROC curve. Efron and
Tibshirani, An Introduction to the Bootstrap (1993), ch. 13: percentile interval. Cochran, Sampling Techniques (1977),
ch. 5: estimates from strata.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy
from numpy.typing import ArrayLike

Floats = numpy.ndarray[Any, numpy.dtype[numpy.float64]]
CONFIDENCE = 0.95
RESAMPLES, SEED = 2000, 20260101


class Estimate(NamedTuple):
    """A number and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def deviations(looks: int = 1) -> float:
    """Standard deviations that an interval reaches, so that the intervals of all `looks` hold together with 95 %.

    Bonferroni's correction: a run that may stop at each look at growing data would otherwise stop by chance too often.
    """
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * looks))


def wilson(right: int, n: int, z: float) -> Estimate:
    """A proportion of n > 0 trials with Wilson's score interval, which stays within 0 and 1 and has a width at both."""
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def balanced_accuracy(hits: int, positives: int, rejections: int, negatives: int, z: float) -> Estimate:
    """The mean of the share of positives that were hit and the share of negatives that were rejected, some of both
    given.

    Its interval joins the two Wilson intervals by the square root of the sum of squares of their reaches.
    """
    hit, rejected = wilson(hits, positives, z), wilson(rejections, negatives, z)
    value = (hit.value + rejected.value) / 2
    below = math.hypot(hit.value - hit.low, rejected.value - rejected.low) / 2
    above = math.hypot(hit.high - hit.value, rejected.high - rejected.value) / 2
    return Estimate(value, max(0.0, value - below), min(1.0, value + above))


def area(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Area under the ROC curve: the share of pairs in which the positive has the larger number, ties counting half."""
    low = numpy.sort(numpy.asarray(negatives, dtype=numpy.float64))
    high = numpy.asarray(positives, dtype=numpy.float64)
    above = numpy.searchsorted(low, high, "left").sum()
    beside = numpy.searchsorted(low, high, "right").sum() - above
    return float((above + beside / 2) / (len(high) * len(low)))


def area_interval(value: float, positives: int, negatives: int, z: float) -> Estimate:
    """An area under the ROC curve with the interval of the areas from which it is no more than z deviations away.

    The deviation is Hanley and McNeil's, at the area in question, with both sizes their mean, as Newcombe advises: so
    the interval is no point at an area of 1.
    """

    def deviation(at: float) -> float:
        """The standard deviation at an area."""
        extra = (positives + negatives) / 2 - 1
        return math.sqrt(
            at * (1 - at) * (1 + extra * (1 - at) / (2 - at) + extra * at / (1 + at)) / (positives * negatives)
        )

    def end(outer: float) -> float:
        """The end of the interval between the value and `outer`, by bisection."""
        inside, outside = value, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(middle - value) <= z * deviation(middle):
                inside = middle
            else:
                outside = middle
        return inside

    return Estimate(value, end(0.0), end(1.0))


def correlation(expected: Sequence[Floats], actual: Sequence[Floats], z: float, resamples: int = RESAMPLES) -> Estimate:
    """Pearson's correlation over the tokens of all texts, each text an array (tokens,); 0 where one side is constant.

    Tokens of one text depend on each other, so the interval comes from resampling whole texts: percentiles of a
    bootstrap with a fixed seed.
    """
    sums = numpy.array(
        [
            (len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())
            for x, y in zip(expected, actual, strict=True)
        ],
        dtype=numpy.float64,
    )
    value = float(_correlation(sums.sum(0)))
    rng = numpy.random.default_rng(SEED)
    counts = rng.multinomial(len(sums), numpy.full(len(sums), 1 / len(sums)), size=resamples)
    resampled = _correlation(counts @ sums)
    outside = (1 - NormalDist().cdf(z)) * 100
    low, high = numpy.percentile(resampled, [outside, 100 - outside])
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def _correlation(sums: Floats) -> Floats:
    """Correlations (...), from the sums (..., 6) of 1, x, y, xx, yy and xy."""
    n, x, y, xx, yy, xy = numpy.moveaxis(sums, -1, 0)
    spread = (n * xx - x * x).clip(0) * (n * yy - y * y).clip(0)
    # Sums of equal numbers differ from zero in their last bits.
    known = spread > 1e-12 * (n * xx) * (n * yy)
    return numpy.where(known, (n * xy - x * y) / numpy.sqrt(numpy.where(known, spread, 1.0)), 0.0).clip(-1, 1)


class Stratum(NamedTuple):
    """Similar features: their number, and the values (n,) and measurement variances (n,) of those measured."""

    size: int
    values: Floats
    variances: Floats


def estimate_mean(strata: Sequence[Stratum]) -> Estimate | None:
    """The mean over all features of the strata, from those measured; None when fewer than two are.

    Each stratum's mean counts by its size; a stratum with fewer than two measured features joins its neighbour. The
    spread between measured values comes from differences between features and from the error of each value; it is taken
    to be at least the latter. No correction is made for strata that are measured completely: their values have errors
    all the same. The interval is Student's, with Satterthwaite's degrees of freedom.
    """
    joined = _join_small([stratum for stratum in strata if stratum.size])
    if not joined:
        return None
    total = sum(stratum.size for stratum in joined)
    value = sum(stratum.size / total * float(stratum.values.mean()) for stratum in joined)
    parts = [
        (part.size / total) ** 2 * max(float(part.values.var(ddof=1)), float(part.variances.mean())) / len(part.values)
        for part in joined
    ]
    if not sum(parts):
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(stratum.values) - 1) for part, stratum in zip(parts, joined, strict=True)
    )
    half = student(freedom) * math.sqrt(sum(parts))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))


def student(freedom: float) -> float:
    """Estimated standard deviations that a 95 % interval reaches: Student's t, by Abramowitz and Stegun 26.7.5.

    The error is under 1 % from 3 degrees of freedom on. Below, the exact values for 1 and 2 are used.
    """
    if freedom < 3:
        return 12.7062 if freedom < 2 else 4.3027
    z = deviations()
    terms = [
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    ]
    return sum(term / freedom**power for power, term in enumerate(terms))


def _join_small(strata: Sequence[Stratum]) -> list[Stratum]:
    """Strata with at least two measured features each; none when there are not two in all."""
    joined: list[Stratum] = []
    for stratum in strata:
        if joined and (len(joined[-1].values) < 2 or len(stratum.values) < 2):
            before = joined.pop()
            stratum = Stratum(
                before.size + stratum.size,
                numpy.concatenate([before.values, stratum.values]),
                numpy.concatenate([before.variances, stratum.variances]),
            )
        joined.append(stratum)
    return joined if joined and len(joined[-1].values) >= 2 else []


def compute_variance(low: float, high: float) -> float:
    """The variance of a value with this 95 % interval."""
    return ((high - low) / (2 * deviations())) ** 2
