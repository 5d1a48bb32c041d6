"""Which dictionaries the features of a graph are of."""

import pytest

from featurestore import BadRequest
from tests.support import tiny
from tests.support.attribution_graphs import feature, graph

MAP = ["tiny/{layer}-res"]


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def add_transcoder(store, source, layer, location=None, model="tiny"):
    row = tiny.dictionary_row(source, layer) | {"kind": "transcoder", "weights_location": location, "model": model}
    name = f"{model}/{source}"
    with store.writer("tests") as writer:
        writer.add("dictionaries", tiny.table([row | {"dictionary": name}]), key=name)
        writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        ({}, "tiny/1-plt"),  # the only transcoder of the model there
        ({"scan": "elsewhere"}, None),
        ({"scan": "org/set"}, "other/one"),
        ({"scan": "org/set@v1"}, "other/one"),
        ({"scan": "org/set@v2"}, None),
        ({"scan": "org/se"}, None),
        ({"scan": "custom-1a2b", "transcoder_list": ["org/nothing", "org/set//deep"]}, "other/one"),
        ({"info": {"transcoder_set": "org/set"}}, "other/one"),
        ({"info": {"source_urls": ["https://huggingface.co/org/set"]}}, "other/one"),
        ({"info": {"neuronpedia_source_set": "clt"}}, "tiny/1-clt"),
        ({"feature_details": {"neuronpedia_source_set": "clt"}}, "tiny/1-clt"),
        ({"info": {"source_urls": ["https://neuronpedia.org/tiny/res"]}}, "tiny/1-res"),
        ({"info": "by hand"}, "tiny/1-plt"),
    ],
)
def test_dictionaries_that_the_file_names(store, metadata, wanted):
    add_transcoder(store, "1-plt", 1)
    add_transcoder(store, "one", 1, "hf://org/set//deep/W_enc_1.safetensors@v1", model="other")
    store.add_graph(graph(nodes=[feature(1, 3, 0)], **metadata))
    (one,) = store.graph("colons").nodes
    assert (one.dictionary, one.in_store) == (wanted, wanted not in (None, "tiny/1-clt"))


def test_two_transcoders_of_a_layer_are_not_guessed_between(store):
    add_transcoder(store, "1-a", 1)
    add_transcoder(store, "1-b", 1)
    added = store.add_graph(graph(nodes=[feature(1, 3, 0)]))
    assert (added.in_store, len(added.notes)) == (0, 1)


def test_a_dictionary_that_is_too_small_is_not_taken(store):
    add_transcoder(store, "1-a", 1)
    added = store.add_graph(graph(nodes=[feature(1, 24, 0)]))
    assert (added.in_store, added.notes) == (
        0,
        (
            "tiny/1-a has 24 features, but the graph has feature 24 of layer 1, so it is not taken for the graph's: "
            "name it with map",
        ),
    )
    with pytest.raises(BadRequest, match="tiny/1-res has 24 features.*made with another dictionary"):
        store.add_graph(graph("second", nodes=[feature(1, 24, 0)]), map=MAP)


def test_a_layer_of_its_own_dictionary(store):
    added = store.add_graph(graph(), map=[*MAP, "1=tiny/0-res"])
    assert added.in_store == 5
    assert {one.dictionary for one in store.graph("colons").nodes if one.layer == 1 and one.id} == {"tiny/0-res"}
