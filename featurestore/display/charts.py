"""What pages and notebooks draw with: numbers, tokens, shades and histograms. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from featurestore.conventions import HISTOGRAM_EDGES

SHADES = 10
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
    """A drawing of bars over an axis; `most` is the count of its highest bar, `top` where that bar ends."""

    width: int
    height: int
    bars: list[BarBox]
    ticks: list[Tick]
    most: int
    top: int


class Part(NamedTuple):
    """A piece of text; a `mark` stands for a character that cannot be seen; what is `far` may be folded away."""

    text: str
    mark: bool
    far: bool


class Run(NamedTuple):
    """One lit token, or all the silent text up to the next one (shade 0)."""

    parts: list[Part]
    shade: int
    title: str
    peak: bool
    far: bool


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
    if density == 0 or density >= 0.1:
        return f"{100 * density:.0f} %"
    digits = f"{100 * density:.2g}"
    return f"{float(digits):.10f}".rstrip("0").rstrip(".") + " %" if "e" in digits else f"{digits} %"


def shade(value: float, largest: float | None) -> int:
    """0 (silent) to 10 (as strong as ever seen)."""
    if not value or not largest:
        return 0
    return max(1, min(SHADES, round(SHADES * abs(value) / abs(largest))))


def visible(token: str) -> str:
    """A token alone, with spaces and line breaks made visible."""
    return token.replace(" ", "·").replace("\r", "␍").replace("\n", "⏎").replace("\t", "⇥") or "∅"


def runs(tokens: Sequence[str], activations: Sequence[float], largest: float | None, peak: int = -1) -> list[Run]:
    """Tokens as running text, in which lit ones stand out and line breaks that are lit can be seen.

    Where `peak` names a token, lines other than its own and the two beside it (blank ones not counted) are far.
    """
    lines = "".join(tokens).split("\n")
    first, last = 0, len(lines)
    if peak >= 0:
        first, last = _around(lines, sum(token.count("\n") for token in tokens[:peak]))
    found: list[Run] = []
    line = 0
    for n, (token, value) in enumerate(zip(tokens, activations, strict=True)):
        parts, line = _parts(token, line, first, last, marked=bool(value))
        if value:
            title = f"{visible(token)}  {value:.3f}"
            far = all(part.far for part in parts)
            found.append(Run(parts, shade(value, largest), title, n == peak, far))
            continue
        for part in parts:
            if found and not found[-1].title and found[-1].far == part.far:
                found[-1].parts.append(part)
            else:
                found.append(Run([part], 0, "", False, part.far))
    return found


def _around(lines: list[str], at: int) -> tuple[int, int]:
    before = next((n for n in range(at - 1, -1, -1) if lines[n].strip()), at)
    after = next((n for n in range(at + 1, len(lines)) if lines[n].strip()), at)
    return before, after


def _parts(token: str, line: int, first: int, last: int, marked: bool) -> tuple[list[Part], int]:
    parts = []
    for n, text in enumerate(token.split("\n")):
        if n:
            if marked:
                parts.append(Part("⏎", True, not first <= line <= last))
            # The break after the last near line would leave a blank one behind.
            parts.append(Part("\n", False, not first <= line < last))
            line += 1
        if text:
            parts.append(Part(text, False, not first <= line <= last))
    return parts, line


def strip(activations: Iterable[float]) -> list[tuple[int, float]]:
    """A row of activations as bars: (place, height from 0 to 1) where it is not zero."""
    values = [abs(value) for value in activations]
    most = max(values, default=0.0)
    return [(n, round(max(0.12, value / most), 3)) for n, value in enumerate(values) if value]


def looks_like_id(text: str) -> bool:
    """Whether a search is really the id of a feature."""
    return re.fullmatch(r"[\w.-]+/[\w.-]+/[0-9]{1,9}", text) is not None


def activation_histogram(counts: tuple[int, ...]) -> Histogram:
    """The drawing of stored.features.histogram, from its first bin that is not empty to its last, on a log axis."""
    filled = [b for b, count in enumerate(counts) if count]
    if not filled:
        return _histogram([], [])
    # Whole octaves, so that the axis begins and ends with a round number.
    low, high = 4 * (filled[0] // 4), 4 * (filled[-1] // 4 + 1)
    bars = [
        (count, f"{HISTOGRAM_EDGES[b]:.3g} to {HISTOGRAM_EDGES[b + 1]:.3g}: {count:,} tokens")
        for b, count in enumerate(counts[low:high], low)
    ]
    return _histogram(bars, [(b - low, f"{HISTOGRAM_EDGES[b]:.3g}") for b in range(low, high + 1, 4)])


def density_histogram(rows: list[dict[str, int]]) -> Histogram:
    """The drawing of features by density, from rows of `bin` (quarters of a power of ten) and `n`."""
    counts = {row["bin"]: row["n"] for row in rows}
    if not counts:
        return _histogram([], [])
    low, high = 4 * (min(counts) // 4), 4 * (max(counts) // 4 + 1)
    bars = [
        (counts.get(b, 0), f"{percent(10 ** (b / 4))} to {percent(10 ** ((b + 1) / 4))}: {counts.get(b, 0):,} features")
        for b in range(low, high)
    ]
    return _histogram(bars, [(b - low, percent(10 ** (b / 4))) for b in range(low, high + 1, 4)])


def _histogram(bars: list[tuple[int, str]], ticks: list[tuple[int, str]]) -> Histogram:
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
