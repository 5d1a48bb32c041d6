"""Attribution graphs: read with their traps, kept beside the features, the same through every door."""

import json

import msgspec
import pytest

from featurestore import BadRequest, Conflict, NotFound
from featurestore.cli.main import main
from featurestore.web import Settings, create_app
from featurestore.wire import questions
from tests.support import tiny
from tests.support.attribution_graphs import feature, graph

MAP = ["tiny/{layer}-res"]


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def by_id(found):
    return {(one.node_id, one.kind): one for one in found.nodes}


def test_a_graph_has_the_labels_of_its_features(door, store):
    added = door.add_graph(graph(), map=MAP)
    assert (added.graph, added.nodes, added.features, added.in_store, added.labelled, added.links) == (
        *("colons", 8, 5),
        *(5, 4, 7),
    )
    assert added.notes == ()
    assert added.commit == store.info().commit
    found = door.graph("colons")
    nodes = by_id(found)
    assert nodes["1_3_2", "feature"].id == "tiny/1-res/3"
    assert [nodes[f"{layer}_{n}_2", "feature"].label for layer, n in ((0, 8), (1, 3))] == [
        store.feature("tiny/0-res/8").label,
        store.feature("tiny/1-res/3").label,
    ]
    assert (nodes["1_22_1", "feature"].label, nodes["1_22_1", "feature"].in_store) == (None, True)
    assert (nodes["E_0_0", "token"].token, nodes["2_4_2", "logit"].token) == (0, 4)
    assert (nodes["2_4_2", "logit"].is_target, nodes["2_4_2", "logit"].influence) == (True, None)
    assert (found.prompt_tokens, found.metadata["info"]) == (("def", " x", "("), {"creator_name": "tests"})
    assert [(link.source, link.target, link.weight) for link in found.links[:2]] == [(0, 7, 0.5), (1, 7, 0.25)]
    assert found == store.graph("colons")
    assert found.to_arrow().num_rows == 8
    assert found.links_to_arrow()["weight"].to_pylist() == [0.5 - n / 4 for n in range(7)]
    assert "5 of them features of the store" in repr(found) and "colons" in door.graphs()._repr_html_()
    assert store.feature("tiny/1-res/3").label in found._repr_html_()


def test_the_file_comes_back_with_labels_in_it(door, store):
    given = graph()
    door.add_graph(given)
    file = door.graph_file("colons")
    labels = {0: (3, 8), 1: (3, 5)}
    for one in given["nodes"]:
        layer, index = one["node_id"].split("_")[:2]
        if one["feature_type"] == "cross layer transcoder" and int(index) in labels[int(layer)]:
            one["clerp"] = store.feature(f"tiny/{layer}-res/{index}").label
    # Without a map nothing says whose features they are: `tiny` has no transcoders.
    assert file == graph()
    door.add_graph(graph(), map=MAP, replace=True)
    assert door.graph_file("colons") == given


def test_the_graphs_of_a_feature(door):
    door.add_graph(graph(), map=MAP)
    door.add_graph(graph("another", nodes=[feature(0, 8, 1), feature(0, 8, 2, activation=20)]), map=MAP)
    of_feature = door.graphs(feature="tiny/0-res/8")
    assert [(one.graph, one.feature_nodes, one.feature_activation) for one in of_feature] == [
        ("another", ("0_8_1", "0_8_2"), 20.0),
        ("colons", ("0_8_2",), 9.5),
    ]
    assert [one.graph for one in door.graphs("tiny/1-res/3")] == ["colons"]
    assert not door.graphs("tiny/0-res/9") and not door.graphs("other/0-res/8")
    with pytest.raises(BadRequest, match="nothing"):
        door.graphs("nothing")


def test_every_door_lists_replaces_and_removes(door, store):
    door.add_graph(graph())
    door.add_graph(graph(), slug="another")
    assert [one.graph for one in door.graphs()] == ["another", "colons"]
    assert door.graphs() == store.graphs()
    with pytest.raises(Conflict, match="the store has a graph colons: give another slug, or replace it"):
        door.add_graph(graph())
    with pytest.raises(Conflict, match="the store has a graph colons, which differs from Colons by capitals alone"):
        door.add_graph(graph(), slug="Colons")
    door.add_graph(graph(prompt="return x("), replace=True)
    assert door.graph("colons").prompt == "return x("
    assert store.info().rows["graphs"] == 2
    door.remove_graph("another")
    assert [one.graph for one in door.graphs()] == ["colons"]
    for ask in (door.graph, door.graph_file, door.remove_graph):
        with pytest.raises(NotFound, match="no graph 'another'; there are: colons"):
            ask("another")
    assert store.check().problems == ()


def test_labels_that_come_later_are_seen(store):
    store.add_graph(graph(), map=MAP)
    store.set_label("tiny/1-res/22", "a dead thing")
    assert by_id(store.graph("colons"))["1_22_1", "feature"].label == "a dead thing"


def test_dictionaries_that_come_and_go(store):
    added = store.add_graph(graph(nodes=[feature(2, 3, 0), feature(1, 3, 0)]), map=MAP)
    assert (added.in_store, len(added.notes)) == (1, 1)
    assert "tiny/2-res" in added.notes[0]
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 2)
    assert [one.in_store for one in store.graph("colons").nodes] == [True, True]
    store.remove("tiny/1-res")
    assert [one.in_store for one in store.graph("colons").nodes] == [True, False]
    assert store.graph("colons").nodes[1].id == "tiny/1-res/3"
    assert store.check().problems == ()


def test_which_labelled_features_occur_in_my_graphs(store):
    store.add_graph(graph(), map=MAP)
    store.add_graph(graph("other", nodes=[feature(0, 8, 1), feature(0, 22, 1)]), map=MAP)
    rows = store.sql(
        "SELECT dictionary, feature, label, list(DISTINCT graph ORDER BY graph) AS graphs FROM graph_nodes "
        "JOIN features USING (dictionary, feature) WHERE has_label GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    assert [(row["dictionary"], row["feature"], row["graphs"]) for row in rows] == [
        ("tiny/0-res", 3, ["colons"]),
        ("tiny/0-res", 8, ["colons", "other"]),
        ("tiny/1-res", 3, ["colons"]),
        ("tiny/1-res", 5, ["colons"]),
    ]
    assert rows[0]["label"] == store.feature("tiny/0-res/3").label
    strongest = (
        "SELECT t.node_id FROM graph_links l JOIN graph_nodes t ON t.graph = l.graph AND t.node = l.target LIMIT 1"
    )
    assert store.sql(strongest)["node_id"].to_pylist() == ["2_4_2"]
    assert store.sql("SELECT count(*) AS n FROM graph_nodes WHERE in_store")["n"].to_pylist() == [7]


# --- what files say ---------------------------------------------------------------------------------------------


# --- whose features they are ------------------------------------------------------------------------------------


# --- what is refused --------------------------------------------------------------------------------------------


def changed(**fields):
    return graph() | fields


@pytest.mark.parametrize(
    ("given", "options", "words"),
    [
        ({}, {}, "this is no attribution graph: 'metadata' should be an object"),
        (changed(nodes={}), {}, "'nodes' should be a list"),
        (changed(nodes=[]), {}, "this graph has no nodes"),
        (changed(links=None), {}, "'links' should be a list"),
        (changed(metadata={}), {}, "metadata: object missing required field `scan`"),
        (graph(schema_version=2), {}, "metadata.schema_version: 2 is not known"),
        (graph(slug="../up"), {}, "slug: '../up' cannot name a graph"),
        (graph(), {"slug": ".hidden"}, "slug: '.hidden' cannot name a graph"),
        (graph(slug=None), {}, "slug: None cannot name a graph"),
        (graph(nodes=[feature(0, 1, -1)]), {}, r"nodes\[0\].ctx_idx: expected `int` >= 0"),
        (changed(nodes=[3]), {}, r"nodes\[0\]: expected `object`, got `int`"),
        (
            graph(nodes=[feature(0, 1, 0), feature(0, 1, 0)]),
            {},
            r"nodes\[1\].node_id: '0_1_0' is the id of nodes\[0\] too",
        ),
        (changed(links=[{"source": "0_3_1", "target": "2_4_2", "weight": None}]), {}, r"links\[0\].weight: expected"),
        (changed(links=[{"source": "0_3_1", "target": "2_4_2", "weight": float("nan")}]), {}, r"links\[0\].weight"),
        (graph(), {"map": ["tiny"]}, "map: 'tiny' is neither LAYER=DICTIONARY"),
        (graph(), {"map": ["tiny/res"]}, "map: 'tiny/res' is neither"),
        (graph(), {"map": ["x=tiny/res"]}, "map: 'x=tiny/res' is neither"),
        (graph(), {"map": ["1=tiny/0-res", "1=tiny/1-res"]}, "is the second for layer 1"),
    ],
)
def test_what_is_no_graph_is_refused_alike_and_changes_nothing(door, store, given, options, words):
    before = store.info().commit
    with pytest.raises(BadRequest, match=words):
        door.add_graph(given, **options)
    assert store.info().commit == before


def test_only_who_may_write_does_so_and_only_so_much(store, monkeypatch):
    reading = create_app(store).test_client()
    asked = {"graph": graph(), "map": MAP}
    assert reading.put("/v1/graphs/colons", json=asked).status_code == 403
    assert reading.delete("/v1/graphs/colons").status_code == 403
    http = create_app(store, Settings(writes=True)).test_client()
    assert http.put("/v1/graphs/colons", data=json.dumps(asked), content_type="text/plain").status_code == 400
    large = asked | {"graph": graph(prompt="x" * 11_000_000)}
    assert http.put("/v1/graphs/large", json=large).status_code == 200
    refused = http.post("/v1/labels", json={"labels": [{"id": "tiny/0-res/3", "label": "x" * 11_000_000}]})
    assert (refused.status_code, refused.json["detail"]) == (413, "the request is larger than 10,000,000 bytes")
    small = tuple(
        msgspec.structs.replace(question, most_bytes=question.most_bytes and 1000) for question in questions.QUESTIONS
    )
    monkeypatch.setattr(questions, "QUESTIONS", small)
    http = create_app(store, Settings(writes=True)).test_client()
    assert http.put("/v1/graphs/colons", json=asked).status_code == 413


def test_a_graph_that_has_not_changed_is_not_sent_again(store):
    store.add_graph(graph(), map=MAP)
    http = create_app(store).test_client()
    answer = http.get("/v1/graphs/colons")
    again = http.get("/v1/graphs/colons", headers={"If-None-Match": answer.headers["ETag"]})
    assert (answer.status_code, again.status_code) == (200, 304)
    store.set_label("tiny/1-res/22", "another")
    assert http.get("/v1/graphs/colons", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 200


def test_the_commands(store, tmp_path, invoke):
    place = ["--store", store.location]
    (tmp_path / "from-stem.json").write_text(json.dumps(graph(slug="")))
    done = invoke(main, ["graph", "add", str(tmp_path / "from-stem.json"), "--map", *MAP, *place])
    assert done.stdout == (
        "from-stem: 8 nodes, 5 of them features, of which 5 are in the store and 4 have a label; 7 links\n"
    ), done.output
    assert "def x(" in invoke(main, ["graph", "list", *place]).stdout
    shown = invoke(main, ["graph", "show", "from-stem", "-k", "3", *place]).stdout.splitlines()
    assert [line.split()[0] for line in shown[2:]] == ["2_4_2", "tiny/1-res/3", "E_0_0"]
    invoke(main, ["graph", "show", "from-stem", "-o", str(tmp_path / "out.json"), *place])
    assert json.loads((tmp_path / "out.json").read_text()) == store.graph_file("from-stem")
    again = invoke(main, ["graph", "add", str(tmp_path / "from-stem.json"), *place])
    assert (again.exit_code, again.stderr.startswith("error: the store has a graph from-stem")) == (4, True)
    assert invoke(main, ["graph", "remove", "from-stem", *place]).stdout == "removed from-stem\n"
    assert invoke(main, ["graph", "show", "from-stem", *place]).exit_code == 3


# --- a store that is looked after -------------------------------------------------------------------------------


def test_check_finds_a_graph_that_is_not_whole(store):
    store.add_graph(graph(), map=MAP)
    assert store.check().problems == ()
    with store.writer("tests") as writer:
        writer.remove("graph_links", "colons")
    (problem,) = store.check().problems
    assert problem.problem == "graph colons lacks its graph_links"
    assert "graph add --replace" in problem.remedy
    store.add_graph(graph(), map=MAP, replace=True)
    assert store.check().problems == ()
    row = {"graph": "colons", "source": 0, "target": 8, "weight": 1.0}
    with store.writer("tests") as writer:
        writer.remove("graph_links", "colons")
        writer.add("graph_links", tiny.table([row] * 7), key="colons")
    assert [one.problem for one in store.check().problems] == ["graph colons has links to nodes that it has not"]


def test_two_writers_of_one_graph(store, monkeypatch):
    """Both look before either writes: the second is told, and nothing of it is there."""
    monkeypatch.setattr("featurestore.storage.log.Snapshot.has", lambda self, table, key: False)
    store.add_graph(graph(), map=MAP)
    with pytest.raises(Conflict, match="the store has graphs of colons already"):
        store.add_graph(graph(prompt="other"), map=MAP)
    monkeypatch.undo()
    assert store.graph("colons").prompt == "def x("
