"""What is said and searched where examples cannot be searched by meaning, are others than those indexed, or damaged."""

import shutil

import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, Unavailable
from featurestore.search import embedders, vectors
from featurestore.storage.directory import Directory
from featurestore.web import create_app
from tests.featurestore.search.examples import evidence_store
from tests.featurestore.store.test_hostile_stores import change_parts, seal_parts

NAME = "evidence/0-res"
ENDPOINT = "openai:model@http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evidence") / "s"
    with evidence_store.write(path) as store:
        store.index(over="examples")
    return path


@pytest.fixture
def store(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "s")
    with featurestore.connect(tmp_path / "s") as opened:
        yield opened


@pytest.fixture
def lacking(monkeypatch):
    """What embeds texts is not installed."""
    monkeypatch.setattr(embedders, "available", lambda setting: False)


def codes(hits):
    return [note.code for note in hits.note_codes]


def replace(store, **values):
    with store.writer("tests") as writer:
        writer.remove_dictionary(NAME)
        evidence_store.add_dictionary(writer, NAME, **values)


def test_without_labels_and_an_embedder_a_search_by_meaning_is_unavailable(store, lacking):
    for fields in ({"mode": "semantic"}, {"over": "examples"}):
        with pytest.raises(Unavailable, match="searching by meaning needs pip install"):
            store.search("sports", **fields)
    answer = create_app(store).test_client().get("/v1/search", query_string={"text": "sports", "mode": "semantic"})
    assert answer.status_code == 503


def test_hybrid_search_says_that_only_words_were_searched(store, lacking):
    hits = store.search("football")
    assert hits[0].id == f"{NAME}/0" and [reason.kind for reason in hits[0].reasons] == ["tokens"]
    assert codes(hits)[:2] == ["tokens_only", "examples_not_searched"]
    assert hits.notes[0].startswith("searched the tokens that top examples fire on only: ")
    assert hits.notes[1].startswith("what features fire on was not searched by meaning: searching by meaning needs pip")


def test_hybrid_search_without_tokens_says_what_was_searched_or_is_unavailable(store, monkeypatch):
    with store.writer("tests") as writer:
        writer.remove("token_index", NAME)
    hits = store.search("sports", k=1)
    assert hits[0].id == f"{NAME}/0"
    assert hits.notes[0].startswith("searched the meaning of what features fire on only: ")
    with pytest.raises(Unavailable, match="tokens are not indexed yet: run `featurestore index`"):
        store.search("sports", over="tokens")
    monkeypatch.setattr(embedders, "available", lambda setting: False)
    with pytest.raises(Unavailable, match="searching by meaning needs pip install"):
        store.search("sports")


def test_with_labels_hybrid_search_goes_on_without_examples(tmp_path):
    store = evidence_store.write(tmp_path / "s", labels={0: "ball games", 3: "courts"})
    store.index(over="examples")
    store.close()
    change_parts(tmp_path / "s", "example_index", about={"embedder": ENDPOINT, "embedder_id": ENDPOINT})
    with featurestore.connect(tmp_path / "s") as store:
        hits = store.search("sports")
        assert hits[0].id == f"{NAME}/0" and {reason.kind for reason in hits[0].reasons} >= {"meaning"}
        assert "examples_not_searched" in codes(hits)
        with pytest.raises(Unavailable) as refused:
            store.search("sports", over="examples")
    message = str(refused.value)
    assert message.startswith(f"what features fire on was embedded with '{ENDPOINT}', which the store names")
    assert "labels" not in message and "mode keyword" not in message


def test_what_was_harvested_anew_is_left_out_until_it_is_indexed(store):
    assert store.search("sports", over="examples", k=1)[0].id == f"{NAME}/0"
    replace(store, moved=1)
    hits = store.search("sports", over="examples")
    assert list(hits) == []
    assert hits.notes[-1] == "examples of 1 dictionary are not indexed yet: run `featurestore index`"
    assert hits.note_codes[-1].numbers == {"dictionaries": 1}
    for fields in ({}, {"mode": "semantic"}):  # there are no labels, so examples are relied on
        assert "examples_not_indexed" in codes(store.search("sports", **fields))
    assert "index of examples: what 4 features fire on and raise (digests of form 1)" in store.index()
    assert store.search("sports", over="examples", k=1)[0].id == f"{NAME}/1"


def test_an_index_of_which_nothing_is_left_is_removed(store, lacking):
    with store.writer("tests") as writer:
        writer.remove_dictionary(NAME)
    assert "index of examples: removed, there is nothing left that it is of" in store.index()
    assert not Directory(store.location).snapshot().parts("example_index")


def test_an_index_without_any_row_is_removed(store):
    replace(store, evidence=False)
    assert "index of examples: removed, there is nothing left that it is of" in store.index()
    assert not Directory(store.location).snapshot().parts("example_index")


def test_compact_makes_no_index_stale(store):
    store.set_label(f"{NAME}/0", "ball games")
    assert any("best labels copied" in line for line in store.compact())
    hits = store.search("sports", over=("examples", "tokens"), k=1)
    assert hits[0].id == f"{NAME}/0" and not {"examples_not_indexed", "tokens_not_indexed"} & set(codes(hits))
    store.set_label(f"{NAME}/1", "fruit")
    store.compact()
    lines = store.index()
    assert lines and all(line.startswith(("label index", "embedded")) for line in lines), lines
    assert not store.check().problems


def test_an_embedder_that_is_missing_is_said_before_anything_is_built(tmp_path, lacking, monkeypatch):
    store = evidence_store.write(tmp_path / "s")
    built = []
    monkeypatch.setattr("featurestore.store.store.build_decoder_index", lambda *arguments: built.append(arguments))
    with pytest.raises(Unavailable, match="embedding examples with all-MiniLM-L6-v2 needs pip install"):
        store.index(over="examples")
    assert not built


@pytest.mark.parametrize("over", ["labels", "", ("examples",)])
def test_only_examples_are_indexed_when_they_are_asked_for(store, over):
    with pytest.raises(BadRequest, match="over: .* is not one of: examples"):
        store.index(over=over)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda matrix: matrix[:3], r"vectors.npy is float16 of shape \(3, 384\), not .* each of 4 rows"),
        (lambda matrix: matrix[:, :100], "vectors.npy has vectors of 100 numbers, those of .* have 384"),
        (lambda matrix: matrix.astype(numpy.float64), "vectors.npy is float64"),
    ],
)
def test_vectors_that_do_not_fit_are_a_damaged_store(store, change, words):
    path = Directory(store.location).local(Directory(store.location).snapshot().parts("example_index")[0])
    matrix = change(numpy.load(path / "vectors.npy"))
    numpy.save(path / "vectors.npy", matrix)
    (path / "index.faiss").unlink()
    vectors.build(path / "index.faiss", [matrix])
    seal_parts(path.parent.parent.parent)
    with featurestore.connect(store.location) as other:
        for fields in ({"over": "examples"}, {"mode": "semantic"}, {}):
            with pytest.raises(BadStore, match=words):
                other.search("sports", **fields)
        (problem,) = other.check().problems
        assert problem.file.startswith("example_index/") and "vectors.npy" in problem.problem
        assert not other.repair().problems
        assert other.search("sports", over="examples", k=1)[0].id == f"{NAME}/0"


def test_no_words_were_asked_for_where_examples_alone_were_searched(store):
    hits = store.search("zebra astrophysics quux", over="examples", k=3)
    assert (hits.words_asked, hits.words_matched) == (None, None)
    assert hits.weak and "words" not in hits.notes[-1] and set(hits.note_codes[-1].numbers) == {"cosine"}
    both = store.search("football", over=("examples", "tokens"), k=1)
    assert (both.words_asked, both.words_matched) == (1, 1)
