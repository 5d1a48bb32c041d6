"""The places of a neighbourhood's drawing: a feature, a ring of its nearest, and a second ring of theirs. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from featurestore.values.hits import Neighbourhood
from featurestore.web.pages.drawings.label_places import LabelPlace, place_labels


class Sheet(NamedTuple):
    """What is drawn on: its size, and for each ring its radii across and down, those of nodes, and the font's size.

    Rings up to `named` have labels.
    """

    width: int
    height: int
    rings: tuple[tuple[float, float], ...]
    radii: tuple[float, ...]
    fonts: tuple[float, ...]
    named: int


SCREEN = Sheet(1120, 720, ((0, 0), (250, 165), (430, 300)), (13, 10, 8), (14, 12, 10.5), 2)
# The second ring of a phone has numbers alone: the list says their labels.
PHONE = Sheet(360, 600, ((0, 0), (112, 185), (166, 286)), (13, 11, 8.5), (13, 11.5, 10.5), 1)
READABLE = 7.5  # radius of a node that has room for its number
# Outlines of nodes within a square from -1 to 1; a dictionary has one of them.
SHAPES = {
    "circle": "M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z",
    "square": "M-.9-.9H.9V.9H-.9Z",
    "diamond": "M0-1.25L1.25 0 0 1.25-1.25 0Z",
    "triangle": "M0-1.2L1.2 .95H-1.2Z",
    "hexagon": "M-.58-1H.58L1.15 0 .58 1H-.58L-1.15 0Z",
    "bar": "M-1.3-.65H1.3V.65H-1.3Z",
}


class PlacedNode(NamedTuple):
    """A feature at its place; `ring` is 0 in the middle, 1 or 2.

    `number` is its place in the list of neighbours, from 1; 0 in the middle, and where a node is too small for it.
    `shape` is its dictionary's.
    """

    id: str
    x: float
    y: float
    ring: int
    radius: float
    number: int
    shape: str
    label: LabelPlace
    title: str


class EdgeLine(NamedTuple):
    """An edge as a line; `weight` is the cosine of the two features, 0 where it is negative."""

    x1: float
    y1: float
    x2: float
    y2: float
    weight: float
    title: str


class Drawing(NamedTuple):
    """The lines and nodes to draw, in an area of `width` by `height`."""

    width: int
    height: int
    lines: list[EdgeLine]
    nodes: list[PlacedNode]


def choose_shapes(neighbourhood: Neighbourhood) -> dict[str, str]:
    """Return the shape of each dictionary's nodes, that of the feature's own first; after six they are used again."""
    names = list(dict.fromkeys(node.dictionary for node in neighbourhood.nodes))
    return {name: list(SHAPES)[n % len(SHAPES)] for n, name in enumerate(names)}


def lay_out(neighbourhood: Neighbourhood, sheet: Sheet = SCREEN) -> Drawing:
    """Return the graph with features of the second ring placed near those of the first that they are nearest to.

    Labels have places where they cover nothing, the nearest features' first; one that has none is in the list alone.
    """
    places = _place(neighbourhood)
    points = {id: _point(sheet, ring, angle) for id, (ring, angle) in places.items()}
    shapes = choose_shapes(neighbourhood)
    order = sorted(enumerate(neighbourhood.nodes), key=lambda pair: (places[pair[1].id][0], pair[0]))
    rings = [places[hit.id][0] for _, hit in order]
    radii = [_fit(sheet, ring, rings.count(ring)) for ring in range(len(sheet.rings))]
    texts = [
        (
            *points[hit.id],
            radii[ring] * 1.25,
            (hit.label or "no label") if ring <= sheet.named else "",
            sheet.fonts[ring],
        )
        for (_, hit), ring in zip(order, rings, strict=True)
    ]
    places_of_labels = place_labels(texts, sheet.width, sheet.height)
    nodes = [
        PlacedNode(
            hit.id,
            *points[hit.id],
            ring,
            radii[ring],
            number if radii[ring] >= READABLE else 0,
            shapes[hit.dictionary],
            label,
            f"{hit.id}: {hit.label or 'no label'} (cosine {hit.score:.3f})",
        )
        for (number, hit), ring, label in zip(order, rings, places_of_labels, strict=True)
    ]
    lines = [
        EdgeLine(
            *points[edge.source],
            *points[edge.target],
            max(0.0, edge.cosine),
            f"{edge.source} – {edge.target}: {edge.cosine:.3f}",
        )
        for edge in neighbourhood.edges
    ]
    return Drawing(sheet.width, sheet.height, lines, nodes)


def _place(neighbourhood: Neighbourhood) -> dict[str, tuple[int, float]]:
    """Return the ring and the angle (radians) of each feature by id."""
    sources: dict[str, list[str]] = {}
    for edge in neighbourhood.edges:
        sources.setdefault(edge.target, []).append(edge.source)
    first = [node.id for node in neighbourhood.nodes if neighbourhood.id in sources.get(node.id, [])]
    angles = dict(zip(_order_ring(first, neighbourhood), _spread(len(first)), strict=True))
    second = [node.id for node in neighbourhood.nodes if node.id != neighbourhood.id and node.id not in angles]
    towards = {id: _mean([angles[source] for source in sources[id] if source in angles]) for id in second}
    ordered = sorted(second, key=lambda id: (towards[id], id))
    places = {neighbourhood.id: (0, 0.0)} | {id: (1, angle) for id, angle in angles.items()}
    return places | {id: (2, angle) for id, angle in zip(ordered, _spread(len(ordered)), strict=True)}


def _order_ring(first: list[str], neighbourhood: Neighbourhood) -> list[str]:
    """Return the first ring in an order in which each feature is followed by the nearest one that is left."""
    near = {frozenset((edge.source, edge.target)): edge.cosine for edge in neighbourhood.edges}
    left, order = list(first[1:]), first[:1]
    while left:
        nearest = max(left, key=lambda id: (near.get(frozenset((order[-1], id)), -1.0), -first.index(id)))
        left.remove(nearest)
        order.append(nearest)
    return order


def _spread(count: int) -> list[float]:
    """Return `count` angles at equal distances, from a little right of the top."""
    return [2 * math.pi * n / count - math.pi / 2 + 0.2 for n in range(count)]


def _mean(angles: list[float]) -> float:
    """Return the mean direction of angles, 0 to 2 pi, counted from the top."""
    mean = math.atan2(sum(map(math.sin, angles)), sum(map(math.cos, angles)))
    return (mean + math.pi / 2) % (2 * math.pi)


def _fit(sheet: Sheet, ring: int, count: int) -> float:
    """Return the radius of a ring's nodes: the sheet's, or a smaller one where so many would cover each other."""
    across, down = sheet.rings[ring]
    length = 2 * math.pi * math.sqrt((across**2 + down**2) / 2)
    return round(min(sheet.radii[ring], length / (2.5 * count)), 1) if ring and count else sheet.radii[ring]


def _point(sheet: Sheet, ring: int, angle: float) -> tuple[float, float]:
    across, down = sheet.rings[ring]
    return round(sheet.width / 2 + across * math.cos(angle), 1), round(sheet.height / 2 + down * math.sin(angle), 1)
