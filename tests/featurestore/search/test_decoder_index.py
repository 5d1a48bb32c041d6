"""Decoder vectors of a space: newer ones, removed ones, several for each feature, damaged and older indexes."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest
from featurestore.search import vectors
from tests.support import tiny
from tests.support.exact_search import cosines


def test_new_vectors_are_found_before_they_are_indexed(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 3)
    vector = tiny.vectors(3)[5]
    hits = store.nearest(vector, k=66)
    assert hits[0].dictionary == "tiny/2-res"
    assert len(hits) == 66
    assert "22 labels are newer" not in "".join(hits.notes)
    before = [(hit.id, hit.score) for hit in hits]
    store.index()
    after = [(hit.id, hit.score) for hit in store.nearest(vector, k=66)]
    assert [id for id, _ in before] == [id for id, _ in after]
    assert [score for _, score in before] == pytest.approx([score for _, score in after], abs=1e-5)
    assert store.index() == [], "a second run has nothing to do"
    assert store.search("self").notes == ("left out: 3 dead and 3 always-on features (all=true shows them)",)


def test_removed_dictionaries_are_not_found(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    with store.writer("tests") as writer:
        writer.remove_dictionary("tiny/0-res")
    for hits in (store.nearest(tiny.vectors(0)[3], k=48, all=True), store.search("self", k=48)):
        assert {hit.dictionary for hit in hits} == {"tiny/1-res"}


def test_an_index_of_another_format_is_built_again(tmp_path, monkeypatch):
    store = tiny.write_tiny_store(tmp_path / "s")
    monkeypatch.setattr(vectors, "FORMAT", vectors.FORMAT + 1)
    assert [line.startswith("decoder index of space tiny") for line in store.index()] == [True]
    assert store.index() == []


@pytest.mark.parametrize("indexed", [True, False])
def test_cross_layer_transcoders_have_a_vector_for_each_layer(tmp_path, indexed):
    store = tiny.write_tiny_store(tmp_path / "s")
    rng = numpy.random.default_rng(3)
    many = rng.normal(size=(24, 3, 8)).astype(numpy.float16)
    with store.writer("tests") as writer:
        row = tiny.dictionary_row("2-clt", 2) | {"kind": "clt"}
        writer.add("dictionaries", tiny.table([row]), key="tiny/2-clt")
        writer.add("features", tiny.table(tiny.feature_rows("tiny/2-clt")), key="tiny/2-clt")
        writer.add_vectors("tiny/2-clt", many, targets=[2, 3, 5])
        with pytest.raises(BadRequest, match=r"shape \(24, 3, 8\); \(rows, 2, d_out\) is wanted"):
            writer.add_vectors("tiny/3-clt", many, targets=[2, 3])
    if indexed:
        store.index()
    directions = many.astype(numpy.float32) / numpy.linalg.norm(many.astype(numpy.float32), axis=2, keepdims=True)
    vector = rng.normal(size=8)
    of_layer = directions @ (vector / numpy.linalg.norm(vector))
    hits = store.nearest(vector, k=24, within="tiny/2-clt", all=True)
    assert [hit.score for hit in hits] == pytest.approx(sorted(of_layer.max(axis=1), reverse=True), abs=1e-5)
    for hit in hits:
        layer = [2, 3, 5][int(of_layer[hit.feature].argmax())]
        assert hit.why == f"cosine {hit.score:.3f} into layer {layer}"
    whole = store.nearest(vector, k=72, all=True)
    assert len({hit.id for hit in whole}) == len(whole) == 72
    wanted = numpy.sort(numpy.concatenate([cosines(vector), of_layer.max(axis=1)]))[::-1]
    assert [hit.score for hit in whole] == pytest.approx(wanted.tolist(), abs=1e-5)
    numpy.testing.assert_array_equal(store.vector("tiny/2-clt/4", target=5), many[4, 2].astype(numpy.float32))
    numpy.testing.assert_array_equal(store.vector("tiny/2-clt/4"), many[4, 0].astype(numpy.float32))
    with pytest.raises(featurestore.NotFound, match="no decoder vector into layer 4; there are: 2, 3, 5"):
        store.vector("tiny/2-clt/4", target=4)
    assert store.check().problems == ()
