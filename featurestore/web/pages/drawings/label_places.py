"""Places of labels beside the nodes of a drawing, so that none covers another label or a node. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from featurestore.display.text import shorten

LENGTHS = (34, 20, 12)  # characters that are tried, one after another
WIDE, NARROW = 1.05, 0.62  # of a character, in font sizes: an ideograph, any other
GAP = 4


class Box(NamedTuple):
    """A rectangle of a drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Return whether two rectangles have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


class LabelPlace(NamedTuple):
    """A label as it is drawn: its SVG text-anchor and baseline. An empty text stands for one that has no place."""

    text: str
    x: float
    y: float
    anchor: str


def measure(text: str, size: float) -> float:
    """Return the width of a text in a font of this size, rather too large than too small."""
    return sum(WIDE if unicodedata.east_asian_width(letter) in "WF" else NARROW for letter in text) * size


def place_labels(
    nodes: Sequence[tuple[float, float, float, str, float]], width: float, height: float
) -> list[LabelPlace]:
    """Return the place of each node's label; nodes are (x, y, radius, label, font size), the most important first."""
    taken = [Box(x - r, y - r, x + r, y + r) for x, y, r, _, _ in nodes]
    places = []
    for x, y, radius, label, size in nodes:
        chosen = LabelPlace("", x, y, "middle")
        for place, box in _try(x, y, radius, label, size, width):
            inside = box.left >= 0 and box.top >= 0 and box.right <= width and box.bottom <= height
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                chosen = place
                break
        places.append(chosen)
    return places


def _try(x: float, y: float, radius: float, label: str, size: float, width: float) -> Iterator[tuple[LabelPlace, Box]]:
    """Yield places of a label beside a node, whole labels first, on the side that is farther from the middle first."""
    sides = ("start", "end") if x >= width / 2 else ("end", "start")
    for text in dict.fromkeys(shorten(label, length) for length in LENGTHS):
        wide = measure(text, size)
        for anchor in sides:
            for shift in (0.0, -size, size):
                left = x + radius + GAP if anchor == "start" else x - radius - GAP - wide
                middle = y + shift
                box = Box(left, middle - size * 0.65, left + wide, middle + size * 0.65)
                yield LabelPlace(text, left if anchor == "start" else left + wide, middle + size * 0.35, anchor), box
        for top in (y - radius - GAP - size * 1.3, y + radius + GAP):
            box = Box(x - wide / 2, top, x + wide / 2, top + size * 1.3)
            yield LabelPlace(text, x, top + size, "middle"), box
