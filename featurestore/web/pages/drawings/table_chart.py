"""A chart of two columns of a table: points, a line or bars, as shapes with coordinates for a template. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from featurestore.display.text import shorten, show_controls

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 30  # around the drawing, for the numbers on its axes
MOST_BARS = 60
BAR = 20  # the height of a bar and the space around it
NAME = 200  # the width of the names of bars
# Numbers beyond cannot be subtracted, or divided by, without leaving the floats.
LEAST, MOST = 1e-290, 1e290
KINDS = ("points", "line", "bars")


class ChartMark(NamedTuple):
    """A point or a bar, what is said of it, and the number of its row."""

    x: float
    y: float
    width: float
    title: str
    row: int
    name: str = ""
    value: str = ""


class AxisTick(NamedTuple):
    """A number on an axis, and where it is."""

    at: float
    text: str


class TableChart(NamedTuple):
    """A drawing: its marks, its axes, the path of a line, and how many rows have no number to draw."""

    kind: str
    width: int
    height: int
    marks: list[ChartMark]
    x_ticks: list[AxisTick]
    y_ticks: list[AxisTick]
    line: str
    left_out: int
    zero: float | None = None


def is_number(value: Any) -> bool:
    """Return whether a value can be drawn as a number."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and bool(-MOST < value < MOST)


def choose_kind(xs: Sequence[Any]) -> str:
    """Return the kind of chart that fits a column: points over numbers, bars of anything else."""
    known = [x for x in xs if x is not None]
    return "points" if known and all(is_number(x) for x in known) else "bars"


def draw_table(xs: Sequence[Any], ys: Sequence[Any], kind: str, log_x: bool = False, log_y: bool = False) -> TableChart:
    """Return the chart of two columns of equal length; `kind` is one of KINDS.

    Values of x that are no numbers stand beside each other in their order. On a logarithmic axis numbers that are not
    above 0 are left out.
    """
    if kind == "bars":
        return _draw_bars(xs, ys, log_y)
    numeric = choose_kind(xs) == "points"
    places = list(xs) if numeric else list(range(len(xs)))
    rows = [
        row
        for row, (x, y) in enumerate(zip(places, ys, strict=True))
        if _is_drawn(x, log_x and numeric) and _is_drawn(y, log_y)
    ]
    if not rows:
        return TableChart(kind, WIDTH, HEIGHT, [], [], [], "", len(xs))
    to_x, x_ticks = _scale([float(places[row]) for row in rows], LEFT, WIDTH - RIGHT, log_x and numeric)
    to_y, y_ticks = _scale([float(ys[row]) for row in rows], HEIGHT - BOTTOM, TOP, log_y)
    marks = [
        ChartMark(to_x(float(places[row])), to_y(float(ys[row])), 0, f"{_write(xs[row])}, {_write(ys[row])}", row)
        for row in rows
    ]
    ordered = sorted(marks, key=lambda mark: mark.x) if numeric else marks
    line = "M" + "L".join(f"{mark.x} {mark.y}" for mark in ordered) if kind == "line" else ""
    if not numeric:
        every = -(-len(rows) // 6)
        x_ticks = [AxisTick(mark.x, shorten(_write(xs[mark.row]), 16)) for mark in marks[::every]]
    return TableChart(kind, WIDTH, HEIGHT, marks, x_ticks, y_ticks, line, len(xs) - len(rows))


def _draw_bars(xs: Sequence[Any], ys: Sequence[Any], log: bool) -> TableChart:
    """Return a bar for each of the first rows that have a number, below each other, with names beside them."""
    rows = [row for row, y in enumerate(ys) if _is_drawn(y, log)]
    shown = rows[:MOST_BARS]
    if not shown:
        return TableChart("bars", WIDTH, HEIGHT, [], [], [], "", len(ys))
    lengths = {row: math.log10(ys[row]) if log else float(ys[row]) for row in shown}
    low, high = min(lengths.values()), max(lengths.values())
    # A bar begins at zero, where there is one; on a logarithmic axis at the power of ten below the smallest.
    base = float(math.floor(low)) if log else 0.0
    low, high = min(low, base), max(high, base)
    step = (WIDTH - NAME - 80) / max(high - low, LEAST)
    zero = NAME + (base - low) * step
    marks = []
    for n, row in enumerate(shown):
        end = NAME + (lengths[row] - low) * step
        name, value = _write(xs[row]), _write(ys[row])
        left, width = round(min(zero, end), 1), round(max(1.0, abs(end - zero)), 1)
        marks.append(ChartMark(left, n * BAR + 2, width, f"{name}: {value}", row, shorten(name, 28), value))
    height = len(shown) * BAR + 4
    return TableChart("bars", WIDTH, height, marks, [], [], "", len(ys) - len(shown), round(zero, 1))


def _is_drawn(value: Any, log: bool) -> bool:
    return is_number(value) and (not log or value > LEAST)


def _write(value: Any) -> str:
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float | Decimal) else show_controls(str(value))


def _scale(
    values: Sequence[float], start: float, end: float, log: bool
) -> tuple[Callable[[float], float], list[AxisTick]]:
    """Return the function from a number to its place between `start` and `end`, and the ticks of that axis."""
    lengths = [math.log10(value) for value in values] if log else list(values)
    low, high = min(lengths), max(lengths)
    if high - low < LEAST:
        room = max(0.5, abs(low) * 1e-6)  # 0.5 is nothing beside a large number
        low, high = low - room, high + room
    margin = (high - low) * 0.03
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        length = math.log10(value) if log else value
        return round(start + (length - low) / (high - low) * (end - start), 1)

    return place, [AxisTick(place(number), f"{number:.4g}") for number in _choose_ticks(low, high, log)]


def _choose_ticks(low: float, high: float, log: bool) -> list[float]:
    """Return round numbers between two ends, some five of them; the ends of a logarithmic axis are exponents."""
    if log and 1 <= high - low < 3:
        powers = range(math.floor(low), math.floor(high) + 1)
        numbers = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [number for number in numbers if low <= math.log10(number) <= high]
    if log and high - low >= 1:
        every = max(1, math.ceil((high - low) / 7))
        return [10.0**power for power in range(math.ceil(low), math.floor(high) + 1, every)]
    first, last = (10**low, 10**high) if log else (low, high)
    rough = (last - first) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [n * step for n in range(math.ceil(first / step), math.floor(last / step) + 1)]
