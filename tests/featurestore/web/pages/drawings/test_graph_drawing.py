"""A graph as a drawing: rows are layers, columns are positions, and the links are those of the chosen node."""

import pytest

from featurestore.values.graphs import Graph
from featurestore.web.pages.drawings.graph_drawing import draw_graph, name_node


@pytest.fixture(scope="module")
def graph(graph_store):
    return graph_store.graph("colons")


def test_layers_are_rows_and_positions_are_columns(graph: Graph):
    drawing = draw_graph(graph, None, {}, {}, set(), graph.graph, 1.0)
    assert [mark.text for mark in drawing.rows] == ["logits", "layer 1", "layer 0", "tokens"]
    assert [mark.text for mark in drawing.columns] == ["def", " x", "("]
    places = {drawn.node.node_id: (drawn.x, drawn.y) for drawn in drawing.nodes}
    assert len(set(places.values())) == len(graph.nodes) and drawing.hidden == 0
    assert places["2_4_2"][1] < places["1_5_2"][1] < places["0_8_2"][1] < places["E_0_0"][1]
    assert places["E_0_0"][0] < places["0_3_1"][0] < places["0_8_2"][0] < drawing.width


def test_only_links_of_the_chosen_node_are_drawn(graph: Graph):
    chosen = next(node for node in graph.nodes if node.node_id == "0_3_1")
    drawing = draw_graph(graph, chosen, {}, {}, set(), graph.graph, 1.0)
    assert [(link.side, link.sign) for link in drawing.links] == [("to", "plus")]
    roles = {drawn.node.node_id: drawn.role for drawn in drawing.nodes if drawn.role}
    assert roles == {"0_3_1": "chosen", "2_4_2": "linked"}
    everything = draw_graph(graph, None, {}, {}, set(), graph.graph, 1.0).links
    assert {link.sign for link in everything} == {"plus", "minus"} and max(link.share for link in everything) == 1


def test_supernodes_pins_and_names_are_marked(graph: Graph):
    names = {"1_22_1": "brackets"}
    drawing = draw_graph(graph, None, names, {"a": ["0_3_1"], "b": ["1_5_2"]}, {"1_3_2"}, graph.graph, 1.0)
    nodes = {drawn.node.node_id: drawn for drawn in drawing.nodes}
    assert (nodes["0_3_1"].group, nodes["1_5_2"].group, nodes["0_8_2"].group) == (1, 2, 0)
    assert [id for id, drawn in nodes.items() if drawn.pinned] == ["1_3_2"]
    assert nodes["1_22_1"].title.startswith("brackets")
    assert name_node(nodes["E_0_0"].node, graph, names) == "token 'def'"
