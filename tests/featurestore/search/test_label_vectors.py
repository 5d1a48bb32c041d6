"""Embedding each text once, resumed where it was killed."""

import numpy
import pyarrow
import pytest

from featurestore.progress import no_progress
from featurestore.search import embedders, label_vectors
from featurestore.search.label_vectors import LabelVectors
from featurestore.tables import feature_rows
from tests.support import tiny


def test_embedding_goes_on_where_it_was_killed(tmp_path, monkeypatch):

    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    monkeypatch.setattr(label_vectors, "BATCH", 8)
    real = embedders.open_embedder()
    embedded = []

    class Failing:
        setting, id = real.setting, real.id

        def __init__(self, most):
            self.most = most

        def __call__(self, texts, stage=None):
            if len(embedded) >= self.most:
                raise KeyboardInterrupt
            embedded.extend(texts)
            return real(texts)

    monkeypatch.setattr(embedders, "open_embedder", lambda setting: Failing(10))
    with pytest.raises(KeyboardInterrupt):
        store.index()
    assert len(embedded) == 16
    monkeypatch.setattr(embedders, "open_embedder", lambda setting: Failing(10**9))
    assert any(line.startswith("embedded ") for line in store.index())
    labels = store.sql("SELECT DISTINCT label FROM labels")["label"].to_pylist()
    assert sorted(embedded) == sorted(labels), "each text once, in both runs together"
    hits = store.search("exception handling", mode="semantic", k=44, group=False)
    monkeypatch.setattr(embedders, "open_embedder", lambda setting: real)
    fresh = tiny.write_tiny_store(tmp_path / "t")
    again = fresh.search("exception handling", mode="semantic", k=44, group=False)
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in again], abs=1e-4)


def test_vectors_of_quoted_words_are_not_taken_over_from_an_index_without_quotation_marks(tmp_path):
    texts = ["fires on 'import'", 'says "no" twice', "what's new, isn't it", "the end of 'a long phrase'"]
    calls = []

    class Counting:
        setting = id = "counting"

        def __call__(self, texts, stage=None):
            calls.extend(texts)
            return numpy.ones((len(texts), 2), numpy.float32)

    index = tmp_path / "index"
    index.mkdir()
    numpy.save(index / "vectors.npy", numpy.zeros((4, 2), numpy.float16))
    feature_rows.write(index / "rows.arrow", pyarrow.table({"label": texts}))
    labels = pyarrow.chunked_array([texts])
    for as_written, embedded in ((False, texts[:2]), (True, [])):
        calls.clear()
        vectors = LabelVectors(Counting(), tmp_path / f"work {as_written}")
        vectors.take_over(index, as_written)
        assert vectors.embed(labels, no_progress) == len(embedded)
        assert [text for text in calls if text in texts] == embedded, "besides, the width of its vectors is asked"
