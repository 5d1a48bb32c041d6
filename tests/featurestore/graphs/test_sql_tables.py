"""Parts, paths and groups of a graph in SQL, locally and over HTTP, against the analysis itself."""

import httpx2
import pytest

import featurestore
from featurestore.client import Client
from featurestore.graphs import analysis
from featurestore.web import create_app
from tests.support import attribution_graphs, tiny


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("graphs") / "s") as opened:
        opened.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        yield opened


@pytest.fixture(scope="module", params=["local", "isolated", "http"])
def door(request, store):
    if request.param == "local":
        yield store
    elif request.param == "isolated":
        with featurestore.connect(store.location) as opened:
            opened.isolate_sql(1)
            yield opened
    else:
        with Client("http://x", transport=httpx2.WSGITransport(app=create_app(store))) as client:
            yield client


@pytest.mark.parametrize("thresholds", [(0.8, 0.98), (0.5, 0.7), (1.0, 1.0)])
def test_a_pruned_graph(door, store, thresholds):
    given = dict(zip(("n", "e"), thresholds, strict=True))
    call = "('colons', node_threshold := $n, edge_threshold := $e)"
    nodes = door.sql(f"from pruned_nodes{call} order by node", given)
    links = door.sql(f"from pruned_links{call} order by all", given)
    smaller, whole = store.graph("colons", *thresholds), store.graph("colons")
    assert nodes["node_id"].to_pylist() == [node.node_id for node in smaller.nodes]
    assert [whole.nodes[place].node_id for place in nodes["node"].to_pylist()] == nodes["node_id"].to_pylist()
    reached = analysis.measure_nodes(whole)
    assert nodes["reached"].to_pylist() == pytest.approx([reached[place] for place in nodes["node"].to_pylist()])
    shares = {
        (link.source, link.target): share
        for link, share in zip(whole.links, analysis.measure_links(whole), strict=True)
    }
    rows = links.to_pylist()
    assert [row["share"] for row in rows] == pytest.approx([shares[row["source"], row["target"]] for row in rows])
    ends = {(smaller.nodes[link.source].node_id, smaller.nodes[link.target].node_id) for link in smaller.links}
    assert {(whole.nodes[row["source"]].node_id, whole.nodes[row["target"]].node_id) for row in rows} == ends


def test_thresholds_are_those_of_circuit_tracer_unless_given(door, store):
    rows = door.sql("select n: count(*) from pruned_nodes('colons')")
    assert rows["n"].to_pylist() == [len(store.graph("colons", 0.8, 0.98).nodes)]


def test_it_is_joined_with_labels(door, store):
    rows = door.sql(
        "select node_id, label from pruned_nodes('colons') join graph_nodes using (graph, node, node_id) "
        "join features using (dictionary, feature) order by node"
    ).to_pylist()
    kept = [node for node in store.graph("colons", 0.8, 0.98).nodes if node.in_store]
    assert [(row["node_id"], row["label"]) for row in rows] == [(node.node_id, node.label) for node in kept] != []


def test_paths(door, store):
    rows = door.sql("from graph_paths('colons', k := 3) order by path, step").to_pylist()
    ways = analysis.find_paths(store.graph("colons"), 3)
    wanted = [(n, step, place) for n, way in enumerate(ways, 1) for step, place in enumerate(way.nodes)]
    assert [(row["path"], row["step"], row["node"]) for row in rows] == wanted
    assert [row["path_influence"] for row in rows if row["step"] == 0] == pytest.approx([way.influence for way in ways])
    started = door.sql(
        "select distinct node from graph_paths('colons', start := $node) where step = 0", {"node": "0_3_1"}
    )
    assert [store.graph("colons").nodes[n].node_id for n in started["node"].to_pylist()] == ["0_3_1"]


def test_groups(door, store):
    graph = store.graph("colons")
    vectors = {node.id: store.vector(node.id) for node in graph.nodes if node.in_store}
    for cosine in (0.8, 0.999):
        rows = door.sql("from graph_groups('colons', cosine := $c)", {"c": cosine}).to_pylist()
        groups = analysis.propose_groups(graph, vectors, cosine)
        assert [(row["name"], row["node_id"]) for row in rows] == [(g.name, id) for g in groups for id in g.nodes]
    assert {row["graph"] for row in rows} <= {"colons"}


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("from pruned_nodes()", "needs the name of a graph first"),
        ("from pruned_nodes(3)", "needs the name of a graph first"),
        ("from pruned_nodes('colons', node_threshold := 2)", r"pruned_nodes\(...\): node_threshold"),
        ("from pruned_links('colons', k := 2)", "unknown field `k`"),
        ("from graph_paths('colons', k := 101)", r"graph_paths\(...\): k"),
        ("from graph_paths('colons', start := 'nowhere')", "no node of colons"),
        ("from graph_groups('colons', cosine := 'x')", "cosine"),
        ("from graph_groups('colons', cosine := (select 1))", "must be constants"),
    ],
)
def test_mistakes(door, statement, message):
    with pytest.raises(featurestore.BadRequest, match=message):
        door.sql(statement)


def test_a_graph_that_is_not_there(door):
    with pytest.raises(featurestore.NotFound, match="nothing"):
        door.sql("from pruned_nodes('nothing')")
