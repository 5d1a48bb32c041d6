"""Nodes are named in every form that ids have, also by the names of dictionaries on Neuronpedia, at every door."""

import pytest

from featurestore import BadRequest, NotFound
from featurestore.graphs import analysis
from featurestore.graphs.nodes import find_places
from featurestore.web import create_app
from tests.support import attribution_graphs, tiny

ELSEWHERE = "gpt2-small/1-res-jb"


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        row = tiny.dictionary_row("1-np", 1) | {"dictionary": "tiny/1-np", "neuronpedia_id": ELSEWHERE}
        with opened.writer("tests") as writer:
            writer.add("dictionaries", tiny.table([row]), key="tiny/1-np")
            writer.add("features", tiny.table(tiny.feature_rows("tiny/1-np")), key="tiny/1-np")
        opened.add_graph(attribution_graphs.graph(), map=["0=tiny/0-res", "1=tiny/1-np"])
        yield opened


FORMS = [
    "1_5_2",
    "tiny/1-np/5",
    "tiny@1-np:5",
    "gpt2-small/1-res-jb/5",
    "gpt2-small@1-res-jb:5",
    "https://www.neuronpedia.org/gpt2-small/1-res-jb/5",
]


@pytest.mark.parametrize("given", FORMS)
def test_every_form_of_an_id(door, given):
    graph, dictionaries = door.graph("colons"), door.dictionaries()
    assert [graph.nodes[place].node_id for place in find_places(graph, given, dictionaries)] == ["1_5_2"]
    assert door.edit_graph("colons", pin=[given])["pinnedIds"] == ["1_5_2"]
    assert ["late", "1_5_2"] in door.edit_graph("colons", group={"late": [given]})["supernodes"]
    assert door.edit_graph("colons", name={given: "mine"})["clerps"] == [["1_5_2", "mine"]]
    (way,) = analysis.find_paths(graph, start=given, dictionaries=dictionaries)
    assert [graph.nodes[place].node_id for place in way.nodes] == ["1_5_2", "2_4_2"]
    rows = door.sql(
        "select node_id from graph_paths('colons', start := $node) join graph_nodes using (graph, node) order by step",
        {"node": given},
    ).to_pylist()
    assert [row["node_id"] for row in rows] == ["1_5_2", "2_4_2"]
    assert [summary.feature_nodes for summary in door.graphs(feature="tiny/1-np/5")] == [("1_5_2",)]


@pytest.mark.parametrize("given", FORMS)
def test_a_page_of_the_graph_shows_it(store, given):
    answer = create_app(store).test_client().get("/graphs/colons", query_string={"node": given})
    assert answer.status_code == 200 and "tiny/1-np/5" in answer.text


@pytest.mark.parametrize("given", ["1_99_2", "tiny/1-np/6", "gpt2-small@2-res-jb:5", "", "/", "tiny/1-np"])
def test_what_is_no_node(store, given):
    assert find_places(store.graph("colons"), given, store.dictionaries()) == []
    with pytest.raises(NotFound, match="has no node"):
        store.edit_graph("colons", pin=[given])
    with pytest.raises(BadRequest, match="is no node of colons"):
        analysis.find_paths(store.graph("colons"), start=given)


@pytest.mark.parametrize(
    ("metadata", "map"),
    [
        ({"scan": "gpt2-small", "info": {"neuronpedia_source_set": "res-jb"}}, ()),
        ({"scan": "gpt2-small", "info": {"source_urls": ["https://neuronpedia.org/gpt2-small/res-jb"]}}, ()),
        ({}, ("gpt2-small/{layer}-res-jb",)),
        ({}, ("1=gpt2-small/1-res-jb",)),
    ],
)
def test_a_graph_that_calls_a_dictionary_as_neuronpedia_does(store, metadata, map):
    nodes = [attribution_graphs.feature(1, 5, 0)]
    added = store.add_graph(attribution_graphs.graph("other", nodes=nodes, **metadata), map=map)
    assert (added.in_store, store.graph("other").nodes[0].id) == (1, "tiny/1-np/5")
