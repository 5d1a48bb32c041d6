"""What a commit may hold: whatever the gate lets in is complete, and what it refuses leaves the store as it was."""

import numpy
import pytest

from featurestore import BadRequest, Conflict
from tests.support import tiny

NAME = "tiny/new"


@pytest.fixture
def store(tmp_path):
    with tiny.write_tiny_store(tmp_path / "s", index=False) as opened:
        yield opened


def row(d_sae=10, **more):
    fixed = {"dictionary": NAME, "model": "tiny", "source": "new", "kind": "sae", "d_sae": d_sae}
    return tiny.table([fixed | {"tool": "tests", "created_at": tiny.WHEN} | more])


def features(*numbers, **more):
    return tiny.table([{"dictionary": NAME, "feature": number, "density": 0.5} | more for number in numbers])


def label(feature):
    fixed = {"dictionary": NAME, "label": "a label", "explainer": "human", "tool": "tests", "created_at": tiny.WHEN}
    return tiny.table([fixed | {"feature": feature}])


def example(**more):
    window = {"dictionary": NAME, "feature": 1, "band": "top", "rank": 0, "corpus": tiny.CORPUS, "document": 0}
    fixed = {"start": 0, "length": 3, "activation": 1.0, "offsets": [0], "activations": [1.0]}
    return tiny.table([window | fixed | more])


def count(store):
    found = store.sql(f"SELECT count(*) AS n, count(density) AS known FROM features WHERE dictionary = '{NAME}'")
    return tuple(found.to_pylist()[0].values())


def test_a_row_alone_gets_its_features(store):
    with store.writer("tests") as writer:
        writer.add("dictionaries", row(70_000), key=NAME)
    assert count(store) == (70_000, 0)
    assert store.feature(f"{NAME}/69999").state == "unharvested"
    assert store.check().problems == ()


@pytest.mark.parametrize("first", ["features", "dictionaries"])
def test_gaps_are_filled_in_any_order_of_adding(store, first):
    with store.writer("tests") as writer:
        if first == "dictionaries":
            writer.add("dictionaries", row(140_000), key=NAME)
        writer.add("features", features(65_536 + 3), key=NAME, shard=1)
        writer.add("features", features(7, 9), key=NAME)
        writer.add("labels", label(139_999), key=NAME)
        if first == "features":
            writer.add("dictionaries", row(140_000), key=NAME)
    assert count(store) == (140_000, 3)
    assert [store.feature(f"{NAME}/{n}").density for n in (7, 8, 65_539, 139_999)] == [0.5, None, 0.5, None]
    assert store.check().problems == ()


def test_a_dictionary_can_grow(store):
    with store.writer("tests") as writer:
        writer.add("dictionaries", row(4), key=NAME)
        writer.add("features", features(1), key=NAME)
    with store.writer("tests") as writer:
        writer.add("labels", label(8), key=NAME)  # before the row that says there are so many
        for table in ("dictionaries", "features", "feature_rows"):
            writer.remove(table, NAME)
        writer.add("dictionaries", row(9), key=NAME)
        writer.add("features", features(1, 5), key=NAME)
    assert count(store) == (9, 2)
    assert store.feature(f"{NAME}/8").label == "a label"
    assert store.check().problems == ()


WIDTHS = {"d_out": 2, "space": "x"}


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda w: w.add("labels", label(10), key=NAME), "labels: tiny/new has no feature 10: its d_sae is 10"),
        (lambda w: w.add("features", features(10), key=NAME), "features: tiny/new has no feature 10"),
        (
            lambda w: w.add("features", features(1), key=NAME, shard=1),
            "feature 1 of tiny/new belongs to shard 0, not 1",
        ),
        (lambda w: w.add("examples", example(feature=11), key=NAME), "examples: tiny/new has no feature 11"),
        (lambda w: w.add("examples", example(corpus="none"), key=NAME), "the store has no corpus 'none'"),
        (lambda w: w.add("examples", example(start=8, length=2), key=NAME), "a window ends beyond document 0"),
        (lambda w: w.add("examples", example(document=9), key=NAME), "a window ends beyond document 9"),
        (lambda w: w.add("features", features(1, extra="{"), key=NAME), "extra is a JSON text"),
        (lambda w: w.add("features", features(1, histogram=[1, 2]), key=NAME), "64 bins, or edges of its own"),
        (
            lambda w: w.add("features", features(1, histogram=[1, 2], histogram_edges=[0.0, 2.0, 1.0]), key=NAME),
            "are_bi",
        ),
        (lambda w: w.add("features", features(1, histogram=[1, -2], histogram_edges=[0.0, 2.0]), key=NAME), "are_bins"),
        (lambda w: w.add("features", features(1, histogram_edges=[0.0, 2.0]), key=NAME), "are_bins"),
        (
            lambda w: w.add("features", features(1, top_logits=[{"word": "x"}]), key=NAME),
            "top_logits has no field word",
        ),
        (lambda w: w.add_vectors(NAME, numpy.ones((9, 2))), "9 vectors for the 10 features of tiny/new from 0 on"),
        (lambda w: w.add_vectors(NAME, numpy.ones((10, 3))), "vectors of tiny/new have d_out = 2, not 3"),
    ],
)
def test_what_cannot_be_shown_is_refused(store, add, words):
    with pytest.raises(BadRequest, match=words), store.writer("tests") as writer:
        writer.add("dictionaries", row(**WIDTHS), key=NAME)
        add(writer)
    assert [dictionary.source for dictionary in store.dictionaries()] == ["0-res", "1-res"]
    assert store.check().problems == ()


def test_vectors_are_for_all_features_or_none(store):
    with pytest.raises(BadRequest, match="has none for its features from 65,536 on"), store.writer("tests") as writer:
        writer.add("dictionaries", row(70_000, **WIDTHS), key=NAME)
        writer.add_vectors(NAME, numpy.ones((65_536, 2)))
    with pytest.raises(BadRequest, match="says no d_out or no space"), store.writer("tests") as writer:
        writer.add("dictionaries", row(), key=NAME)
        writer.add_vectors(NAME, numpy.ones((10, 2)))


def test_a_corpus_has_its_tokenizer(store):
    documents = tiny.table([{"document": 0, "name": "", "tokenizer": "none", "length": 2}])
    with pytest.raises(BadRequest, match="no tokenizer 'none'"), store.writer("tests") as writer:
        writer.add_corpus("c", documents, numpy.array([1, 2]))
    known = tiny.table([{"document": 0, "name": "", "tokenizer": tiny.TOKENIZER, "length": 2}])
    beyond = pytest.raises(BadRequest, match="has token 13, tokenizer tokenizer-of-tests 13")
    with beyond, store.writer("tests") as writer:
        writer.add_corpus("c", known, numpy.array([1, 13]))
    with store.writer("tests") as writer:
        writer.add_corpus("c", known, numpy.array([1, 12]), excerpts=True)
    held = store.sql("SELECT held_out, excerpt FROM documents WHERE corpus = 'c'").to_pylist()
    assert held == [{"held_out": False, "excerpt": True}]


def test_a_name_in_another_form_of_unicode_is_refused(store):
    def add(source):
        with store.writer("tests") as writer:
            given = row(dictionary=f"tiny/{source}", source=source)
            writer.add("dictionaries", given, key=f"tiny/{source}")

    add("caf\u00e9")
    with pytest.raises(Conflict, match=r"'tiny/caf\\xe9', and 'tiny/cafe\\u0301' is the same text"):
        add("cafe\u0301")
    add("0-RES")
    assert "tiny/0-RES" in [each.dictionary for each in store.dictionaries()]
