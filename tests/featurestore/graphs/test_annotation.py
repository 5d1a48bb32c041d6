"""Files of graphs are given labels and links; a person's words stay; commands over them."""

import json
import shutil

import pytest

import featurestore
from featurestore.cli.main import main
from featurestore.graphs.annotation import annotate
from tests.support import attribution_graphs

MAP = "tiny/{layer}-res"


@pytest.fixture(scope="module")
def path(tiny_store, tmp_path_factory):
    place = tmp_path_factory.mktemp("annotation") / "s"
    shutil.copytree(tiny_store, place)
    with featurestore.connect(place) as store:
        store.add_graph(attribution_graphs.graph(), map=[MAP])
    return place


def words(document):
    return {node["node_id"]: node["clerp"] for node in document["nodes"]}


def test_labels_are_written_and_own_words_kept(either):
    content = attribution_graphs.graph()
    before = words(content)
    result = annotate(either, content, [MAP], "http://127.0.0.1:8000/")
    after = words(result.document)
    assert (result.features, result.labelled, result.kept) == (5, 3, 1)
    assert after["0_3_1"] == either.feature("tiny/0-res/3").label
    assert after["0_8_2"] == before["0_8_2"] != ""
    assert after["2_4_2"] == before["2_4_2"]
    links = {node["node_id"]: node.get("vis_link") for node in result.document["nodes"]}
    assert links["1_22_1"] == "http://127.0.0.1:8000/features/tiny/1-res/22" and links["2_4_2"] is None
    assert result.document["qParams"] == content["qParams"] and result.document["links"] == content["links"]
    again = annotate(either, content, [MAP], overwrite=True)
    assert words(again.document)["0_8_2"] == either.feature("tiny/0-res/8").label and again.kept == 0


def test_a_folder_of_files(path, tmp_path, invoke):
    for name in ("one", "two"):
        (tmp_path / f"{name}.json").write_text(json.dumps(attribution_graphs.graph(name)))
    (tmp_path / "graph-metadata.json").write_text('{"graphs": []}')
    options = ["--map", MAP, "--store", str(path), "--json"]
    done = invoke(main, ["graph", "annotate", str(tmp_path), "--output", str(tmp_path / "out"), *options])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["labelled"] for line in done.stdout.splitlines()] == [3, 3]
    assert "left as it is: graph-metadata.json" in done.stderr
    written = json.loads((tmp_path / "out" / "one.json").read_text())
    assert words(written)["0_3_1"] == "import statements 3"
    assert words(json.loads((tmp_path / "one.json").read_text()))["0_3_1"] == ""
    done = invoke(main, ["graph", "annotate", str(tmp_path / "one.json"), "--in-place", *options])
    assert done.exit_code == 0
    assert json.loads((tmp_path / "one.json").read_text()) == written
    assert sorted(file.name for file in tmp_path.iterdir()) == ["graph-metadata.json", "one.json", "out", "two.json"]
    for arguments in (
        ["graph", "annotate", str(tmp_path)],
        ["graph", "annotate", str(tmp_path / "no.json"), "--in-place"],
    ):
        assert invoke(main, [*arguments, "--store", str(path)]).exit_code in (2, 3)


def test_graphs_about_a_text_paths_and_groups(path, invoke):
    def run(*arguments):
        done = invoke(main, ["graph", *arguments, "--store", str(path), "--json"])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    (about,) = run("search", "importing modules")
    assert about["graph"] == "colons" and about["features"] >= 2
    used = run("features", "-k", "2")
    assert [(row["id"], row["graphs"], row["nodes"]) for row in used] == [
        ("tiny/0-res/3", 1, 1),
        ("tiny/0-res/8", 1, 1),
    ]
    assert used[0]["label"] == "import statements 3"
    assert run("paths", "colons", "-k", "2")[0]["nodes"] == ["0_1_2", "2_4_2"]
    (group,) = run("group", "colons")
    assert group == {"name": "import statements 3", "nodes": ["0_3_1", "1_3_2"]}
    # A node that a person has grouped stays where it is, and one alone is no group.
    run("group", "colons", "--take")
    with featurestore.connect(path) as store:
        assert store.graph("colons").view["supernodes"] == [["a group", "0_3_1"]]
        store.edit_graph("colons", ungroup=["a group"])
    run("group", "colons", "--take")
    run("group", "colons", "--take")
    with featurestore.connect(path) as store:
        assert store.graph("colons").view["supernodes"] == [["import statements 3", "0_3_1", "1_3_2"]]
        # Taken by name, in the form in which a front end has saved the others.
        store.save_graph("colons", {"supernodes": '[["mine","0_8_2"]]'})
    refused = invoke(main, ["graph", "group", "colons", "--only", "none", "--store", str(path)])
    assert refused.exit_code == 3 and "there are: import statements 3" in refused.stderr
    run("group", "colons", "--only", "import statements 3")
    with featurestore.connect(path) as store:
        assert store.graph("colons").view["supernodes"] == '[["mine","0_8_2"],["import statements 3","0_3_1","1_3_2"]]'


def test_names_given_in_a_front_end_are_words_too(either):
    content = attribution_graphs.graph()
    number = str(attribution_graphs.pair(0, 3))
    content["qParams"]["clerps"] = json.dumps([[number, "theirs"], ["1_3_2", "by node"]])
    result = annotate(either, content, [MAP])
    assert (result.labelled, result.kept) == (1, 3)
    assert words(result.document) == words(content) | {"1_5_2": either.feature("tiny/1-res/5").label}
    assert result.document["qParams"] == content["qParams"]
    again = annotate(either, content, [MAP], overwrite=True)
    assert (again.labelled, again.kept) == (4, 0)
    assert words(again.document)["0_3_1"] == either.feature("tiny/0-res/3").label
    assert again.document["qParams"]["clerps"] == "[]"
