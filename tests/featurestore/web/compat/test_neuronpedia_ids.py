"""Neuronpedia's forms of a feature's id, and its names of dictionaries that are called otherwise here."""

import pytest

from featurestore.web import Settings, create_app
from tests.support import tiny


@pytest.fixture(scope="module")
def http(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("ids") / "s", index=False) as store:
        row = tiny.dictionary_row("1-np", 1) | {"dictionary": "tiny/1-np", "neuronpedia_id": "gpt2-small/1-res-jb"}
        with store.writer("tests") as writer:
            writer.add("dictionaries", tiny.table([row]), key="tiny/1-np")
            writer.add("features", tiny.table(tiny.feature_rows("tiny/1-np")), key="tiny/1-np")
        yield create_app(store, Settings(compat=frozenset({"neuronpedia"}))).test_client()


@pytest.mark.parametrize(
    ("id", "source"),
    [
        ("tiny/0-res/3", "0-res"),
        ("tiny@0-res:3", "0-res"),
        ("tiny%400-res%3A3", "0-res"),
        ("gpt2-small/1-res-jb/3", "1-np"),
        ("gpt2-small@1-res-jb:3", "1-np"),
    ],
)
def test_forms_of_an_id(http, id, source):
    answer = http.get(f"/api/feature/{id}").json
    assert (answer["modelId"], answer["layer"], answer["index"]) == ("tiny", source, "3")


@pytest.mark.parametrize("index", ["99", "-1", "1.5", "x", "²", "%00", "1e1", "9" * 40])
def test_indices_that_are_none_are_not_there(http, index):
    for id in (f"tiny/0-res/{index}", f"tiny@0-res:{index}"):
        answer = http.get(f"/api/feature/{id}")
        assert (answer.status_code, sorted(answer.json)) == (404, ["error", "message"]), id


@pytest.mark.parametrize("id", ["tiny/0-res", "tiny", "tiny@0-res", "none/0-res/1", "none@0-res:1", "a/b/c/d"])
def test_what_names_no_feature(http, id):
    answer = http.get(f"/api/feature/{id}")
    assert answer.status_code == 404 and answer.json["error"].startswith("The model, source, or feature you specified")


def test_names_on_neuronpedia_in_bodies(http):
    place = {"modelId": "gpt2-small", "layer": "1-res-jb", "index": 3}
    (feature,) = http.post("/api/features", json=[place]).json
    assert (feature["modelId"], feature["layer"], feature["index"]) == ("tiny", "1-np", "3")
    uploads = http.post("/api/feature/upload-batch", json={})
    assert uploads.status_code == 501 and "featurestore harvest" in uploads.json["message"]
    deep = http.post("/api/features", data="[" * 9000 + "]" * 9000, content_type="application/json")
    assert (deep.status_code, deep.json["error"]) == (400, "the body is nested too deep")


def test_a_dictionary_without_weights(http):
    """As an import of Neuronpedia's own files is: the feature is answered, what needs directions says why not."""
    answer = http.get("/api/feature/tiny/1-np/3").json
    assert answer["topkCosSimIndices"] == answer["topkCosSimValues"] == []
    vector = http.post("/api/vector/get", json={"modelId": "tiny", "source": "1-np", "index": "3"})
    assert vector.status_code == 404 and "attach-weights" in vector.json["message"]
    place = {"modelId": "tiny", "source": "0-res", "index": "3", "targetModelId": "tiny", "targetSourceId": "1-np"}
    cosine = http.post("/api/cossim", json=place)
    assert (cosine.status_code, cosine.json["topkDecoderCossimFeatures"]) == (200, [])
