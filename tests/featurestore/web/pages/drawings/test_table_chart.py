"""Charts of two columns: where numbers stand, what is left out, and numbers at the ends of the floats."""

import math
from decimal import Decimal

import pytest

from featurestore.web.pages.drawings.table_chart import HEIGHT, LEFT, RIGHT, TOP, WIDTH, choose_kind, draw_table


def test_points_stand_by_their_numbers():
    chart = draw_table([0, 5, 10], [1.0, Decimal("2"), 3.0], "points")
    xs, ys = [mark.x for mark in chart.marks], [mark.y for mark in chart.marks]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1]) and ys[0] > ys[1] > ys[2]
    assert (chart.left_out, [mark.title for mark in chart.marks]) == (0, ["0, 1", "5, 2", "10, 3"])
    assert {tick.text for tick in chart.x_ticks} >= {"0", "10"}


def test_equal_ratios_are_equal_steps_on_a_logarithmic_axis():
    xs = [mark.x for mark in draw_table([0.001, 0.1, 10.0], [1, 2, 3], "points", log_x=True).marks]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)


def test_what_is_no_number_is_left_out_and_counted():
    ys = [1.0, None, float("nan"), float("inf"), "x", True, 2.0]
    chart = draw_table(list(range(7)), ys, "points")
    assert ([mark.row for mark in chart.marks], chart.left_out) == ([0, 6], 5)
    assert draw_table([1, 2, 3], [0, -1, 5], "points", log_y=True).left_out == 2
    assert draw_table([1], [None], "line").marks == []


def test_a_line_goes_from_left_to_right():
    chart = draw_table([3, 1, 2], [1, 2, 3], "line")
    places = [float(part.split()[0]) for part in chart.line[1:].split("L")]
    assert places == sorted(places) and len(places) == 3


def test_bars_begin_at_zero_with_names_and_values():
    chart = draw_table(["a", "b", None], [4, -2, 1], "bars")
    by_name = {mark.name: mark for mark in chart.marks}
    assert by_name["a"].x == chart.zero == by_name["null"].x
    assert by_name["b"].x + by_name["b"].width == pytest.approx(chart.zero)
    assert by_name["a"].width == pytest.approx(2 * by_name["b"].width, abs=0.2)
    assert (by_name["a"].value, by_name["b"].title) == ("4", "b: -2")


def test_the_first_sixty_bars_are_drawn():
    chart = draw_table([str(n) for n in range(100)], list(range(1, 101)), "bars")
    assert (len(chart.marks), chart.left_out) == (60, 40)


def test_texts_stand_beside_each_other_in_their_order():
    chart = draw_table(["b", "a", "c"], [1, 2, 3], "points")
    assert [mark.x for mark in chart.marks] == sorted(mark.x for mark in chart.marks)
    assert [tick.text for tick in chart.x_ticks] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "values",
    [[1e289, -1e289], [5e-324, 1e-323], [1e17, 1e17 + 16], [7, 7], [10**37, 1], [0.1 + 1e-16, 0.1], [1e-280] * 2],
)
@pytest.mark.parametrize("kind", ["points", "line", "bars"])
@pytest.mark.parametrize("log", [False, True])
def test_any_numbers_stay_inside_the_drawing(values, kind, log):
    chart = draw_table(values, values, kind, log, log)
    for mark in chart.marks:
        assert all(math.isfinite(number) for number in (mark.x, mark.y, mark.width))
        assert 0 <= mark.x <= WIDTH and -1 <= mark.y <= HEIGHT
    for tick in chart.x_ticks:
        assert LEFT - 1 <= tick.at <= WIDTH - RIGHT + 1
    for tick in chart.y_ticks:
        assert TOP - 1 <= tick.at <= HEIGHT


def test_the_kind_that_fits():
    assert choose_kind([1, None, 2.5]) == "points"
    assert choose_kind(["a", 1]) == choose_kind([None]) == choose_kind([]) == "bars"


@pytest.mark.parametrize("value", [10**17, -(10**17), 1.5e200, 3])
def test_a_column_of_one_value_has_an_axis(value):
    for xs, ys in (([1, 2], [value, value]), ([value, value], [1, 2])):
        assert len(draw_table(xs, ys, "points").marks) == 2
