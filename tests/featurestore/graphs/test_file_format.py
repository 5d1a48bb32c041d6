"""Files of attribution graphs, read with their traps."""

import pytest

from featurestore import BadRequest, NotFound
from featurestore.graphs import file_format
from featurestore.notes import NoteCode
from tests.support import tiny
from tests.support.attribution_graphs import feature, graph, node, pair

MAP = ["tiny/{layer}-res"]


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def by_id(found):
    return {(one.node_id, one.kind): one for one in found.nodes}


def test_cantor_pairs_of_large_dictionaries():
    places = [(0, 0), (0, 1), (25, 16_383), (3, 98_303), (100, 90_000_000)]
    nodes = [feature(layer, index, 0) for layer, index in places]
    found = file_format.parse(graph(nodes=nodes))
    assert [(one.layer, one.feature) for one in found.nodes] == places
    assert found.notes == ()


def test_an_error_and_a_feature_of_one_id_are_told_apart():
    """Feature 1 of layer 0 and the error of layer 1, both at position 2."""
    nodes = [
        node("0_1_2", "mlp reconstruction error", 1, 2, -1),
        feature(0, 1, 2),
        node("2_4_2", "logit", 2, 2, 4),
    ]
    found = file_format.parse(graph(nodes=nodes))
    assert [(one.kind, one.layer, one.feature) for one in found.nodes] == [
        ("error", 1, None),
        ("feature", 0, 1),
        ("logit", 2, None),
    ]
    assert [link[:2] for link in found.links] == [(1, 2), (1, 2)]
    assert found.notes == ("2 links of an id that a feature and an error share, taken for the feature's",)


@pytest.mark.parametrize(
    ("numbers", "indices", "notes"),
    [
        ([2_305_458, 3, 100_007], [5458, 3, 7], 1),  # layer and five digits, as gemma-2-2b's are
        ([5458, 3, 7], [5458, 3, 7], 0),
        ([2_305_458, 3, 263_839], [2_305_458, 3, 263_839], 0),  # one that does not fit: none is
    ],
)
def test_numbers_of_schema_0(numbers, indices, notes):
    layers = (23, 0, 1)
    nodes = [
        node(f"n{n}", "cross layer transcoder", layer, 0, number)
        for n, (layer, number) in enumerate(zip(layers, numbers, strict=True))
    ]
    for version in (0, None):
        found = file_format.parse(graph(nodes=nodes, schema_version=version))
        assert ([one.feature for one in found.nodes], len(found.notes)) == (indices, notes)


def test_what_is_odd_is_counted(store):
    nodes = [
        feature(0, 3, 0),
        feature(1, 3, 0) | {"feature": pair(7, 3)},
        node("x", "bias", 1, 0, -1),
        node("y", "crosscoder", 1, 0, -1),
        node("z", "lorsa", 1, 0, pair(1, 2)),
    ]
    given = graph(nodes=nodes)
    given["links"].append({"source": "0_3_0", "target": "pruned", "weight": 1})
    added = store.add_graph(given, map=MAP)
    assert added.notes == (
        "1 feature without an index: the file's number does not fit the layer it says",
        "1 node of the unknown feature_type 'crosscoder' kept as other",
        "1 link left out: the file has no node of their source or target",
        "nothing says which dictionaries the features of layers 1 are of: name them with map",
    )
    codes = (
        NoteCode("graph_features_without_index", {"features": 1}),
        NoteCode("graph_type_unknown", {"nodes": 1}),
        NoteCode("graph_links_left_out", {"links": 1}),
        NoteCode("graph_dictionaries_unnamed", {"layers": 1}),
    )
    assert added.note_codes == codes
    found = store.graph("colons")
    assert found.note_codes == store.graphs()[0].note_codes == codes[:3]
    assert [(one.kind, one.in_store) for one in found.nodes] == [
        ("feature", True),
        ("feature", False),
        ("other", False),
        ("other", False),
        ("feature", False),
    ]
    assert found.notes == added.notes[:3]
    assert len(found.links) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"metadata": {"slug": "a"', "is no JSON: Input data was truncated"),
        ('{"links": [{"weight": NaN}]}', "is no JSON: it has NaN, which JSON cannot say"),
        ('{"links": [{"weight": -Infinity}]}', "it has -Infinity"),
        ("[]", "is no attribution graph: it holds no JSON object"),
        ("\xff", "is no JSON"),
    ],
)
def test_files_that_are_no_graphs(store, tmp_path, text, words):
    (tmp_path / "g.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadRequest, match=words):
        store.add_graph(tmp_path / "g.json")
    with pytest.raises(NotFound, match="no/such"):
        store.add_graph("/no/such.json")
