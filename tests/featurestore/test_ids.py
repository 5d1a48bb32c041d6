"""A feature is named in any form wherever an id is taken, from a store and from a service alike."""

import pytest

import featurestore
from featurestore import BadRequest
from featurestore.ids import dictionary_texts, id_texts, is_feature
from featurestore.values.graphs import node_texts
from featurestore.values.lists import convert_features
from featurestore.web import create_app
from tests.support import tiny

ID = "tiny/0-res/8"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with tiny.write_tiny_store(tmp_path_factory.mktemp("ids") / "s") as opened:
        yield opened


def test_a_dictionary_is_one_too(door):
    dictionary = door.dictionaries()[0]
    assert door.dictionary(dictionary) == dictionary
    name = dictionary.dictionary
    assert door.search("self", within=dictionary) == door.search("self", within=name)
    assert door.search("self", within=[dictionary]) == door.search("self", within=name)
    assert door.duplicates(dictionary, k=3) == door.duplicates(name, k=3)
    assert door.neighbourhood(ID, within=dictionary) == door.neighbourhood(ID, within=name)
    assert door.vectors(dictionary=dictionary).shape == (24, 8)
    assert door.vectors_to_arrow(dictionary).num_rows == 24


@pytest.mark.parametrize("path", ["features", "vectors", "scores", "labels", "label-history", "neighbourhood"])
def test_addresses_take_the_form_of_neuronpedia(store, path):
    client = create_app(store).test_client()
    assert client.get(f"/v1/{path}/tiny@0-res:8").json == client.get(f"/v1/{path}/{ID}").json
    refused = client.get(f"/v1/{path}/nonsense")
    assert (refused.status_code, refused.json["detail"].startswith("'nonsense' is not a feature id")) == (400, True)


def test_what_is_no_feature():
    assert [is_feature(given) for given in (ID, ("a/b", 1), ["a/b", 1], ("a/b/1", "a/b/2"), 3)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(BadRequest, match="ids: 3 is neither a feature nor several"):
        id_texts(3)
    with pytest.raises(BadRequest, match="features: 3 is neither a feature nor several"):
        convert_features(3)
    with pytest.raises(BadRequest, match="nodes: 3 is neither a node nor several"):
        node_texts(3)
    with pytest.raises(BadRequest, match="3 is neither a dictionary nor several"):
        dictionary_texts(3)


def test_features_that_are_yielded_are_all_asked_for(tiny_store):
    with featurestore.connect(tiny_store) as store:
        ids = ["tiny/0-res/1", "tiny/1-res/3"]
        assert store.nearest(iter(ids), k=5) == store.nearest(ids, k=5)
        assert store.nearest(iter(ids[:1]), k=5) == store.nearest(ids[:1], k=5)
