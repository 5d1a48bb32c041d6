"""Neuronpedia's lists, of the lists of a store: read by everybody, begun and added to where writes are taken."""

import pytest

import featurestore
from featurestore.values.lists import ListedFeature
from featurestore.web import Settings, create_app
from tests.support import tiny

COMPAT = frozenset({"neuronpedia"})


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        opened.save_list("brackets", [ListedFeature(id="tiny/1-res/9", note="closes"), "tiny/0-res/1"], "of calls")
        yield opened


@pytest.fixture
def post(store):
    http = create_app(store, Settings(compat=COMPAT, writes=True)).test_client()
    return lambda path, body: http.post(f"/api/list/{path}", json=body)


def test_lists_and_their_features(store, post):
    (entry,) = post("list", {}).json
    assert (entry["id"], entry["name"], entry["description"]) == ("brackets", "brackets", "of calls")
    got = post("get", {"listId": "brackets"}).json
    assert got.items() >= entry.items() and got["activations"] == []
    assert [(each["modelId"], each["layer"], each["index"], each["description"]) for each in got["neurons"]] == [
        ("tiny", "1-res", "9", "closes"),
        ("tiny", "0-res", "1", ""),
    ]
    label = store.feature("tiny/1-res/9").label
    assert got["neurons"][0]["neuron"]["explanations"][0]["description"] == label
    assert post("get", {"listId": "none"}).status_code == post("get", {"listId": "../x"}).status_code == 404
    assert "list" in post("get", {}).json["message"]


def test_a_feature_says_which_lists_it_is_in(store):
    http = create_app(store, Settings(compat=COMPAT)).test_client()
    (entry,) = http.get("/api/feature/tiny/1-res/9").json["lists"]
    assert (entry["description"], entry["list"]["name"], entry["list"]["description"]) == (
        "closes",
        "brackets",
        "of calls",
    )
    assert http.get("/api/feature/tiny/1-res/8").json["lists"] == []


def test_lists_are_begun_and_added_to(store, post):
    begun = post("new", {"name": "My list: a/b", "description": "of mine"}).json
    assert (begun["id"], begun["description"]) == ("My-list-a-b", "of mine") and begun["url"].endswith(begun["id"])
    feature = {"modelId": "tiny", "layer": "0-res", "index": "3", "description": "seen"}
    rows = post("add-features", {"listId": "My-list-a-b", "featuresToAdd": [feature, feature | {"index": 4}]}).json
    assert [(row["index"], row["description"]) for row in rows] == [("3", "seen"), ("4", "seen")]
    post("add-features", {"listId": "My-list-a-b", "featuresToAdd": [feature | {"description": ""}]})
    assert [(each.id, each.note) for each in store.feature_list("My-list-a-b").features] == [
        ("tiny/0-res/3", "seen"),
        ("tiny/0-res/4", "seen"),
    ]
    again = post("new-with-features", {"name": "brackets", "features": [feature]}).json
    assert again["id"] == "brackets-2" and store.feature_list("brackets-2").ids == ("tiny/0-res/3",)
    assert store.feature_list("brackets").ids == ("tiny/1-res/9", "tiny/0-res/1")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("new", {"name": "\u65e5\u672c"}, 400, "of which names are made"),
        ("new", {}, 400, "name"),
        ("new", {"name": 3.5}, 400, "name"),
        ("new", [], 400, "object"),
        ("add-features", {"listId": "none", "featuresToAdd": []}, 404, "none"),
        ("add-features", {"listId": "brackets", "featuresToAdd": [{"modelId": "x"}]}, 400, "layer"),
        (
            "add-features",
            {"listId": "brackets", "featuresToAdd": [{"modelId": "tiny", "layer": "0-res", "index": 99}]},
            404,
            "99",
        ),
        ("delete", {"listId": "brackets"}, 501, "featurestore list"),
        ("edit-feature", {"listId": "brackets"}, 501, "/v1/lists"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(store, post, path, body, status, said):
    answer = post(path, body)
    assert answer.status_code == status and said in answer.json["message"] == answer.json["error"], answer.json
    assert [entry.list for entry in store.lists()] == ["brackets"]
    assert len(store.feature_list("brackets")) == 2


def test_nothing_is_written_without_leave(store):
    http = create_app(store, Settings(compat=COMPAT)).test_client()
    answer = http.post("/api/list/new", json={"name": "a"})
    assert answer.status_code == 403 and "--allow-writes" in answer.json["message"]
    elsewhere = create_app(store, Settings(compat=COMPAT, writes=True)).test_client()
    refused = elsewhere.post("/api/list/new", json={"name": "a"}, headers={"Origin": "https://x.example"})
    assert refused.status_code == 403
    assert elsewhere.post("/api/list/new", data='{"name": "a"}', content_type="text/plain").status_code == 400
    assert [entry.list for entry in store.lists()] == ["brackets"]


def test_more_features_than_an_answer_takes_are_refused(store, post):
    featurestore.connect(store.location).save_list(
        "many", [f"tiny/0-res/{number}" for number in range(2049)], keep_missing=True
    )
    answer = post("get", {"listId": "many"})
    assert answer.status_code == 501 and "GET /v1/lists/many" in answer.json["message"]
