"""What a graph tells beyond its nodes: paths of most influence, a smaller graph, and nodes that belong together.

Influence is measured as circuit-tracer does: the absolute weights of the links into a node are divided by their sum,
and logits count by their probability. Knows numbers and the values of graphs; knows no store.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy

from featurestore.errors import BadRequest
from featurestore.values.graphs import Graph, GraphLink

MOST_STEPS = 200  # layers that influence is followed through


class Path(NamedTuple):
    """A way through a graph: places in its `nodes` from the source to a logit, and the product of the influences."""

    nodes: tuple[int, ...]
    influence: float


class NodeGroup(NamedTuple):
    """Nodes that belong together, and a name for them."""

    name: str
    nodes: tuple[str, ...]


def measure_links(graph: Graph) -> numpy.ndarray:
    """Return the influence of each link, (links,) float64: |weight| as a share of all links into the same node."""
    weights = numpy.abs(numpy.array([link.weight for link in graph.links], dtype=numpy.float64))
    targets = numpy.array([link.target for link in graph.links], dtype=numpy.int64)
    sums = numpy.bincount(targets, weights, minlength=len(graph.nodes)) if len(weights) else numpy.zeros(1)
    return weights / numpy.maximum(sums[targets], 1e-12) if len(weights) else weights


def measure_nodes(graph: Graph) -> numpy.ndarray:
    """Return how much of the logits each node leads to over all paths, (nodes,) float64; logits have their
    probability."""
    shares = measure_links(graph)
    sources = numpy.array([link.source for link in graph.links], dtype=numpy.int64)
    targets = numpy.array([link.target for link in graph.links], dtype=numpy.int64)
    current = _weigh_logits(graph)
    total = current.copy()
    for _ in range(MOST_STEPS):
        if not len(shares):
            break
        current = numpy.bincount(sources, shares * current[targets], minlength=len(graph.nodes))
        if current.sum() < 1e-9:
            break
        total += current
    return total


def _weigh_logits(graph: Graph) -> numpy.ndarray:
    weights = numpy.array(
        [(node.token_prob or 0.0) if node.kind == "logit" else 0.0 for node in graph.nodes], dtype=numpy.float64
    )
    if not weights.any():
        weights = numpy.array([float(node.kind == "logit") for node in graph.nodes])
    return weights


def prune(graph: Graph, node_threshold: float | None = None, edge_threshold: float | None = None) -> Graph:
    """Return the part of a graph that carries these shares of the influence, 0 to 1; tokens and logits stay.

    Nodes with the largest influence are kept until they carry `node_threshold` of it, then links until they carry
    `edge_threshold`. Raises BadRequest for a share out of range.
    """
    for name, threshold in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if threshold is not None and not 0 < threshold <= 1:
            raise BadRequest(f"{name}: {threshold} is no share, above 0 and up to 1")
    influence = measure_nodes(graph)
    kept = numpy.ones(len(graph.nodes), dtype=bool)
    if node_threshold is not None:
        inner = numpy.array([node.kind not in ("token", "logit") for node in graph.nodes])
        kept = ~inner | _keep(numpy.where(inner, influence, 0.0), node_threshold)
    shares = measure_links(graph)
    inside = numpy.array([kept[link.source] and kept[link.target] for link in graph.links], dtype=bool)
    if edge_threshold is not None and len(shares):
        flows = shares * influence[[link.target for link in graph.links]]
        inside &= _keep(numpy.where(inside, flows, 0.0), edge_threshold)
    places = numpy.cumsum(kept) - 1
    links = tuple(
        GraphLink(int(places[link.source]), int(places[link.target]), link.weight)
        for link, stays in zip(graph.links, inside, strict=True)
        if stays
    )
    nodes = tuple(node for node, stays in zip(graph.nodes, kept, strict=True) if stays)
    return msgspec.structs.replace(graph, nodes=nodes, links=links)


def _keep(values: numpy.ndarray, share: float) -> numpy.ndarray:
    """Return which values are kept: the largest, until they carry a share of the sum."""
    order = numpy.argsort(-values, kind="stable")
    sums = numpy.cumsum(values[order])
    count = int(numpy.searchsorted(sums, share * sums[-1] - 1e-12)) + 1 if len(sums) and sums[-1] > 0 else 0
    kept = numpy.zeros(len(values), dtype=bool)
    kept[order[:count]] = True
    return kept & (values > 0)


def find_paths(graph: Graph, k: int = 10, start: str | None = None) -> list[Path]:
    """Return the k paths of most influence to logits; from the node `start`, or from any node that no link leads to.

    Raises BadRequest for a node that the graph does not have, and for a graph whose links run in a circle.
    """
    if k < 1:
        raise BadRequest(f"k: {k} is not a number of paths")
    starts = [n for n, node in enumerate(graph.nodes) if start in (node.node_id, node.id)]
    if start is not None and not starts:
        raise BadRequest(f"start: {start!r:.80} is no node of {graph.graph}")
    into: list[list[tuple[int, float]]] = [[] for _ in graph.nodes]
    for link, share in zip(graph.links, measure_links(graph), strict=True):
        into[link.target].append((link.source, float(share)))
    if start is None:
        starts = [n for n, links in enumerate(into) if not links]
    # The k best ways to each node, in an order in which sources come before targets.
    best: list[list[Path]] = [[Path((n,), 1.0)] if n in set(starts) else [] for n in range(len(graph.nodes))]
    for place in _order(into, graph.graph):
        ways = [
            Path((*way.nodes, place), way.influence * share) for source, share in into[place] for way in best[source]
        ]
        best[place] = heapq.nlargest(k, best[place] + ways, key=lambda way: way.influence)
    ends = zip(graph.nodes, _weigh_logits(graph), best, strict=True)
    ways = [
        Path(way.nodes, way.influence * float(weight))
        for node, weight, of_node in ends
        if node.kind == "logit"
        for way in of_node
    ]
    return heapq.nlargest(k, [way for way in ways if len(way.nodes) > 1], key=lambda way: way.influence)


def _order(into: Sequence[Sequence[tuple[int, float]]], name: str) -> list[int]:
    """Return the nodes so that each comes after those that lead to it. Raises BadRequest for a circle."""
    left = [len(links) for links in into]
    out: list[list[int]] = [[] for _ in into]
    for target, links in enumerate(into):
        for source, _ in links:
            out[source].append(target)
    ready, order = [n for n, count in enumerate(left) if not count], []
    while ready:
        place = ready.pop()
        order.append(place)
        for target in out[place]:
            left[target] -= 1
            if not left[target]:
                ready.append(target)
    if len(order) < len(into):
        raise BadRequest(f"the links of {name} run in a circle, so its paths have no end")
    return order


def propose_groups(graph: Graph, vectors: Mapping[str, numpy.ndarray], cosine: float = 0.8) -> list[NodeGroup]:
    """Return nodes that belong together: features with the same label, or directions of at least this cosine.

    `vectors` are the decoder vectors of the graph's features by id; those of different widths are not compared. A
    group's name is the label that most of its nodes have. Nodes that are alone are left out.
    """
    if not -1 <= cosine <= 1:
        raise BadRequest(f"cosine: {cosine} is not between -1 and 1")
    places = [n for n, node in enumerate(graph.nodes) if node.in_store and node.id is not None]
    leaders = {place: place for place in places}

    def _find(place: int) -> int:
        while leaders[place] != place:
            place = leaders[place]
        return place

    units = {id: vector / max(float(numpy.linalg.norm(vector)), 1e-12) for id, vector in vectors.items()}
    for number, place in enumerate(places):
        node = graph.nodes[place]
        for other in places[:number]:
            same = graph.nodes[other]
            if (node.label and node.label == same.label) or _is_near(units, node.id, same.id, cosine):
                leaders[_find(place)] = _find(other)
    members: dict[int, list[int]] = {}
    for place in places:
        members.setdefault(_find(place), []).append(place)
    return [
        NodeGroup(
            _name([graph.nodes[place].label for place in group]), tuple(graph.nodes[place].node_id for place in group)
        )
        for group in members.values()
        if len(group) > 1
    ]


def _is_near(units: Mapping[str, numpy.ndarray], one: str | None, other: str | None, cosine: float) -> bool:
    first, second = units.get(one or ""), units.get(other or "")
    if first is None or second is None or first.shape != second.shape:
        return False
    return bool(float(first @ second) >= cosine)


def _name(labels: Sequence[str | None]) -> str:
    known = [label for label in labels if label]
    return max(known, key=lambda label: (known.count(label), -len(label))) if known else "unlabelled"
