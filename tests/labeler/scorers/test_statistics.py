"""Estimates and intervals: against slow oracles, published figures and simulated coverage."""

import itertools
import math

import numpy
import pytest

from labeler.scorers import statistics as s

Z = s.deviations()


def test_wilson_gives_published_figures():
    """Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29."""
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = s.wilson(right, n, Z)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def binomial(n, p):
    return numpy.array([math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)])


@pytest.mark.parametrize(("positives", "negatives"), [(10, 10), (20, 10), (5, 30)])
def test_the_interval_of_balanced_accuracy_covers(positives, negatives):
    """Exact coverage, over all outcomes, stays near 95 % wherever the truth lies, also at the edges."""
    all_covered = []
    for tpr, tnr in itertools.product((0.05, 0.3, 0.5, 0.8, 0.97), repeat=2):
        truth, covered = (tpr + tnr) / 2, 0.0
        for hits, p in enumerate(binomial(positives, tpr)):
            for rejected, q in enumerate(binomial(negatives, tnr)):
                found = s.balanced_accuracy(hits, positives, rejected, negatives, Z)
                assert 0 <= found.low <= found.value <= found.high <= 1
                covered += p * q * (found.low <= truth <= found.high)
        all_covered.append(covered)
    assert min(all_covered) > 0.9
    assert numpy.mean(all_covered) > 0.94


def test_a_judge_that_always_says_the_same_has_half():
    """Whatever the class sizes: 4 positives and 10 negatives give plain accuracy 0.714 to who always says no."""
    assert s.balanced_accuracy(0, 4, 10, 10, Z).value == s.balanced_accuracy(4, 4, 0, 10, Z).value == 0.5


def test_the_area_is_that_of_all_pairs():
    rng = numpy.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, rng.integers(1, 12)), rng.integers(0, 6, rng.integers(1, 12))
        slow = numpy.mean([1.0 if x > y else 0.5 if x == y else 0.0 for x in a for y in b])
        assert s.area(a, b) == pytest.approx(slow)


@pytest.mark.parametrize("shift", [0.0, 0.8, 2.5])
def test_the_interval_of_an_area_covers(shift):
    rng, truth = numpy.random.default_rng(1), 0.5 * math.erfc(-shift / 2)
    covered = 0
    for _ in range(800):
        value = s.area(rng.normal(shift, 1, 12), rng.normal(0, 1, 12))
        found = s.area_interval(value, 12, 12, Z)
        assert 0 <= found.low <= value <= found.high <= 1
        covered += found.low <= truth <= found.high
    assert covered / 800 > 0.92
    assert s.area_interval(1.0, 8, 8, Z).low < 0.9


def test_the_correlation_is_that_of_all_tokens_and_its_interval_knows_of_texts():
    rng = numpy.random.default_rng(2)
    covered = 0
    for _ in range(200):
        shared = rng.normal(size=12)  # a level that a text's tokens share
        x = [rng.normal(size=15) + 2 * level for level in shared]
        y = [0.5 * a + rng.normal(size=15) + 2 * rng.normal() for a in x]
        found = s.correlation(x, y, Z, resamples=400)
        assert found.value == pytest.approx(numpy.corrcoef(numpy.concatenate(x), numpy.concatenate(y))[0, 1])
        variance = 1 + 4
        covered += found.low <= 0.5 * variance**0.5 / (0.25 * variance + 1 + 4) ** 0.5 <= found.high
    assert covered / 200 > 0.85, "an interval over single tokens covers in less than half of the cases"
    again = [s.correlation(x, y, Z) for _ in range(2)]
    assert again[0] == again[1]


def test_a_side_that_never_changes_tells_nothing():
    flat, some = [numpy.full(5, 0.1)] * 4, [numpy.arange(5.0)] * 4
    assert s.correlation(flat, some, Z) == s.correlation(some, flat, Z) == (0.0, 0.0, 0.0)


def test_more_looks_reach_further():
    assert s.deviations(1) == pytest.approx(1.959964)
    assert s.deviations(5) == pytest.approx(2.575829)


def strata(population, drawn, rng):
    return [
        s.Stratum(len(values), rng.choice(values, n, replace=False), numpy.zeros(n))
        for values, n in zip(population, drawn, strict=True)
    ]


def test_the_figure_of_a_sample_covers_that_of_all():
    rng = numpy.random.default_rng(3)
    population = [rng.beta(8, 2, 300), rng.beta(2, 2, 100), rng.beta(2, 6, 600)]
    truth = numpy.concatenate(population).mean()
    found = [s.estimate_mean(strata(population, (15, 10, 20), rng)) for _ in range(600)]
    assert numpy.mean([one.value for one in found]) == pytest.approx(truth, abs=0.01), "sizes weigh, not numbers drawn"
    assert numpy.mean([one.low <= truth <= one.high for one in found]) > 0.91


def test_values_that_agree_are_no_surer_than_their_measurements():
    values = numpy.full(5, 0.9)
    found = s.estimate_mean([s.Stratum(5, values, numpy.full(5, 0.02))])
    assert found.high == 1.0
    assert found.value - found.low == pytest.approx(2.7764 * (0.02 / 5) ** 0.5, rel=0.01)
    assert s.compute_variance(0.5 - Z * 0.1, 0.5 + Z * 0.1) == pytest.approx(0.01)
    assert s.estimate_mean([s.Stratum(5, values, numpy.zeros(5))]) == (pytest.approx(0.9),) * 3


def test_few_values_reach_further():
    """Student's t at 97.5 %, from any table."""
    for freedom, wanted in ((1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1e9, Z)):
        assert s.student(freedom) == pytest.approx(wanted, rel=0.012)
    rng = numpy.random.default_rng(5)
    samples = [s.Stratum(1000, rng.normal(0.2, 0.1, 6), numpy.zeros(6)) for _ in range(2000)]
    found = [s.estimate_mean([one]) for one in samples]
    assert numpy.mean([one.low <= 0.2 <= one.high for one in found]) == pytest.approx(0.95, abs=0.015)


def test_strata_too_small_to_tell_join_their_neighbours():
    one, two = numpy.array([0.5]), numpy.array([0.1, 0.3])
    empty = numpy.zeros(0)
    joined = s.estimate_mean([s.Stratum(10, one, one * 0), s.Stratum(20, two, two * 0)])
    assert joined.value == pytest.approx(0.3)
    assert s.estimate_mean([s.Stratum(10, one, one * 0)]) is None
    assert s.estimate_mean([s.Stratum(10, one, one * 0), s.Stratum(5, empty, empty)]) is None
    assert s.estimate_mean([]) is None
    both = s.estimate_mean([s.Stratum(10, empty, empty), s.Stratum(20, two, two * 0)])
    assert both.value == pytest.approx(0.2)
