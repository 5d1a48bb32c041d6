"""Queries by several features and vectors: mean directions, differences, the opposite, against exact cosines."""

import numpy
import pytest

from tests.support.exact_search import LIVE, check_exact, cosines, unit


@pytest.fixture(scope="module")
def store(either):
    return either


def test_centroid_and_difference(store):
    hits = store.nearest(["tiny/0-res/1", "tiny/0-res/2"], k=12)
    wanted = unit([1, 2]).mean(axis=0)
    check_exact(hits, cosines(wanted), [i for i in LIVE if i not in (1, 2)], 12)
    hits = store.nearest(["tiny/0-res/1", "tiny/0-res/2"], unlike="tiny/1-res/2", k=12)
    check_exact(hits, cosines(wanted - unit([26])[0]), [i for i in LIVE if i not in (1, 2, 26)], 12)
    vector = numpy.random.default_rng(0).normal(size=8)
    hits = store.nearest(vector, unlike=["tiny/0-res/5"], k=12)
    check_exact(hits, cosines(vector / numpy.linalg.norm(vector) - unit([5])[0]), [i for i in LIVE if i != 5], 12)


def test_the_least_similar_come_first_when_the_opposite_is_asked_for(store):
    vector = numpy.random.default_rng(1).normal(size=8)
    hits = store.nearest(vector, opposite=True, k=44)
    scores = cosines(vector)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores[LIVE]), abs=1e-5)
    assert hits[0].why == f"cosine {hits[0].score:.3f}"
