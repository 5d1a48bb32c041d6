"""What templates draw with: numbers, tokens, shades and histograms. Pure."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from featurestore.records import HISTOGRAM_EDGES

SHADES = 10


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
    """A drawing of bars over an axis."""

    width: int
    height: int
    bars: list[BarBox]
    ticks: list[Tick]


def number(value: Any) -> str:
    """A number in few characters, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def percent(density: float | None) -> str:
    """A density as a percentage that is readable from 100 % to 0.0001 %."""
    if density is None:
        return "–"
    return "0 %" if density == 0 else f"{100 * density:.2g} %" if density < 0.1 else f"{100 * density:.0f} %"


def shade(value: float, largest: float | None) -> int:
    """0 (silent) to 10 (as strong as ever seen)."""
    if not value or not largest:
        return 0
    return max(1, min(SHADES, round(SHADES * abs(value) / abs(largest))))


def visible(token: str) -> str:
    """A token alone, with spaces and line breaks made visible."""
    return token.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def pieces(token: str) -> list[tuple[str, bool]]:
    """A token in running text: its parts, and whether each is a mark for a line break."""
    parts: list[tuple[str, bool]] = []
    for n, part in enumerate(token.split("\n")):
        if n:
            parts.append(("⏎", True))
        if part:
            parts.append((part, False))
    return parts


def looks_like_id(text: str) -> bool:
    """Whether a search is really the id of a feature."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+/\d+", text) is not None


def activation_histogram(counts: tuple[int, ...]) -> Histogram:
    """The drawing of stored.features.histogram, from its first bin that is not empty to its last, on a log axis."""
    filled = [b for b, count in enumerate(counts) if count]
    if not filled:
        return Histogram(640, 150, [], [])
    # Whole octaves, so that the axis begins and ends with a round number.
    low, high = 4 * (filled[0] // 4), 4 * (filled[-1] // 4 + 1)
    bars = [
        (count, f"{HISTOGRAM_EDGES[b]:.3g} to {HISTOGRAM_EDGES[b + 1]:.3g}: {count:,} tokens")
        for b, count in enumerate(counts[low:high], low)
    ]
    ticks = [(b - low, f"{HISTOGRAM_EDGES[b]:.3g}") for b in range(low, high + 1, 4)]
    return _histogram(bars, ticks)


def density_histogram(rows: list[dict[str, int]]) -> Histogram:
    """The drawing of features by density, from rows of `bin` (quarters of a power of ten) and `n`."""
    counts = {row["bin"]: row["n"] for row in rows}
    if not counts:
        return Histogram(640, 150, [], [])
    low, high = 4 * (min(counts) // 4), 4 * (max(counts) // 4 + 1)
    bars = [
        (counts.get(b, 0), f"{percent(10 ** (b / 4))} to {percent(10 ** ((b + 1) / 4))}: {counts.get(b, 0):,} features")
        for b in range(low, high)
    ]
    return _histogram(bars, [(b - low, percent(10 ** (b / 4))) for b in range(low, high + 1, 4)])


def _histogram(bars: list[tuple[int, str]], ticks: list[tuple[int, str]]) -> Histogram:
    width, height, margin = 640, 150, 36
    step = (width - 2 * margin) / len(bars)
    most = max(count for count, _ in bars) or 1
    boxes = []
    for n, (count, title) in enumerate(bars):
        # A bin of one token beside one of thousands must still be seen.
        tall = max(2.0, (height - 10) * count / most) if count else 0.0
        boxes.append(
            BarBox(
                round(margin + n * step + 0.5, 1), round(height - tall, 1), round(step - 1, 1), round(tall, 1), title
            )
        )
    return Histogram(width, height, boxes, [Tick(round(margin + n * step, 1), text) for n, text in ticks])
