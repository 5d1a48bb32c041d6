"""Labels by meaning: cosines of embeddings, the embedder an index was built with, without torch."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, Unavailable
from featurestore.cli.main import main
from featurestore.search import embedders, vectors
from featurestore.storage.directory import Directory
from tests.featurestore.store.test_hostile_stores import seal_parts
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


class _Fake:
    """An embedder that is never the default one."""

    def __init__(self, setting):
        self.setting, self.id = setting, "fake#1"

    def __call__(self, texts, stage=None):
        vectors = numpy.zeros((len(texts), 4), numpy.float32)
        vectors[:, 0] = 1
        return vectors


ENDPOINT = "openai:model@http://127.0.0.1:9/v1"


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A store whose index names an endpoint, and the settings of the embedders that are opened from then on."""
    opened = []

    def open_embedder(setting=embedders.DEFAULT):
        opened.append(setting)
        return _Fake(setting)

    monkeypatch.setattr(embedders, "available", lambda setting: True)
    monkeypatch.setattr(embedders, "open_embedder", open_embedder)
    monkeypatch.delenv(embedders.VARIABLE, raising=False)
    with tiny.write_tiny_store(tmp_path / "s", index=False) as store:
        store.index(embedder=ENDPOINT)
        assert store.search("self", mode="semantic")  # who has named it goes on with it
    opened.clear()
    return tmp_path / "s", opened


def test_an_endpoint_that_a_store_names_is_not_asked(foreign):
    """It would get the user's key and queries. Searches go on by words, and say why."""
    folder, opened = foreign
    with featurestore.connect(folder) as store:
        hits = store.search("self")
        assert hits and any("searched by words only" in note and "--embedder" in note for note in hits.notes)
        for ask in (lambda: store.search("self", mode="semantic"), store.embedder):
            with pytest.raises(Unavailable, match="name it with --embedder"):
                ask()
        assert store.index() == []  # nothing to embed
        store.add_labels([featurestore.GivenLabel(id="tiny/0-res/3", label="a new label")])
        with pytest.raises(Unavailable, match="name it with --embedder"):
            store.index()
        with pytest.raises(Unavailable, match="name it with --embedder"):
            store.sql("SELECT count(*) FROM semantic('self')")
    assert opened == []


@pytest.mark.parametrize("how", ["connect", "variable", "command"])
def test_an_embedder_that_the_user_names_is_used(foreign, how, monkeypatch, invoke):
    folder, opened = foreign
    mine = "/home/me/model"  # the same weights in another place
    if how == "command":
        arguments = ["search", "self", "--mode", "semantic", "--store", str(folder), "--embedder", mine]
        assert invoke(main, arguments).exit_code == 0
        assert invoke(main, arguments[:-2]).exit_code == Unavailable.exit_code  # said for one command
    else:
        if how == "variable":
            monkeypatch.setenv(embedders.VARIABLE, mine)
        with featurestore.connect(folder, embedder=mine if how == "connect" else None) as store:
            assert store.search("self", mode="semantic")
    assert set(opened) == {mine}


def test_a_service_has_its_own_embedder():
    with pytest.raises(BadRequest, match="where the service runs"):
        featurestore.connect("http://127.0.0.1:9", embedder="x")


def add_label(writer, name, feature, label):
    row = {"dictionary": name, "feature": feature, "label": label, "explainer": "human", "tool": "tests"}
    writer.add("labels", tiny.table([row | {"created_at": tiny.WHEN}]), key=name)


def test_labels_that_are_gone_are_not_found_and_their_index_is_removed(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    with store.writer("tests") as writer:
        writer.remove("labels", "tiny/0-res")
        add_label(writer, "tiny/0-res", 5, "exception handling")
        writer.remove("labels", "tiny/1-res")
    for mode in ("semantic", "keyword"):
        hits = store.search("exception handling", mode=mode, k=48, group=False)
        assert [hit.id for hit in hits] == ["tiny/0-res/5"], "the others were of labels that are gone"
    with store.writer("tests") as writer:
        writer.remove("labels", "tiny/0-res")
    with pytest.raises(Unavailable, match="labels are not indexed yet"):
        store.search("exception handling", mode="semantic")
    assert "label index: removed, no label is left" in store.index()
    assert store.index() == [] and store.info().embedder is None


def test_labels_merged_after_they_were_indexed_are_still_found(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    before = {hit.id for hit in store.search("exception handling", mode="semantic", k=48, group=False)}
    store.set_label("tiny/0-res/23", "exception handling by a person")
    store.compact()
    hits = store.search("exception handling", mode="semantic", k=48, group=False, all=True)
    assert before | {"tiny/0-res/23"} <= {hit.id for hit in hits}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda matrix: matrix[:3], r"vectors.npy is float16 of shape \(3, 384\), not .* each of \d+ rows"),
        (lambda matrix: matrix[:, :100], "vectors.npy has vectors of 100 numbers, those of .* have 384"),
    ],
)
def test_vectors_that_do_not_fit_are_a_damaged_store(tmp_path, change, words):
    tiny.write_tiny_store(tmp_path / "s").close()
    directory = Directory(tmp_path / "s")
    path = directory.local(directory.snapshot().parts("label_index")[0])
    matrix = change(numpy.load(path / "vectors.npy"))
    numpy.save(path / "vectors.npy", matrix)
    (path / "index.faiss").unlink()
    vectors.build(path / "index.faiss", [matrix])
    seal_parts(tmp_path / "s")
    with featurestore.connect(tmp_path / "s") as store:
        with pytest.raises(BadStore, match=words):
            store.search("self", mode="semantic")
        (problem,) = store.check().problems
        assert problem.file.startswith("label_index/") and "vectors.npy" in problem.problem
        store.set_label("tiny/0-res/23", "a label that makes the index stale")
        assert any(line.startswith("embedded") for line in store.index()), "vectors of another width are not taken over"
        assert not store.check().problems
        assert store.search("exception handling", mode="semantic", k=1)[0].feature % 8 == 0
