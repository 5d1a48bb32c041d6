"""Orders and ranks of rows against NumPy's own sorts, and rows of lists against Python's."""

import dataclasses
from typing import ClassVar

import numpy
import pytest

from ingest.statistics.ragged import Ragged, best_first, concatenate_ranges, order_by_group, rank_in_groups


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
    numpy.testing.assert_array_equal(order_by_group(numbers, below), numpy.argsort(numbers, kind="stable"))


def test_ranges_follow_one_another():
    ranges = concatenate_ranges(numpy.array([5, 0, 9, 2]), numpy.array([3, 0, 1, 2]))
    assert ranges.tolist() == [5, 6, 7, 9, 2, 3]
    assert concatenate_ranges(numpy.empty(0, numpy.int64), numpy.empty(0, numpy.int64)).tolist() == []


def test_ranks_begin_anew_with_each_run():
    assert rank_in_groups(numpy.array([4, 4, 4, 1, 4, 4])).tolist() == [0, 1, 2, 0, 0, 1]
    assert rank_in_groups(numpy.empty(0)).tolist() == []


@dataclasses.dataclass
class Lists(Ragged):
    LISTS: ClassVar[tuple[str, ...]] = ("letters",)

    letters: numpy.ndarray

    @classmethod
    def column_types(cls):
        return super().column_types() | {"letters": "<U1"}


def make_lists(cells, hashes, words):
    counts = numpy.array([len(word) for word in words])
    letters = numpy.array(list("".join(words)))
    return Lists(numpy.array(cells), numpy.zeros(len(cells)), numpy.array(hashes), counts, letters)


def test_rows_are_taken_with_their_lists():
    rows = make_lists([0, 0, 1], [7, 3, 5], ["abc", "", "de"]).take(numpy.array([2, 1, 0, 2]))
    assert rows.counts.tolist() == [2, 0, 3, 2]
    assert "".join(rows.letters) == "deabcde"
    assert rows.hash.tolist() == [5, 3, 7, 5]


def test_rows_of_several_parts_are_ranked_within_cells():
    whole = Lists.concatenate([make_lists([1, 0], [4, 9], ["x", "yz"]), Lists.empty(), make_lists([0], [2], ["w"])])
    rows, rank = whole.rank()
    assert (rows.tolist(), rank.tolist()) == ([2, 1, 0], [0, 1, 0])
    assert (len(whole), "".join(whole.letters)) == (3, "xyzw")
