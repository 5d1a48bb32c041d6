"""What a graph tells beyond its nodes: paths of most influence, a smaller graph, and nodes that belong together.

Influence is measured as circuit-tracer does: the absolute weights of the links into a node are divided by their sum,
and logits count by their probability. Knows numbers and the values of graphs; knows no store.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy

from featurestore.errors import BadRequest, NotFound
from featurestore.graphs.nodes import find_places
from featurestore.values.dictionary import Dictionary
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
    return _share(len(graph.nodes), *_list_ends(graph))


def _list_ends(graph: Graph) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """Return sources, targets, (links,) int64, and |weights|, (links,) float64."""
    links = graph.links
    sources = numpy.fromiter((link.source for link in links), numpy.int64, len(links))
    targets = numpy.fromiter((link.target for link in links), numpy.int64, len(links))
    return sources, targets, numpy.abs(numpy.fromiter((link.weight for link in links), numpy.float64, len(links)))


def _share(nodes: int, sources: numpy.ndarray, targets: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
    """Return each weight as a share of those of the same target."""
    sums = numpy.bincount(targets, weights, minlength=nodes)
    shares: numpy.ndarray = weights / numpy.maximum(sums[targets], 1e-12)
    return shares


def measure_nodes(graph: Graph) -> numpy.ndarray:
    """Return how much of the logits each node leads to over all paths, (nodes,) float64; logits have their
    probability."""
    sources, targets, _ = _list_ends(graph)
    return _follow(_weigh_logits(graph), sources, targets, measure_links(graph))


def _follow(
    start: numpy.ndarray, sources: numpy.ndarray, targets: numpy.ndarray, shares: numpy.ndarray
) -> numpy.ndarray:
    """Return `start`, (nodes,) float64, and what of it comes to each node backwards over the links."""
    current = start
    total = current.copy()
    for _ in range(MOST_STEPS):
        current = numpy.bincount(sources, shares * current[targets], minlength=len(start))
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


class GraphPart(NamedTuple):
    """A part of a graph: which nodes, (nodes,) bool, and which links, (links,) bool, are in it."""

    nodes: numpy.ndarray
    links: numpy.ndarray


def choose_part(graph: Graph, node_threshold: float | None = None, edge_threshold: float | None = None) -> GraphPart:
    """Return the part of a graph that carries these shares of the influence, as circuit-tracer chooses it.

    Nodes of the largest influence stay until they carry `node_threshold` of that of all; tokens and logits stay anyway.
    Then links of the smaller graph stay until they carry `edge_threshold`, and what has no link onwards goes, as do
    features that no link leads to any more. Raises BadRequest for a share out of range.
    """
    for name, threshold in (("node_threshold", node_threshold), ("edge_threshold", edge_threshold)):
        if threshold is not None and not 0 < threshold <= 1:
            raise BadRequest(f"{name}: {threshold} is no share, above 0 and up to 1")
    sources, targets, weights = _list_ends(graph)
    logits = _weigh_logits(graph)
    kinds = numpy.array([node.kind for node in graph.nodes])
    ends = numpy.isin(kinds, ("token", "logit"))
    nodes = numpy.ones(len(graph.nodes), dtype=bool)
    if node_threshold is not None:
        influence = _follow(logits, sources, targets, _share(len(nodes), sources, targets, weights)) - logits
        nodes = ends | _carry(influence, node_threshold)
    links = nodes[sources] & nodes[targets]
    if edge_threshold is not None:
        shares = _share(len(nodes), sources, targets, numpy.where(links, weights, 0.0))
        flows = shares * _follow(logits, sources, targets, shares)[targets]
        links &= _carry(flows, edge_threshold)
        led_to = numpy.bincount(targets, minlength=len(nodes)) > 0
        _drop_ends(nodes, links, sources, targets, ends, (kinds == "feature") & led_to)
    return GraphPart(nodes, links)


def _carry(values: numpy.ndarray, share: float) -> numpy.ndarray:
    """Return which values carry a share of their sum: the largest, with all that equal the last of these.

    All do where there is nothing to carry.
    """
    if not values.sum() > 0:
        return numpy.ones(len(values), dtype=bool)
    descending = -numpy.sort(-values)
    last = int(numpy.searchsorted(numpy.cumsum(descending) / descending.sum(), share - 1e-12))
    kept: numpy.ndarray = (values > 0) & (values >= descending[min(last, len(values) - 1)])
    return kept


def _drop_ends(
    nodes: numpy.ndarray,
    links: numpy.ndarray,
    sources: numpy.ndarray,
    targets: numpy.ndarray,
    ends: numpy.ndarray,
    features: numpy.ndarray,
) -> None:
    """Take out of a part, until nothing changes, nodes that lead nowhere, and `features` that nothing leads to."""
    while True:
        leads, is_led_to = numpy.zeros(len(nodes), dtype=bool), numpy.zeros(len(nodes), dtype=bool)
        leads[sources[links]] = True
        is_led_to[targets[links]] = True
        stay = nodes & (ends | leads) & (~features | is_led_to)
        if (stay == nodes).all():
            return
        nodes &= stay
        links &= nodes[sources] & nodes[targets]


def prune(graph: Graph, node_threshold: float | None = None, edge_threshold: float | None = None) -> Graph:
    """Return the part of a graph that `choose_part` chooses, as a graph. Raises BadRequest for a share out of range."""
    part = choose_part(graph, node_threshold, edge_threshold)
    places = numpy.cumsum(part.nodes) - 1
    links = tuple(
        GraphLink(int(places[link.source]), int(places[link.target]), link.weight)
        for link, stays in zip(graph.links, part.links, strict=True)
        if stays
    )
    nodes = tuple(node for node, stays in zip(graph.nodes, part.nodes, strict=True) if stays)
    return msgspec.structs.replace(graph, nodes=nodes, links=links)


def find_paths(
    graph: Graph, k: int = 10, start: str | None = None, dictionaries: Sequence[Dictionary] = ()
) -> list[Path]:
    """Return the k paths of most influence to logits; from the node `start`, or from any node that no link leads to.

    `start` is a node's id or its feature's; `dictionaries` are the store's, for their names on Neuronpedia. Raises
    BadRequest for a node that the graph does not have, and for a graph whose links run in a circle.
    """
    if k < 1:
        raise BadRequest(f"k: {k} is not a number of paths")
    starts = find_places(graph, start, dictionaries) if start is not None else []
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


def read_vectors(graph: Graph, vector_of: Callable[[str], numpy.ndarray]) -> dict[str, numpy.ndarray]:
    """Return the decoder vectors of those of the graph's features that have one in the store, by id."""
    vectors = {}
    for id in sorted({node.id for node in graph.nodes if node.in_store and node.id is not None}):
        with contextlib.suppress(NotFound):  # of an import without weights
            vectors[id] = vector_of(id)
    return vectors


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

    for place, other in _list_alike(graph, places, vectors, cosine):
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


def _list_alike(
    graph: Graph, places: Sequence[int], vectors: Mapping[str, numpy.ndarray], cosine: float
) -> Iterator[tuple[int, int]]:
    """Yield pairs of places whose nodes have the same label, or directions of at least this cosine."""
    first: dict[str, int] = {}
    by_width: dict[int, list[int]] = {}
    for place in places:
        node = graph.nodes[place]
        if node.label:
            yield place, first.setdefault(node.label, place)
        if node.id is not None and node.id in vectors:
            by_width.setdefault(len(vectors[node.id]), []).append(place)
    for group in by_width.values():
        rows = numpy.array([vectors[graph.nodes[place].id or ""] for place in group], dtype=numpy.float32)
        rows /= numpy.maximum(numpy.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        for number in range(1, len(group)):
            for other in numpy.flatnonzero(rows[:number] @ rows[number] >= cosine):
                yield group[number], group[int(other)]


def _name(labels: Sequence[str | None]) -> str:
    known = [label for label in labels if label]
    return max(known, key=lambda label: (known.count(label), -len(label))) if known else "unlabelled"
