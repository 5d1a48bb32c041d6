"""The places of a neighbourhood's drawing: a feature, a ring of its nearest, and a second ring of theirs. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from featurestore.display.text import shorten
from featurestore.values.hits import Neighbourhood

WIDTH, HEIGHT = 1120, 720
RINGS = ((0.0, 0.0), (250.0, 165.0), (430.0, 300.0))  # radii across and down
LABEL_LENGTH = 34  # characters


class PlacedNode(NamedTuple):
    """A feature at its place; `ring` is 0 in the middle, 1 or 2. `anchor` is the SVG text-anchor of its label."""

    id: str
    x: float
    y: float
    ring: int
    anchor: str
    label: str
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


def lay_out(neighbourhood: Neighbourhood) -> Drawing:
    """Return the graph with features of the second ring placed near those of the first that they are nearest to."""
    places = _place(neighbourhood)
    points = {id: _point(ring, angle) for id, (ring, angle) in places.items()}
    hits = {hit.id: hit for hit in neighbourhood.nodes}
    nodes = []
    for id, (ring, angle) in places.items():
        label = hits[id].label or "no label"
        nodes.append(
            PlacedNode(
                id,
                *points[id],
                ring,
                "middle" if not ring or _is_upright(angle) else "start" if math.cos(angle) > 0 else "end",
                # Above and below, the second ring leaves no space for labels; the pointer shows them.
                "" if ring == 2 and _is_upright(angle) else shorten(label, LABEL_LENGTH),
                f"{id}: {label} (cosine {hits[id].score:.3f})",
            )
        )
    lines = [
        EdgeLine(
            *points[edge.source],
            *points[edge.target],
            max(0.0, edge.cosine),
            f"{edge.source} – {edge.target}: {edge.cosine:.3f}",
        )
        for edge in neighbourhood.edges
    ]
    return Drawing(WIDTH, HEIGHT, lines, nodes)


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


def _point(ring: int, angle: float) -> tuple[float, float]:
    across, down = RINGS[ring]
    return round(WIDTH / 2 + across * math.cos(angle), 1), round(HEIGHT / 2 + down * math.sin(angle), 1)


def _is_upright(angle: float) -> bool:
    """Whether an angle points nearly straight up or down."""
    return abs(math.cos(angle)) < 0.35
