"""Labels by meaning: cosines of embeddings, the embedder an index was built with, without torch."""

import pytest

from featurestore import Unavailable
from featurestore.search import embedders
from tests.support import tiny


@pytest.fixture(scope="module")
def store(either):
    return either


def test_semantic_scores_are_cosines_of_label_embeddings(store):
    embedder = embedders.open_embedder()
    labels = store.sql("SELECT dictionary || '/' || feature AS id, label FROM labels").to_pylist()
    matrix = embedder([row["label"] for row in labels])
    scores = {}
    for row, score in zip(labels, matrix @ embedder(["handling of errors"])[0], strict=True):
        scores[row["id"]] = max(scores.get(row["id"], -1), float(score))
    hits = store.search("handling of errors", mode="semantic", k=44, group=False)
    assert len(hits) == 44
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert "exception" in hits[0].label


def test_a_store_is_searched_with_the_embedder_it_was_built_with(tmp_path, monkeypatch):
    store = tiny.write_tiny_store(tmp_path / "s")
    monkeypatch.setattr(embedders.open_embedder(), "id", "another-model#123")
    with pytest.raises(Unavailable, match=r"embedded with all-MiniLM-L6-v2#\w+, but here .* is another-model#123"):
        store.search("self", mode="semantic")
    store.index()
    assert store.info().embedder == "another-model#123"
    assert len(store.search("self", mode="semantic")) == 10


def test_without_torch_words_are_searched_and_it_is_said(store, monkeypatch):
    monkeypatch.setattr(embedders, "available", lambda setting: False)
    hits = store.search("closing brackets")
    assert "searched by words only" in hits.notes[-1]
    assert hits[0].feature % 8 == 1
