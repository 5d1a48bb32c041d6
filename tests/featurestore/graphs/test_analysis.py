"""Paths, pruning and groups, against slow and obvious ways to the same numbers."""

import datetime
import itertools

import numpy
import pytest

from featurestore.errors import BadRequest
from featurestore.graphs import analysis
from featurestore.values.graphs import Graph, GraphLink, GraphNode


def make_node(name, kind="feature", id=None, label=None, **more):
    fields = {
        "node_id": name,
        "kind": kind,
        "feature_type": kind,
        "layer": 0,
        "position": 0,
        "id": id,
        "in_store": id is not None,
        "label": label,
        "clerp": "",
        "dictionary": None,
        "feature": None,
        "token": None,
        "activation": None,
        "influence": None,
        "token_prob": None,
        "is_target": False,
    }
    return GraphNode(**fields | more)


def make_graph(nodes, links):
    return Graph(
        graph="g",
        scan="s",
        prompt="p",
        prompt_tokens=("p",),
        schema_version=1,
        node_threshold=None,
        metadata={},
        view={},
        nodes=tuple(nodes),
        links=tuple(GraphLink(*link) for link in links),
        notes=(),
        tool="t",
        created_at=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )


@pytest.fixture(scope="module")
def graph():
    """Two tokens, three layers of three features, two logits; links with weights of either sign."""
    rng = numpy.random.default_rng(0)
    layers = [[0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10], [11, 12]]
    nodes = [make_node(f"E{n}", "token") for n in range(2)] + [make_node(f"f{n}") for n in range(9)]
    nodes += [make_node("a", "logit", token_prob=0.7), make_node("b", "logit", token_prob=0.2)]
    links = [
        (source, target, float(rng.normal()))
        for low, high in itertools.combinations(range(5), 2)
        for source in layers[low]
        for target in layers[high]
    ]
    return make_graph(nodes, links)


def walk(graph, place, shares):
    """Every path from a node to a logit, with the product of its shares, by trying all."""
    if graph.nodes[place].kind == "logit":
        yield (place,), graph.nodes[place].token_prob
    for link, share in zip(graph.links, shares, strict=True):
        if link.source == place:
            for rest, product in walk(graph, link.target, shares):
                yield (place, *rest), share * product


def test_shares_of_links_sum_to_one_at_each_node(graph):
    shares = analysis.measure_links(graph)
    for target in range(2, len(graph.nodes)):
        assert sum(s for s, link in zip(shares, graph.links, strict=True) if link.target == target) == pytest.approx(1)


def test_paths_are_the_best_of_all(graph):
    shares = analysis.measure_links(graph)
    every = [path for start in (0, 1) for path in walk(graph, start, shares)]
    every.sort(key=lambda path: -path[1])
    found = analysis.find_paths(graph, 12)
    assert [(way.nodes, pytest.approx(way.influence)) for way in found] == every[:12]
    from_f3 = sorted(walk(graph, 3, shares), key=lambda path: -path[1])
    assert [way.nodes for way in analysis.find_paths(graph, 3, "f1")] == [path for path, _ in from_f3[:3]]


def test_influence_of_a_node_is_the_sum_over_its_paths(graph):
    shares, influence = analysis.measure_links(graph), analysis.measure_nodes(graph)
    for place in range(11):
        assert influence[place] == pytest.approx(sum(product for _, product in walk(graph, place, shares)))


def prune_slowly(graph, node_threshold, edge_threshold):
    """Names of the nodes and ends of the links that stay, with dense matrices and one node after the other."""
    count = len(graph.nodes)
    weights = numpy.zeros((count, count))  # (target, source)
    for link in graph.links:
        weights[link.target, link.source] = abs(link.weight)
    logits = numpy.array([node.token_prob or 0.0 for node in graph.nodes])

    def follow(matrix):
        shares = matrix / numpy.maximum(matrix.sum(axis=1, keepdims=True), 1e-10)
        return shares, logits @ (numpy.linalg.inv(numpy.eye(count) - shares) - numpy.eye(count))

    def carry(values, share):
        taken, total = set(), 0.0
        for place in sorted(range(len(values)), key=lambda place: -values[place]):
            if total >= share * sum(values) - 1e-9:
                break
            taken.add(place)
            total += values[place]
        return taken

    _, influence = follow(weights)
    nodes = {n for n, node in enumerate(graph.nodes) if node.kind in ("token", "logit")} | carry(
        influence, node_threshold
    )
    for place in set(range(count)) - nodes:
        weights[place] = weights[:, place] = 0
    shares, influence = follow(weights)
    flows = shares * (influence + logits)[:, None]
    links = {divmod(place, count)[::-1] for place in carry(flows.ravel(), edge_threshold)}
    before = None
    while before != nodes:
        before = set(nodes)
        links = {(source, target) for source, target in links if source in nodes and target in nodes}
        for place in before:
            kind = graph.nodes[place].kind
            inner = kind not in ("token", "logit")
            onwards = any(source == place for source, _ in links)
            if inner and (not onwards or (kind == "feature" and not any(target == place for _, target in links))):
                nodes.discard(place)
    return {graph.nodes[place].node_id for place in nodes}, links


@pytest.mark.parametrize("thresholds", [(0.8, 0.98), (0.6, 0.7), (0.95, 0.5), (0.3, 0.9)])
def test_pruning_is_that_of_circuit_tracer(graph, thresholds):
    errors = {4, 9}
    nodes = [make_node(f"x{n}", "error") if n in errors else node for n, node in enumerate(graph.nodes)]
    links = [(link.source, link.target, link.weight) for link in graph.links if link.target not in errors]
    mixed = make_graph(nodes, links)
    smaller, part = analysis.prune(mixed, *thresholds), analysis.choose_part(mixed, *thresholds)
    names, ends = prune_slowly(mixed, *thresholds)
    assert {node.node_id for node in smaller.nodes} == names
    assert {links[place][:2] for place in numpy.flatnonzero(part.links)} == ends
    weights = {(nodes[source].node_id, nodes[target].node_id): weight for source, target, weight in links}
    for link in smaller.links:
        assert weights[smaller.nodes[link.source].node_id, smaller.nodes[link.target].node_id] == link.weight


def test_pruning_by_one_share_alone(graph):
    smaller = analysis.prune(graph, node_threshold=0.6)
    kept = {node.node_id for node in smaller.nodes}
    assert {"E0", "E1", "a", "b"} < kept and len(kept) < len(graph.nodes)
    inside = [link for link in graph.links if {graph.nodes[n].node_id for n in (link.source, link.target)} <= kept]
    assert len(smaller.links) == len(inside)
    assert len(analysis.prune(graph, edge_threshold=0.5).links) < len(graph.links) / 2
    assert analysis.prune(graph, 1.0, 1.0) == analysis.prune(graph) == graph
    loose = make_graph([make_node("a"), make_node("b")], [(0, 1, 1.0)])  # there is nothing to carry
    assert analysis.prune(loose, node_threshold=0.5) == loose


def test_groups_by_label_and_by_direction():
    names = {"a": "dogs", "b": "dogs", "c": None, "d": None, "e": "cats"}
    nodes = [make_node(name, id=f"m/s/{n}", label=label) for n, (name, label) in enumerate(names.items())]
    axes = numpy.eye(4, dtype=numpy.float32)
    vectors = {f"m/s/{n}": axes[axis] for n, axis in enumerate((0, 1, 2, 2, 3))}
    vectors["m/s/4"] = numpy.ones(7, dtype=numpy.float32)  # of another width
    groups = analysis.propose_groups(make_graph(nodes, []), vectors)
    assert groups == [analysis.NodeGroup("dogs", ("a", "b")), analysis.NodeGroup("unlabelled", ("c", "d"))]
    assert analysis.propose_groups(make_graph(nodes, []), {}, 0.8)[0].name == "dogs"


def test_mistakes(graph):
    with pytest.raises(BadRequest, match="no node of g"):
        analysis.find_paths(graph, 3, "nowhere")
    with pytest.raises(BadRequest, match="node_threshold"):
        analysis.prune(graph, node_threshold=1.5)
    circle = make_graph([make_node("a"), make_node("b")], [(0, 1, 1.0), (1, 0, 1.0)])
    with pytest.raises(BadRequest, match="circle"):
        analysis.find_paths(circle)
    assert analysis.find_paths(make_graph([make_node("a")], [])) == []
