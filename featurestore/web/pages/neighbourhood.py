"""A neighbourhood as a drawing: the feature in the middle, its nearest on a ring around it, theirs on a second. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from featurestore.values.hits import Neighbourhood

WIDTH, HEIGHT = 1120, 720
RINGS = ((0.0, 0.0), (250.0, 165.0), (430.0, 300.0))  # radii across and down
SHOWN = 34  # characters of a label


class Node(NamedTuple):
    """A feature at its place; `ring` 0 is the middle."""

    id: str
    x: float
    y: float
    ring: int
    anchor: str
    label: str
    title: str


class Line(NamedTuple):
    """An edge; `weight` is 0 to 1, from no to the same direction."""

    x1: float
    y1: float
    x2: float
    y2: float
    weight: float
    title: str


class Drawing(NamedTuple):
    """What the template draws, in units of its own."""

    width: int
    height: int
    lines: list[Line]
    nodes: list[Node]


def drawing(found: Neighbourhood) -> Drawing:
    """The graph, laid out so that features of the second ring stand near those that they are near to."""
    sources: dict[str, list[str]] = {}
    for edge in found.edges:
        sources.setdefault(edge.target, []).append(edge.source)
    first = [node.id for node in found.nodes if found.id in sources.get(node.id, [])]
    angles = dict(zip(_around(first, found), _spread(len(first)), strict=True))
    second = [node.id for node in found.nodes if node.id != found.id and node.id not in angles]
    leaning = {id: _mean([angles[one] for one in sources[id] if one in angles]) for id in second}
    ordered = sorted(second, key=lambda id: (leaning[id], id))
    places = {found.id: (0, 0.0)} | {id: (1, angle) for id, angle in angles.items()}
    places |= {id: (2, angle) for id, angle in zip(ordered, _spread(len(ordered)), strict=True)}
    labels = {node.id: node.label for node in found.nodes}
    scores = {node.id: node.score for node in found.nodes}
    at = {id: _point(*place) for id, place in places.items()}
    nodes = [
        Node(
            id,
            *at[id],
            ring,
            "middle" if not ring or _upright(angle) else "start" if math.cos(angle) > 0 else "end",
            # Above and below, those of the second ring have no room for words; the pointer shows them.
            "" if ring == 2 and _upright(angle) else _short(labels[id] or "no label"),
            f"{id}: {labels[id] or 'no label'} (cosine {scores[id]:.3f})",
        )
        for id, (ring, angle) in places.items()
    ]
    lines = [
        Line(
            *at[edge.source],
            *at[edge.target],
            max(0.0, edge.cosine),
            f"{edge.source} – {edge.target}: {edge.cosine:.3f}",
        )
        for edge in found.edges
    ]
    return Drawing(WIDTH, HEIGHT, lines, nodes)


def _around(first: list[str], found: Neighbourhood) -> list[str]:
    """The first ring in an order in which those that are near one another stand together."""
    near = {frozenset((edge.source, edge.target)): edge.cosine for edge in found.edges}
    left, order = list(first[1:]), first[:1]
    while left:
        nearest = max(left, key=lambda id: (near.get(frozenset((order[-1], id)), -1.0), -first.index(id)))
        left.remove(nearest)
        order.append(nearest)
    return order


def _spread(count: int) -> list[float]:
    return [2 * math.pi * n / count - math.pi / 2 + 0.2 for n in range(count)]


def _mean(angles: list[float]) -> float:
    found = math.atan2(sum(map(math.sin, angles)), sum(map(math.cos, angles)))
    return (found + math.pi / 2) % (2 * math.pi)


def _point(ring: int, angle: float) -> tuple[float, float]:
    across, down = RINGS[ring]
    return round(WIDTH / 2 + across * math.cos(angle), 1), round(HEIGHT / 2 + down * math.sin(angle), 1)


def _upright(angle: float) -> bool:
    return abs(math.cos(angle)) < 0.35


def _short(label: str) -> str:
    return label if len(label) <= SHOWN else label[: SHOWN - 1].rstrip() + "…"
