"""Where the features of a neighbourhood are drawn."""

import itertools
import math

import msgspec
import pytest

import featurestore
from featurestore.web.pages.drawings.label_places import Box, measure, place_labels
from featurestore.web.pages.drawings.neighbourhood_layout import PHONE, READABLE, SCREEN, choose_shapes, lay_out


@pytest.fixture(scope="module")
def neighbourhood(tiny_store):
    with featurestore.connect(tiny_store) as store:
        return store.neighbourhood("tiny/0-res/8", 4)


@pytest.mark.parametrize("sheet", [SCREEN, PHONE])
def test_each_feature_and_each_edge_is_drawn_once(neighbourhood, sheet):
    drawing = lay_out(neighbourhood, sheet)
    assert sorted(node.id for node in drawing.nodes) == sorted(hit.id for hit in neighbourhood.nodes)
    assert len(drawing.lines) == len(neighbourhood.edges)
    places = {(node.x, node.y) for node in drawing.nodes}
    assert len(places) == len(drawing.nodes), "no two features stand at one place"
    assert all({(line.x1, line.y1), (line.x2, line.y2)} <= places for line in drawing.lines)


@pytest.mark.parametrize("sheet", [SCREEN, PHONE])
def test_the_feature_is_in_the_middle_and_the_nearest_are_around_it(neighbourhood, sheet):
    drawing = lay_out(neighbourhood, sheet)
    (middle,) = [node for node in drawing.nodes if node.ring == 0]
    assert (middle.id, middle.x, middle.y) == (neighbourhood.id, sheet.width / 2, sheet.height / 2)
    first = {edge.target for edge in neighbourhood.edges if edge.source == neighbourhood.id}
    assert {node.id for node in drawing.nodes if node.ring == 1} == first
    for node in drawing.nodes[1:]:
        across, down = sheet.rings[node.ring]
        assert ((node.x - middle.x) / across) ** 2 + ((node.y - middle.y) / down) ** 2 == pytest.approx(1, abs=0.01)


def boxes_of(nodes, places):
    """The rectangles of labels that have a place, and those of all nodes."""
    labels = []
    for (_, _, _, _, size), place in zip(nodes, places, strict=True):
        wide = measure(place.text, size)
        left = place.x - {"start": 0, "middle": wide / 2, "end": wide}[place.anchor]
        if place.text:
            labels.append(Box(left, place.y - size * 0.9, left + wide, place.y + size * 0.2))
    return labels, [Box(x - r, y - r, x + r, y + r) for x, y, r, _, _ in nodes]


@pytest.mark.parametrize("count", [1, 7, 40, 160])
def test_labels_cover_neither_each_other_nor_a_node(count):
    nodes = [(20 + n * 97 % 1080, 20 + n * 61 % 680, 8, "意味 of a label " * (1 + n % 4), 11) for n in range(count)]
    places = place_labels(nodes, SCREEN.width, SCREEN.height)
    labels, circles = boxes_of(nodes, places)
    assert labels and (len(labels) == count or count > 7)
    assert not any(one.meets(other) for one, other in itertools.combinations(labels, 2))
    assert not any(label.meets(circle) for label in labels for circle in circles)
    assert all(
        min(box.left, box.top) >= 0 and box.right <= SCREEN.width and box.bottom <= SCREEN.height for box in labels
    )


def test_dictionaries_have_shapes_and_nodes_the_numbers_of_the_list(neighbourhood):
    shapes = choose_shapes(neighbourhood)
    assert shapes == {"tiny/0-res": "circle", "tiny/1-res": "square"}
    for node in lay_out(neighbourhood).nodes:
        assert node.shape == shapes[node.id.rpartition("/")[0]]
        assert neighbourhood.nodes[node.number].id == node.id


def test_a_phone_has_the_labels_of_the_nearest_and_numbers_for_the_rest(neighbourhood):
    drawing = lay_out(neighbourhood, PHONE)
    assert not any(node.label.text for node in drawing.nodes if node.ring == 2)
    assert any(node.label.text for node in drawing.nodes if node.ring == 1)
    for node in drawing.nodes:
        size = node.radius * 1.25
        assert size <= node.x <= drawing.width - size and size <= node.y <= drawing.height - size


def test_nodes_of_a_full_ring_are_small_and_have_no_numbers(neighbourhood):
    middle, *others = neighbourhood.nodes
    nodes = [msgspec.structs.replace(others[0], id=f"tiny/0-res/{n}") for n in range(1000, 1120)]
    edges = [msgspec.structs.replace(neighbourhood.edges[0], source=middle.id, target=others[0].id)]
    edges += [msgspec.structs.replace(edges[0], source=others[0].id, target=node.id) for node in nodes]
    full = msgspec.structs.replace(neighbourhood, nodes=(middle, others[0], *nodes), edges=tuple(edges))
    for sheet, numbered in ((SCREEN, True), (PHONE, False)):
        outer = [node for node in lay_out(full, sheet).nodes if node.ring == 2]
        assert len(outer) == 120
        assert all(bool(node.number) == (node.radius >= READABLE) == numbered for node in outer)
        for one, other in itertools.combinations(outer, 2):
            assert math.dist((one.x, one.y), (other.x, other.y)) > one.radius
