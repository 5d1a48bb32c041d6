"""Figures of matplotlib: a feature, and columns of many features. Knows numbers and texts; reads no store.

Figures belong to no window: a notebook shows the one that a cell ends with, and `figure.savefig(path)` keeps it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

UP, DOWN, PLAIN = "#0f766e", "#b45309", "#475569"
SIZE = (7.0, 3.6)  # inches
SHOWN = 10  # tokens on either side of a feature's effects
LOGARITHMIC = 100.0  # an axis is so where its largest number is this many times the smallest


class Picture(Figure):
    """A figure that a notebook shows by itself."""

    def _repr_png_(self) -> bytes:
        content = io.BytesIO()
        self.savefig(content, format="png", dpi=110)
        return content.getvalue()


def plot_feature(
    title: str,
    counts: Sequence[int] | None,
    edges: Sequence[float] | None,
    raised: Sequence[tuple[str, float]],
    lowered: Sequence[tuple[str, float]],
) -> Picture:
    """Return a feature's histogram of activations, and the tokens whose logits it changes most."""
    picture = Picture(figsize=(9.0, 3.6), layout="constrained")
    left, right = picture.subplots(1, 2)
    picture.suptitle(escape(title), fontsize="medium")
    _draw_counts(left, counts, edges)
    bars = [*raised[:SHOWN], *reversed(lowered[:SHOWN])]
    places = range(len(bars))[::-1]
    values = [value for _, value in bars]
    right.barh(places, values, color=[UP if value > 0 else DOWN for value in values])
    right.set_yticks(places, [escape(repr(token)) for token, _ in bars], fontsize="x-small")
    right.axvline(0, color=PLAIN, linewidth=0.8)
    right.set_xlabel("effect on the logit" if bars else "no effects on logits are known")
    return picture


def plot_hist(values: numpy.ndarray, column: str, title: str, bins: int = 60, log: bool | None = None) -> Picture:
    """Return how many features have which value; an axis is logarithmic by itself where numbers are far apart.

    Features without a value, and on a logarithmic axis those of 0 or less, are counted in the title.
    """
    picture = Picture(figsize=SIZE, layout="constrained")
    axes = picture.subplots()
    shown, log, left_out = _choose(values, log)
    if len(shown):
        low, high = float(shown.min()), float(shown.max())
        edges = numpy.geomspace if log and high > low else numpy.linspace
        axes.hist(shown, bins=list(edges(low, high if high > low else low + 1, bins + 1)), color=UP)
        axes.set_xscale("log" if log else "linear")
    axes.set_xlabel(escape(column))
    axes.set_ylabel("features")
    axes.set_title(escape(f"{title}: {len(shown):,} features{_count_left_out(left_out)}"), fontsize="medium")
    return picture


def plot_scatter(
    x: numpy.ndarray,
    y: numpy.ndarray,
    columns: tuple[str, str],
    title: str,
    color: numpy.ndarray | None = None,
    color_name: str = "",
) -> Picture:
    """Return a point for each feature; axes are logarithmic by themselves, as in `plot_hist`."""
    picture = Picture(figsize=SIZE, layout="constrained")
    axes = picture.subplots()
    known = numpy.isfinite(x) & numpy.isfinite(y)
    logs = []
    for values in (x, y):
        _, log, _ = _choose(values[known], None)
        logs.append(log)
        if log:
            known &= values > 0
    colors: dict[str, Any] = {"color": UP} if color is None else {"c": color[known], "cmap": "viridis"}
    points = axes.scatter(x[known], y[known], s=6, alpha=0.6, linewidths=0, **colors)
    if color is not None:
        picture.colorbar(points, ax=axes, label=escape(color_name))
    for name, log, set_scale in zip(("x", "y"), logs, (axes.set_xscale, axes.set_yscale), strict=True):
        set_scale("log" if log else "linear")
        getattr(axes, f"set_{name}label")(escape(columns[name == "y"]))
    left_out = int(len(x) - known.sum())
    axes.set_title(escape(f"{title}: {int(known.sum()):,} features{_count_left_out(left_out)}"), fontsize="medium")
    return picture


def escape(text: str) -> str:
    """Return a text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _draw_counts(axes: Axes, counts: Sequence[int] | None, edges: Sequence[float] | None) -> None:
    filled = [b for b, count in enumerate(counts or ()) if count]
    if not filled or counts is None or edges is None:
        axes.set_xlabel("no activations are known")
        return
    first, last = filled[0], filled[-1] + 1
    axes.stairs(counts[first:last], edges[first : last + 1], fill=True, color=UP)
    if edges[first] > 0 and edges[last] / edges[first] > 4:
        axes.set_xscale("log")
        marks = edges[first : last + 1][:: max(1, (last - first) // 4)]
        axes.set_xticks(marks, [f"{mark:.3g}" for mark in marks])
        axes.set_xticks([], minor=True)
    axes.set_xlabel("activation")
    axes.set_ylabel("tokens")


def _choose(values: numpy.ndarray, log: bool | None) -> tuple[numpy.ndarray, bool, int]:
    """Return the values that an axis shows, whether it is logarithmic, and how many it leaves out."""
    known = values[numpy.isfinite(values)]
    above = known[known > 0]
    if log is None:
        spread = float(above.max()) / float(above.min()) if len(above) else 1.0
        log = not (known < 0).any() and math.isfinite(spread) and spread >= LOGARITHMIC
    shown = above if log else known
    return shown, log, len(values) - len(shown)


def _count_left_out(count: int) -> str:
    return f", {count:,} not shown (no value, or 0)" if count else ""
