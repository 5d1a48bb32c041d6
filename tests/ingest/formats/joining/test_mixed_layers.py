"""Labels of one layer on another are caught by their words."""

import random

import pytest

from ingest.formats.joining.mixed_layers import compare_words, find_words
from tests.ingest.formats import foreign_files
from tests.ingest.formats.test_import_run import run_import

LETTERS = "abcdefghijklmnop"
draw = random.Random(3)
WORDS = ["".join(draw.choices(LETTERS, k=6)) for _ in range(400)]
LABELS = {feature: f"mentions of {WORDS[feature]} in texts" for feature in range(200)}


def write_layer(folder, source, shift):
    """A dictionary of 200 features, each of which fires on one word of its own."""
    features, activations = [], []
    for number in range(200):
        words = {"layer": source, "index": str(number)}
        features.append(foreign_files.neuronpedia_feature(number, **words, pos_str=["x"], pos_values=[1.0]))
        tokens = ["the", f" {WORDS[(number + shift) % 200]}", " of"]
        record = foreign_files.neuronpedia_activation(number, 2.0, **words)
        activations.append(record | {"tokens": tokens, "values": [0.0, 2.0, 0.0], "qualifyingTokenIndex": 1})
    foreign_files.write_lines(folder / "features/batch-0.jsonl", features)
    foreign_files.write_lines(folder / "activations/batch-0.jsonl", activations)
    return folder


@pytest.fixture
def store(tmp_path):
    run_import("neuronpedia", write_layer(tmp_path / "own", "8-res-jb", 0), store=tmp_path / "s.features")
    foreign_files.write_json(tmp_path / "labels.json", {str(key): text for key, text in LABELS.items()})
    return tmp_path / "s.features"


def join(store, dictionary, *more):
    return run_import("labels", store.parent / "labels.json", *more, store=store, dictionary=dictionary)


def test_labels_of_their_own_layer_join(store):
    assert join(store, "gpt2-small/8-res-jb")["dictionaries"][0]["labels"] == 200


def test_labels_of_a_layer_that_is_not_there_do_not_join(store):
    run_import("neuronpedia", write_layer(store.parent / "np", "9-res-jb", 50), store=store.parent / "t.features")
    with pytest.raises(
        Exception, match="0 have one of the tokens .* no more than by chance: they are of another layer"
    ):
        join(store.parent / "t.features", "gpt2-small/9-res-jb")


def test_the_layer_whose_labels_they_are_is_named(store):
    run_import("neuronpedia", write_layer(store.parent / "np", "9-res-jb", 50), store=store)
    with pytest.raises(Exception, match="they are labels of gpt2-small/8-res-jb; name it with --dictionary"):
        join(store, "gpt2-small/9-res-jb")
    assert join(store, "gpt2-small/9-res-jb", "--any-words")["dictionaries"][0]["labels"] == 200


def test_few_labels_and_labels_of_other_words_say_nothing():
    tokens = {feature: {WORDS[feature]} for feature in range(200)}
    few = compare_words({feature: LABELS[feature + 1] for feature in range(30)}, tokens)
    assert not few.is_mixed_up
    abstract = compare_words(dict.fromkeys(range(200), "deception and hidden intent"), tokens)
    assert (abstract.labels, abstract.is_mixed_up) == (0, False)


def test_words_are_compared_without_case_and_plural():
    assert find_words("The Bridges of C3, 42 naïve!") == {"the", "bridge", "naïve"}
