"""Where the features of a neighbourhood are drawn."""

import pytest

import featurestore
from featurestore.web.pages.drawings.neighbourhood_layout import HEIGHT, LABEL_LENGTH, RINGS, WIDTH, lay_out


@pytest.fixture(scope="module")
def neighbourhood(tiny_store):
    with featurestore.connect(tiny_store) as store:
        return store.neighbourhood("tiny/0-res/8", 4)


def test_each_feature_and_each_edge_is_drawn_once(neighbourhood):
    drawing = lay_out(neighbourhood)
    assert sorted(node.id for node in drawing.nodes) == sorted(hit.id for hit in neighbourhood.nodes)
    assert len(drawing.lines) == len(neighbourhood.edges)
    places = {(node.x, node.y) for node in drawing.nodes}
    assert len(places) == len(drawing.nodes), "no two features stand at one place"
    assert all({(line.x1, line.y1), (line.x2, line.y2)} <= places for line in drawing.lines)


def test_the_feature_is_in_the_middle_and_the_nearest_are_around_it(neighbourhood):
    drawing = lay_out(neighbourhood)
    (middle,) = [node for node in drawing.nodes if node.ring == 0]
    assert (middle.id, middle.x, middle.y) == (neighbourhood.id, WIDTH / 2, HEIGHT / 2)
    first = {edge.target for edge in neighbourhood.edges if edge.source == neighbourhood.id}
    assert {node.id for node in drawing.nodes if node.ring == 1} == first
    for node in drawing.nodes[1:]:
        across, down = RINGS[node.ring]
        assert ((node.x - middle.x) / across) ** 2 + ((node.y - middle.y) / down) ** 2 == pytest.approx(1, abs=0.01)
        assert len(node.label) <= LABEL_LENGTH
