"""Pins, supernodes and names of a graph: edited through every door, in the form that front ends save."""

import json

import pytest

from featurestore import BadRequest, NotFound
from featurestore.cli.main import main
from featurestore.graphs import analysis
from featurestore.graphs.analysis import NodeGroup
from featurestore.graphs.view_edit import (
    choose_groups,
    keep_names,
    name_nodes,
    number_features,
    read_groups,
    read_names,
)
from featurestore.web import create_app
from tests.support import attribution_graphs, tiny


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        opened.add_graph(attribution_graphs.graph(), map=["tiny/{layer}-res"])
        yield opened


def test_an_edit_through_either_door(door):
    view = door.edit_graph("colons", pin=["0_3_1", "tiny/1-res/5"], group={"late": ["1_3_2", "1_5_2"]})
    assert view["pinnedIds"] == ["0_3_1", "1_5_2"]
    assert view["supernodes"] == [["a group", "0_3_1"], ["late", "1_3_2", "1_5_2"]]
    assert view["linkType"] == "both"  # what else was saved stays
    view = door.edit_graph("colons", unpin=["0_3_1"], group={"early": ["0_3_1"]}, name={"0_3_1": "an opening"})
    assert (view["pinnedIds"], view["clerps"]) == (["1_5_2"], [["0_3_1", "an opening"]])
    assert view["supernodes"] == [["late", "1_3_2", "1_5_2"], ["early", "0_3_1"]]  # a node is in one only
    view = door.edit_graph("colons", ungroup=["late"], name={"0_3_1": None})
    assert (view["supernodes"], view["clerps"]) == ([["early", "0_3_1"]], [])
    assert door.graph("colons").view == view


def test_the_form_of_a_front_end_stays(store):
    saved = {"pinnedIds": "0_3_1", "supernodes": '[["a","0_3_1","0_8_2"]]', "clerps": "[]", "sg_pos": "1,2"}
    store.save_graph("colons", saved)
    view = store.edit_graph("colons", pin=["1_3_2"], group={"b": ["0_8_2"]}, name={"1_3_2": "x"})
    assert view["pinnedIds"] == "0_3_1,1_3_2" and view["sg_pos"] == "1,2"
    assert json.loads(view["supernodes"]) == [["a", "0_3_1"], ["b", "0_8_2"]]
    assert json.loads(view["clerps"]) == [["1_3_2", "x"]]


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        ({"pin": ["9_9_9"]}, NotFound, "colons has no node '9_9_9'"),
        ({"ungroup": ["none"]}, NotFound, "no supernode 'none'; there are: a group"),
        ({"group": {" ": ["0_3_1"]}}, BadRequest, "has a name and nodes"),
        ({"group": {"x": []}}, BadRequest, "has 0 nodes"),
    ],
)
def test_mistakes_change_nothing(door, edit, error, words):
    before = door.graph("colons").view
    with pytest.raises(error, match=words):
        door.edit_graph("colons", **edit)
    assert door.graph("colons").view == before
    with pytest.raises(NotFound, match="no graph 'none'"):
        door.edit_graph("none", pin=["0_3_1"])


def test_thresholds_through_either_door(door):
    whole = door.graph("colons")
    smaller = door.graph("colons", node_threshold=0.5, edge_threshold=0.9)
    assert smaller == analysis.prune(whole, 0.5, 0.9) and len(smaller.nodes) < len(whole.nodes)
    with pytest.raises(BadRequest, match="node_threshold: 2.0 is no share"):
        door.graph("colons", node_threshold=2.0)


def test_the_command_line(store, invoke):
    done = invoke(
        main,
        [
            *["graph", "edit", "colons", "--pin", "0_3_1", "--group", "late=1_3_2,1_5_2", "--json", "--name"],
            "0_3_1=an opening",
            "--store",
            store.location,
        ],
    )
    view = json.loads(done.output)
    assert view["pinnedIds"] == ["0_3_1"] and ["late", "1_3_2", "1_5_2"] in view["supernodes"]
    assert view == store.graph("colons").view
    refused = invoke(main, ["graph", "edit", "colons", "--group", "late", "--store", store.location])
    assert refused.exit_code == 2 and "write NAME=NODE,NODE" in refused.stderr
    shown = invoke(main, ["graph", "show", "colons", "--node-threshold", "0.5", "--store", store.location, "--json"])
    assert len(json.loads(shown.output)["nodes"]) == len(analysis.prune(store.graph("colons"), 0.5).nodes)


NUMBER = str(attribution_graphs.pair(1, 3))


def test_names_that_a_front_end_gave_by_a_features_number(store):
    document = attribution_graphs.graph("by-number")
    document["nodes"].insert(1, attribution_graphs.feature(1, 3, 0))  # the feature once more, on another token
    store.add_graph(document, map=["tiny/{layer}-res"])
    saved = json.dumps([[NUMBER, "theirs"], ["0_8_2", "by node"], ["99", "of no node"]])
    store.save_graph("by-number", {"clerps": saved})
    numbers = number_features(store.graph_file("by-number")["nodes"])
    view = store.graph("by-number").view
    assert read_names(view, numbers) == {"1_3_0": "theirs", "1_3_2": "theirs", "0_8_2": "by node", "99": "of no node"}
    assert "theirs" in create_app(store).test_client().get("/graphs/by-number?node=1_3_2").text
    # What is named then has the form that was there: one name for all nodes of a feature.
    changed = store.edit_graph("by-number", name={"1_3_2": "ours"})
    eight = str(attribution_graphs.pair(0, 8))
    assert dict(json.loads(changed["clerps"])) == {NUMBER: "ours", eight: "by node", "99": "of no node"}
    gone = store.edit_graph("by-number", name={"tiny/1-res/3": None, "E_0_0": "the first"})
    assert dict(json.loads(gone["clerps"])) == {eight: "by node", "99": "of no node", "E_0_0": "the first"}


def test_a_node_of_its_own_name_keeps_it(store):
    numbers = {"1_3_0": NUMBER, "1_3_2": NUMBER}
    view = {"clerps": [[NUMBER, "all"], ["1_3_2", "this one"], [int(NUMBER), "as a number"], 3, ["x"], ["y", 1]]}
    assert read_names(view, numbers) == {"1_3_0": "as a number", "1_3_2": "this one"}


def test_what_a_front_end_saves_keeps_names_that_it_does_not_know():
    nodes = [attribution_graphs.feature(1, 3, 0), attribution_graphs.feature(0, 8, 2)]
    before = {"clerps": [["1_3_0", "a"], ["0_8_2", "b"], ["no_node", "c"]]}
    assert keep_names(before, {"clerps": f'[["{NUMBER}","new"]]', "pinnedIds": ""}, nodes) == {
        "clerps": f'[["{NUMBER}","new"],["44","b"]]',
        "pinnedIds": "",
    }
    assert keep_names(before, {"clerps": None}, nodes) == {"clerps": f'[["{NUMBER}","a"],["44","b"]]'}
    assert keep_names({}, {"clerps": None}, nodes) == {"clerps": None}


@pytest.mark.parametrize("text", ["[" * 90_000 + "]" * 90_000, "{}", "[[3,", '[[true,"x"],[null,"y"],[[],"z"]]'])
def test_what_is_no_list_of_names_is_none(text):
    assert read_names({"clerps": text}) == {}
    assert read_groups({"supernodes": text}) == {}


def test_proposed_groups_are_taken_beside_those_that_are_there():
    proposed = [NodeGroup("x", ("a", "b")), NodeGroup("x", ("c", "d", "e")), NodeGroup("y", ("f", "g"))]
    assert choose_groups({}, proposed) == {"x": ["a", "b"], "x (2)": ["c", "d", "e"], "y": ["f", "g"]}
    view = {"supernodes": [["x", "a"], ["z", "c"]]}
    assert choose_groups(view, proposed) == {"x (2)": ["d", "e"], "y": ["f", "g"]}
    assert choose_groups(view, proposed, ["y"]) == {"y": ["f", "g"]}
    with pytest.raises(NotFound, match="called 'w'; there are: x, y"):
        choose_groups(view, proposed, ["w"])


def test_names_of_nodes_and_of_numbers_live_beside_each_other():
    numbers = {"12_5_3": "123", "12_5_4": "123", "a": "5"}
    view = {"clerps": [["123", "both"], ["12_5_3", "one"]], "pinnedIds": "a"}
    assert name_nodes(view, {}, numbers) == view, "nothing is named anew"
    named = name_nodes(view, {"a": "a name"}, numbers)
    assert read_names(named, numbers) == {"12_5_3": "one", "12_5_4": "both", "a": "a name"}


def test_what_is_kept_stays_with_its_node():
    nodes = [{"node_id": id, "feature_type": "cross layer transcoder", "feature": 123} for id in ("x", "y")]
    numbers = number_features(nodes)
    for before in ([["y", "A"], ["x", "B"]], [["y", "A"]]):
        kept = keep_names({"clerps": before}, {"clerps": []}, nodes)
        assert read_names(kept, numbers) == dict(before)


def test_a_feature_without_a_number_has_none():
    nodes = [{"node_id": id, "feature_type": "cross layer transcoder", "feature": None} for id in ("x", "y")]
    assert number_features(nodes) == {}
