"""Maps of vectors: near vectors are near, the same vectors have the same places, and odd ones have a place too."""

import numpy
import pytest

from featurestore.search.vectors import plane


def groups(count, size, dim=16):
    rng = numpy.random.default_rng(3)
    centres = rng.normal(size=(count, dim))
    which = numpy.repeat(numpy.arange(count), size)
    return (centres[which] + 0.05 * rng.normal(size=(len(which), dim))).astype(numpy.float32), which


def share_of_own_group(places, which):
    apart = numpy.linalg.norm(places[:, None] - places[None], axis=2)
    numpy.fill_diagonal(apart, numpy.inf)
    nearest = numpy.argsort(apart, axis=1)[:, :5]
    return (which[nearest] == which[:, None]).mean()


def test_near_vectors_are_near():
    pytest.importorskip("openTSNE")
    vectors, which = groups(6, 30)
    places = plane.place(vectors)
    assert (places.shape, places.dtype) == ((180, 2), numpy.float32)
    assert numpy.abs(places).max() == pytest.approx(1)
    assert share_of_own_group(places, which) > 0.95
    # Lengths do not count.
    numpy.testing.assert_allclose(plane.place(vectors * 7), places, atol=0.05)


def test_what_is_not_embedded_lies_with_its_neighbours(monkeypatch):
    pytest.importorskip("openTSNE")
    monkeypatch.setattr(plane, "MOST_EMBEDDED", 90)
    vectors, which = groups(6, 30)
    steps = []
    places = plane.place(vectors, lambda name, total: steps.append(total) or steps.append)
    assert share_of_own_group(places, which) > 0.9
    assert steps == [180, 90, 90]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
def test_few_vectors_are_laid_out_without_the_library(count, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openTSNE", None)
    vectors = numpy.random.default_rng(0).normal(size=(count, 8)).astype(numpy.float16)
    places = plane.place(vectors)
    assert places.shape == (count, 2) and numpy.isfinite(places).all() and numpy.abs(places).max(initial=0) <= 1
    numpy.testing.assert_array_equal(plane.place(vectors), places)


def test_zero_and_equal_vectors_have_a_place():
    places = plane.place(numpy.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], numpy.float32))
    assert places[0].tolist() == [0, 0] and places[1].tolist() != places[2].tolist()
    assert (plane.place(numpy.ones((4, 3), numpy.float32)) == 0).all()
    assert plane.place(numpy.ones((3, 1), numpy.float32)).shape == (3, 2)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openTSNE", None)
    with pytest.raises(plane.Unavailable, match=r"pip install 'featurestore\[map\]'"):
        plane.place(groups(2, 40)[0])
