"""The kinds of queries that people ask, the recall of each, and the effort that the worst of them takes."""

import json

import numpy
import pyarrow
import pytest

from featurestore.search import label_index, vectors
from featurestore.search.label_vectors import QUESTIONS, draw_questions
from featurestore.search.vectors import building, kinds, plan
from featurestore.search.vectors.rows import VectorRows, unit

OF_DIRECTIONS = ["rows", "near rows", "means of two", "differences of two", "probes", "random directions"]


def make_rows(count=6000, dim=64, seed=0):
    """Rows around a few hundred centres."""
    rng = numpy.random.default_rng(seed)
    centres = rng.standard_normal((count // 20, dim))
    rows = centres[rng.integers(0, len(centres), count)] + 0.5 * rng.standard_normal((count, dim))
    return rows.astype(numpy.float16)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """An index by lists, its rows, and where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "FLAT_NUMBERS", 2**16)
        path, rows = tmp_path_factory.mktemp("kinds") / "index", make_rows()
        vectors.build(path, [rows])
    return vectors.VectorIndex(path, [rows]), rows, path


def test_each_kind_is_recorded_with_its_error_and_the_worst_has_what_was_asked(index):
    settled = json.loads((index[2] / "index.json").read_text())["plan"]
    assert list(settled["kinds"]) == OF_DIRECTIONS
    for kind in settled["kinds"].values():
        assert 0.95 <= kind["recall"] <= 1 and 0 <= kind["error"] < 0.05 and kind["queries"] == kinds.QUERIES
    assert index[0].about["kinds"] == settled["kinds"]


def test_the_recall_of_a_kind_is_that_of_its_searches(index):
    opened, rows, _ = index
    units = unit(rows)
    queries, own = kinds.draw(VectorRows([rows]), None, numpy.random.default_rng(2))["rows"]
    shares = []
    for query, row in zip(queries, own, strict=True):
        cosines = units @ query
        cosines[row] = -2
        found = opened.search(query, 11)[0]
        shares.append(numpy.isin(numpy.argsort(-cosines)[:10], found).mean())
    assert opened.about["kinds"]["rows"]["recall"] == pytest.approx(numpy.mean(shares), abs=2e-3)


def test_no_query_is_a_row_but_of_the_kind_that_leaves_it_out():
    rows = make_rows(500)
    asked = kinds.draw(VectorRows([rows]), None, numpy.random.default_rng(0))
    assert list(asked) == OF_DIRECTIONS
    for name, (queries, own) in asked.items():
        assert numpy.allclose(numpy.linalg.norm(queries, axis=1), 1, atol=1e-3)
        nearest = (queries @ unit(rows).T).max(axis=1)
        assert (own >= 0).all() if name == "rows" else (own == -1).all() and nearest.mean() < 0.95
    texts = unit(numpy.random.default_rng(1).standard_normal((7, 64)))
    of_texts = kinds.draw(VectorRows([rows]), texts, numpy.random.default_rng(0))
    assert list(of_texts) == ["rows", "texts"] and len(of_texts["texts"][0]) == 7


def test_effort_grows_until_the_worst_kind_is_found():
    rows = make_rows(500)
    units, asked_efforts = unit(rows), []
    asked = kinds.draw(VectorRows([rows]), None, numpy.random.default_rng(0))

    def search(query, k, effort):
        """All neighbours with effort 4, hardly any with less."""
        asked_efforts.append(effort)
        nearest = numpy.argsort(-(units @ query))
        return nearest[:k] if effort >= 4 else nearest[: k // 2]

    settled = plan._plan_of_zeros(500, 0.95)
    reached = kinds.settle(settled, asked, VectorRows([rows]), search)
    assert reached.effort == 4 and set(asked_efforts) == {1, 2, 4}
    assert all(kind.recall == 1 and kind.error == 0 for kind in reached.kinds.values())


def test_more_effort_finds_no_less(index):
    opened, rows, _ = index
    units = unit(rows)
    queries = unit(numpy.random.default_rng(5).standard_normal((20, 64)))

    def recall(searched):
        truth = [numpy.argsort(-(units @ query))[:10] for query in queries]
        found = [searched.search(query, 10)[0] for query in queries]
        return numpy.mean([numpy.isin(*pair).mean() for pair in zip(truth, found, strict=True)])

    assert recall(opened.with_effort(16)) >= recall(opened.with_effort(1))
    assert opened.with_effort(opened.about["effort"]) is opened


def test_the_quality_of_an_index_is_said_the_worst_kind_first(index, tmp_path):
    (line,) = vectors.describe_quality(index[2])
    assert line.startswith("recall of the nearest 10, 0.95 asked for: ")
    recalls = [float(part.split(" ± ")[0].rsplit(" ", 1)[1]) for part in line.split(": ")[1].split(", ")]
    assert recalls == sorted(recalls) and len(recalls) == len(OF_DIRECTIONS)
    vectors.build(tmp_path / "small", [make_rows(100)])
    assert vectors.describe_quality(tmp_path / "small") == [], "it is exact"


def test_texts_are_asked_as_people_ask():
    labels = pyarrow.chunked_array([[f"label number {n} about some words of a text" for n in range(300)]])
    questions = draw_questions(labels)
    assert len(questions) == QUESTIONS and questions == draw_questions(labels)
    assert not set(questions) & set(labels.to_pylist()), "none is a label"
    assert questions[1].startswith("which features are about label number")
    assert draw_questions(pyarrow.chunked_array([["one"]])) == ["one"]


def test_an_index_of_labels_says_what_texts_find(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "FLAT_NUMBERS", 2**10)
    labels = pyarrow.chunked_array([[f"label {n} of {n % 7}" for n in range(400)]])
    centres = numpy.random.default_rng(0).standard_normal((7, 16))

    class Embedder:
        id = setting = "hashed"

        def __call__(self, texts, stage=None):
            rows = [
                centres[len(text) % 7] + numpy.random.default_rng(len(text) * 31).standard_normal(16) for text in texts
            ]
            return unit(numpy.array(rows, numpy.float32))

    (tmp_path / "new").mkdir()
    label_index._write_vectors(tmp_path / "new", labels, Embedder(), None, lambda *_: lambda _: None)
    (line,) = vectors.describe_quality(tmp_path / "new" / "index.faiss")
    assert "texts" in line and "rows" in line and "probes" not in line
