"""Orders of rows against NumPy's own sorts."""

import numpy
import pytest

from ingest.statistics.ragged import best_first, grouped


@pytest.mark.parametrize("cells", [1, 40, 1 << 20, 1 << 40])
@pytest.mark.parametrize("kind", ["strengths", "hashes", "ties"])
def test_best_first_is_the_order_of_three_keys(cells, kind):
    """Also where cells leave so few bits that strengths or hashes are cut short, and where they are equal."""
    rng = numpy.random.default_rng(3)
    cell = rng.integers(0, cells, 5000)
    cell[::7] = cells - 1
    order = {
        "strengths": -rng.random(5000, numpy.float32),
        "hashes": numpy.zeros(5000),
        "ties": -rng.integers(0, 3, 5000).astype(numpy.float32),
    }[kind]
    hashes = rng.integers(0, (1 << 63) - 1, 5000)
    hashes[::5] = (hashes[::5] >> 30 << 30) + rng.integers(0, 2, 1000)
    wanted = numpy.lexsort((hashes, order, cell))
    for column in (cell, order, hashes):
        numpy.testing.assert_array_equal(column[best_first(cell, order, hashes)], column[wanted])


def test_nothing_has_an_order():
    none = numpy.empty(0, numpy.int64)
    assert len(best_first(none, none.astype(numpy.float32), none)) == 0


@pytest.mark.parametrize("below", [1 << 16, 1 << 20])
def test_groups_keep_their_order(below):
    numbers = numpy.random.default_rng(0).integers(0, below, 3000) // 500 * 500
    numpy.testing.assert_array_equal(grouped(numbers, below), numpy.argsort(numbers, kind="stable"))
