"""Histograms as bars and ticks with coordinates, for pages and notebooks to draw. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from featurestore.conventions import HISTOGRAM_EDGES
from featurestore.display.numbers import format_percent

WIDTH, HEIGHT, MARGIN = 400, 130, 26  # of a histogram, in CSS pixels where a column is wide


class BarBox(NamedTuple):
    """One bar of a histogram, in the units of its drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


class Tick(NamedTuple):
    """A mark on the axis below it."""

    x: float
    text: str


class Histogram(NamedTuple):
    """A drawing of bars over an axis; `most` is the count of its highest bar, `top` where that bar ends.

    `axis` says what the axis is: "logarithmic", "linear" or, with bins of several widths, "stepped".
    """

    width: int
    height: int
    bars: list[BarBox]
    ticks: list[Tick]
    most: int
    top: int
    axis: str = "logarithmic"


def draw_activations(counts: Sequence[int], edges: Sequence[float] | None = None, unit: str = "tokens") -> Histogram:
    """Return the drawing of a histogram of stored.features, on the axis of its own `edges`, one more than `counts`.

    Without edges they are the standard ones of activations. Bins that double from one octave to the next have a
    logarithmic axis, from the first octave that is not empty to the last one. Any other bins are steps of equal size.
    """
    edges = HISTOGRAM_EDGES if edges is None else edges
    filled = [b for b, count in enumerate(counts) if count]
    if not filled:
        return _draw([], [])
    if not _is_octaves(edges):
        return _draw_steps(counts, edges, unit)
    # Whole octaves, so that the axis begins and ends with a round number.
    low, high = 4 * (filled[0] // 4), 4 * (filled[-1] // 4 + 1)
    bars = [
        (count, f"{edges[b]:.3g} to {edges[b + 1]:.3g}: {count:,} {unit}")
        for b, count in enumerate(counts[low:high], low)
    ]
    return _draw(bars, [(b - low, f"{edges[b]:.3g}") for b in range(low, high + 1, 4)])


def _is_octaves(edges: Sequence[float]) -> bool:
    """Return whether edges are powers of two in quarters, as the standard ones at any scale."""
    octaves = len(edges) % 4 == 1 and edges[0] > 0
    return octaves and all(math.isclose(high / low, 2) for low, high in zip(edges, edges[4:], strict=False))


def _draw_steps(counts: Sequence[int], edges: Sequence[float], unit: str) -> Histogram:
    """Return the drawing of bins between any edges, a bar of equal width for each."""
    bars = [(count, f"{edges[b]:.3g} to {edges[b + 1]:.3g}: {count:,} {unit}") for b, count in enumerate(counts)]
    width = (edges[-1] - edges[0]) / len(counts)
    even = all(math.isclose(high - low, width, rel_tol=0.01) for low, high in pairwise(edges))
    ticks = [(b, f"{edge:.3g}") for b, edge in enumerate(edges)]
    return _draw(bars, ticks)._replace(axis="linear" if even else "stepped")


def draw_densities(rows: Sequence[Mapping[str, int]]) -> Histogram:
    """Return the drawing of features by density, on a logarithmic axis of percentages.

    Each row has `bin`, a number of quarters of a power of ten, and `n`, the number of features in it.
    """
    return _draw_decades(rows, format_percent)


def draw_magnitudes(rows: Sequence[Mapping[str, int]]) -> Histogram:
    """Return the drawing of features by a size above 0, on a logarithmic axis; rows as for `draw_densities`."""
    return _draw_decades(rows, lambda value: f"{value:.3g}")


def draw_shares(rows: Sequence[Mapping[str, int]]) -> Histogram:
    """Return the drawing of labels by score, from 0 to 1 in twenty bins; each row has `bin`, from 0, and `n`."""
    counts = {min(19, max(0, row["bin"])): 0 for row in rows}
    for row in rows:
        counts[min(19, max(0, row["bin"]))] += row["n"]
    edges = [b / 20 for b in range(21)]
    return _draw_steps([counts.get(b, 0) for b in range(20)], edges, "labels") if counts else _draw([], [])


def _draw_decades(rows: Sequence[Mapping[str, int]], write: Callable[[float], str]) -> Histogram:
    """Return the drawing of features by bins of quarters of a power of ten; `write` gives an edge as text."""
    counts = {row["bin"]: row["n"] for row in rows}
    if not counts:
        return _draw([], [])
    low, high = 4 * (min(counts) // 4), 4 * (max(counts) // 4 + 1)
    edges = {b: write(10 ** (b / 4)) for b in range(low, high + 1)}
    bars = [
        (counts.get(b, 0), f"{edges[b]} to {edges[b + 1]}: {counts.get(b, 0):,} features") for b in range(low, high)
    ]
    return _draw(bars, [(b - low, edges[b]) for b in range(low, high + 1, 4)])


def _draw(bars: Sequence[tuple[int, str]], ticks: Sequence[tuple[int, str]]) -> Histogram:
    """Return the drawing of bars (count, title) and ticks (number of the bar it stands before, text)."""
    top = 16  # the count of the highest bar is written above it
    if not bars:
        return Histogram(WIDTH, HEIGHT, [], [], 0, top)
    step = (WIDTH - 2 * MARGIN) / len(bars)
    most = max(count for count, _ in bars) or 1
    boxes = []
    for n, (count, title) in enumerate(bars):
        # A bin of one token beside one of thousands must still be seen.
        tall = max(2.0, (HEIGHT - top) * count / most) if count else 0.0
        x, width = MARGIN + n * step + 0.5, step - 1
        boxes.append(BarBox(round(x, 1), round(HEIGHT - tall, 1), round(width, 1), round(tall, 1), title))
    # Texts that would touch are left out; seven fit.
    every = -(-len(ticks) // 7)
    shown = [Tick(round(MARGIN + n * step, 1), text) for n, text in ticks[::every]]
    return Histogram(WIDTH, HEIGHT, boxes, shown, most, top)
