"""Numbers of scores and how sure they are. Pure: counts and arrays in, an estimate with its confidence interval out.

Sources. Wilson, J. Am. Stat. Assoc. 22 (1927): interval of a proportion. Newcombe, Stat. Med. 17 (1998) 873, method 10,
and Zou and Donner, Stat. Med. 27 (2008) 1693: intervals of sums from intervals of their terms. Hanley and McNeil,
Radiology 143 (1982) 29, and Newcombe, Stat. Med. 25 (2006) 559, method 5: area under the ROC curve. Efron and Tibshirani,
An Introduction to the Bootstrap (1993), ch. 13: percentile interval. Cochran, Sampling Techniques (1977), ch. 5:
estimates from strata.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy

CONFIDENCE = 0.95
RESAMPLES, SEED = 2000, 20260101


class Estimate(NamedTuple):
    """A number and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def deviations(looks: int = 1) -> float:
    """How many standard deviations an interval reaches, so that of `looks` at growing data all hold at once with 95 %.

    Bonferroni's correction: whoever may stop at each look would else find one that pleases too often.
    """
    return NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / (2 * looks))


def wilson(right: int, n: int, z: float) -> Estimate:
    """A proportion of n > 0 trials, with Wilson's score interval, which stays within 0 and 1 and is no point at either."""
    share, spread = right / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def balanced_accuracy(hits: int, positives: int, rejections: int, negatives: int, z: float) -> Estimate:
    """The mean of the share of positives found and the share of negatives rejected, there being some of both.

    Its interval joins the two Wilson intervals by the square root of the sum of squares of their reaches.
    """
    found, rejected = wilson(hits, positives, z), wilson(rejections, negatives, z)
    value = (found.value + rejected.value) / 2
    below = math.hypot(found.value - found.low, rejected.value - rejected.low) / 2
    above = math.hypot(found.high - found.value, rejected.high - rejected.value) / 2
    return Estimate(value, max(0.0, value - below), min(1.0, value + above))


def area(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Area under the ROC curve: how often a positive has the larger number of a pair, ties counting half."""
    low = numpy.sort(numpy.asarray(negatives, dtype=numpy.float64))
    above = numpy.searchsorted(low, positives, "left").sum()
    beside = numpy.searchsorted(low, positives, "right").sum() - above
    return float((above + beside / 2) / (len(positives) * len(negatives)))


def area_interval(value: float, positives: int, negatives: int, z: float) -> Estimate:
    """An area under the ROC curve with the interval of the areas from which it is no more than z deviations away.

    The deviation is Hanley and McNeil's, at the area in question, with both sizes their mean, as Newcombe advises: so
    the interval is no point at an area of 1.
    """

    def deviation(at: float) -> float:
        extra = (positives + negatives) / 2 - 1
        return math.sqrt(
            at * (1 - at) * (1 + extra * (1 - at) / (2 - at) + extra * at / (1 + at)) / (positives * negatives)
        )

    def end(outer: float) -> float:
        inside, outside = value, outer
        for _ in range(60):
            middle = (inside + outside) / 2
            if abs(middle - value) <= z * deviation(middle):
                inside = middle
            else:
                outside = middle
        return inside

    return Estimate(value, end(0.0), end(1.0))


def correlation(
    expected: Sequence[numpy.ndarray], actual: Sequence[numpy.ndarray], z: float, resamples: int = RESAMPLES
) -> Estimate:
    """Pearson's correlation over the tokens of all texts, each an array of its tokens; 0 where one side never changes.

    Tokens of a text hang together, so the interval comes from resampling whole texts (percentiles of a bootstrap with a
    fixed seed).
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
    found = _correlation(counts @ sums)
    outside = (1 - NormalDist().cdf(z)) * 100
    low, high = numpy.percentile(found, [outside, 100 - outside])
    return Estimate(value, min(value, float(low)), max(value, float(high)))


def _correlation(sums: numpy.ndarray) -> numpy.ndarray:
    """From the sums (..., 6) of 1, x, y, xx, yy and xy."""
    n, x, y, xx, yy, xy = numpy.moveaxis(sums, -1, 0)
    spread = (n * xx - x * x).clip(0) * (n * yy - y * y).clip(0)
    # Sums of equal numbers differ from zero in their last bits.
    known = spread > 1e-12 * (n * xx) * (n * yy)
    return numpy.where(known, (n * xy - x * y) / numpy.sqrt(numpy.where(known, spread, 1.0)), 0.0).clip(-1, 1)


class Stratum(NamedTuple):
    """Features that are alike: how many there are, and of those measured the values and their measurement variances."""

    size: int
    values: numpy.ndarray
    variances: numpy.ndarray


def stratified(strata: Sequence[Stratum]) -> Estimate | None:
    """The mean over all features of the strata, from those measured; None when fewer than two are.

    Each stratum's mean counts by its size; one with fewer than two measured features joins its neighbour. The spread
    between measured values holds how features differ and how unsure each value is; it is taken for no less than the
    latter alone. That all of a stratum may be measured is not counted in its favour: the values are unsure all the same.
    The interval is Student's, with Satterthwaite's degrees of freedom.
    """
    joined = _joined([one for one in strata if one.size])
    if not joined:
        return None
    total = sum(one.size for one in joined)
    value = sum(one.size / total * float(one.values.mean()) for one in joined)
    parts = [
        (one.size / total) ** 2 * max(float(one.values.var(ddof=1)), float(one.variances.mean())) / len(one.values)
        for one in joined
    ]
    if not sum(parts):
        return Estimate(value, value, value)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(one.values) - 1) for part, one in zip(parts, joined, strict=True))
    half = student(freedom) * math.sqrt(sum(parts))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half))


def student(freedom: float) -> float:
    """How many estimated standard deviations a 95 % interval reaches: Student's t, by Abramowitz and Stegun 26.7.5.

    Within 1 % from 3 degrees of freedom on; for fewer, those of 1 and 2 are known and stand for what lies between.
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


def _joined(strata: Sequence[Stratum]) -> list[Stratum]:
    found: list[Stratum] = []
    for one in strata:
        if found and (len(found[-1].values) < 2 or len(one.values) < 2):
            before = found.pop()
            one = Stratum(
                before.size + one.size,
                numpy.concatenate([before.values, one.values]),
                numpy.concatenate([before.variances, one.variances]),
            )
        found.append(one)
    return found if found and len(found[-1].values) >= 2 else []


def variance_of(low: float, high: float) -> float:
    """The variance that a 95 % interval tells of."""
    return ((high - low) / (2 * deviations())) ** 2
