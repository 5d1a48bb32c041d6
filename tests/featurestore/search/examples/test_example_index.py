"""Features found by the meaning of what they fire on, with labels and without any, in every interface."""

import json
import shutil

import httpx2
import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, NotFound, Unavailable
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.search import embedders
from featurestore.search.examples import example_index
from featurestore.search.label_vectors import LabelVectors
from featurestore.storage.directory import Directory
from featurestore.web import create_app
from tests.featurestore.search.examples import evidence_store

NAME = "evidence/0-res"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("evidence") / "s"
    with evidence_store.write(path) as store:
        store.index(over="examples")
    return path


@pytest.fixture(scope="module", params=["local", "http"])
def store(request, folder):
    with featurestore.connect(folder) as opened:
        if request.param == "local":
            yield opened
            return
        with Client("http://x", transport=httpx2.WSGITransport(app=create_app(opened))) as client:
            yield client


def part_of(folder):
    return Directory(folder).snapshot().parts("example_index")[0]


@pytest.mark.parametrize(
    ("text", "feature"), [("sports", 0), ("something to eat", 1), ("classical music", 2), ("law and crime", 3)]
)
def test_features_without_a_label_are_found_by_meaning(store, text, feature):
    hits = store.search(text, over="examples", k=3)
    assert hits[0].id == f"{NAME}/{feature}" and hits[0].label is None
    assert [reason.kind for reason in hits[0].reasons] == ["examples"]
    assert hits[0].score == hits[0].reasons[0].score == hits.cosine
    assert hits[0].why == f"examples close in meaning (cosine {hits[0].score:.2f})"
    assert store.search(text, over="examples", mode="semantic", k=3).hits == hits.hits
    assert store.search(text, k=1)[0].id == f"{NAME}/{feature}", "hybrid search looks there too"
    assert store.search(text, mode="semantic", k=1)[0].id == f"{NAME}/{feature}", "there are no labels"


def test_scores_are_cosines_of_the_digests(store, folder):
    with featurestore.connect(folder) as opened:
        index = opened._current_view._example_index()
        digests = [index.digest(row) for row in range(4)]
        assert index.numbers.tolist() == [0, 1, 2, 3], "the last feature has no evidence"
    embedder = embedders.open_embedder()
    cosines = embedder(digests) @ embedder(["a court of law"])[0]
    hits = store.search("a court of law", over="examples", group=False)
    assert [hit.feature for hit in hits] == numpy.argsort(-cosines).tolist()
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines.tolist(), reverse=True), abs=2e-3)


def test_filters_hold_and_words_are_refused(store):
    assert [hit.feature for hit in store.search("sports", over="examples", among=[f"{NAME}/3"])] == [3]
    with pytest.raises(BadRequest, match="mode: keyword is about words; examples are searched by meaning"):
        store.search("sports", over="examples", mode="keyword")
    hits = store.search("+football", k=3)
    assert all(reason.kind != "examples" for hit in hits for reason in hit.reasons), "a digest has no + and -"


def test_the_command_line_and_http_answer_alike(folder, invoke):
    done = invoke(main, ["search", "sports", "--over", "examples", "--store", str(folder), "--json"])
    hits = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and hits[0]["id"] == f"{NAME}/0"
    with featurestore.connect(folder) as opened:
        web = create_app(opened).test_client()
        answer = web.get("/v1/search", query_string={"text": "sports", "over": "examples"}).json
        assert answer["hits"][0]["id"] == f"{NAME}/0"
        assert f"{NAME}/0" in web.get("/", query_string={"text": "sports", "over": "examples"}).text
        rows = opened.sql("SELECT id FROM search('sports', over := ['examples'])").to_pylist()
        assert rows[0]["id"] == f"{NAME}/0"


def test_the_form_of_the_digest_and_the_embedder_are_recorded(folder):
    about = part_of(folder).about
    assert about["form"] == 1 and about["embedder"] == "all-MiniLM-L6-v2"
    assert about["embedder_id"] == embedders.open_embedder().id
    assert set(about["covers"]) == {NAME}


def test_it_is_made_when_it_is_asked_for_and_kept_up_to_date(tmp_path, invoke):
    store = evidence_store.write(tmp_path / "s", labels={0: "a person's name"})
    invoke(main, ["index", "--store", str(tmp_path / "s")])
    assert not Directory(tmp_path / "s").snapshot().parts("example_index")
    with pytest.raises(NotFound, match="run `featurestore index --over examples`"):
        store.search("sports", over="examples")
    done = invoke(main, ["index", "--over", "examples", "--store", str(tmp_path / "s")])
    assert "index of examples: what 4 features fire on and raise (digests of form 1)" in done.output
    assert "embedded 4 new texts" in done.output
    assert store.search("sports", k=1)[0].id == f"{NAME}/0"
    with store.writer("tests") as writer:
        evidence_store.add_dictionary(writer, "evidence/1-res", peak=7.0)
    noted = store.search("sports", over="examples")
    assert [code.code for code in noted.note_codes if code.code.startswith("examples")] == ["examples_not_indexed"]
    lines = store.index()
    assert "index of examples: what 8 features fire on and raise (digests of form 1)" in lines
    assert any(line.startswith("embedded 0 new texts") for line in lines), "equal texts are embedded once"
    assert {hit.id for hit in store.search("sports", over="examples", k=2, group=False)} == {
        f"{NAME}/0",
        "evidence/1-res/0",
    }
    assert store.index() == []
    store.remove(NAME)
    assert [hit.dictionary for hit in store.search("sports", over="examples", k=9, group=False)] == [
        "evidence/1-res"
    ] * 4
    store.remove("evidence/1-res")
    assert not Directory(tmp_path / "s").snapshot().parts("example_index")


def test_a_build_that_was_killed_goes_on(tmp_path, monkeypatch):
    store = evidence_store.write(tmp_path / "s")
    monkeypatch.setattr("featurestore.search.label_vectors.BATCH", 2)
    embed, save, saved = embedders.open_embedder(), LabelVectors._save, []

    def save_once(self, *batch):
        if saved:
            raise KeyboardInterrupt
        saved.append(batch)
        return save(self, *batch)

    monkeypatch.setattr(LabelVectors, "_save", save_once)
    with pytest.raises(KeyboardInterrupt):
        store.index(over="examples")
    monkeypatch.setattr(LabelVectors, "_save", save)
    lines = store.index(over="examples")
    assert f"embedded 2 new texts with {embed.id}" in lines, "two of four were saved"
    assert store.search("sports", over="examples", k=1)[0].id == f"{NAME}/0"


def test_another_form_is_made_anew(tmp_path, folder, monkeypatch):
    shutil.copytree(folder, tmp_path / "s")
    monkeypatch.setattr(example_index, "FORM", 99)
    with featurestore.connect(tmp_path / "s") as store:
        assert "index of examples: what 4 features fire on and raise (digests of form 99)" in store.index()
        assert part_of(tmp_path / "s").about["form"] == 99


def test_the_store_names_another_embedder(tmp_path, folder, monkeypatch):
    shutil.copytree(folder, tmp_path / "s")
    monkeypatch.setattr(embedders.open_embedder(), "id", "another-model#1")
    with featurestore.connect(tmp_path / "s") as store:
        with pytest.raises(Unavailable, match=r"embedded with all-MiniLM-L6-v2#\w+, but here .* is another-model#1"):
            store.search("sports", over="examples")
        store.index()
        assert store.search("sports", over="examples", k=1)[0].id == f"{NAME}/0"


def test_a_store_of_which_nothing_is_known(tmp_path):
    store = featurestore.create(tmp_path / "s")
    assert store.index(over="examples") == []
    assert not store.search("x", over="examples")


@pytest.mark.parametrize("name", ["rows.arrow", "vectors.npy", "index.faiss"])
def test_a_damaged_index_is_named_and_built_again(tmp_path, folder, name):
    shutil.copytree(folder, tmp_path / "s")
    (tmp_path / "s" / part_of(tmp_path / "s").file / name).write_bytes(b"no index")
    with featurestore.connect(tmp_path / "s") as store:
        with pytest.raises(BadStore, match=name):
            store.search("sports", over="examples")
        assert any(name in finding.file for finding in store.check().problems)
        assert not store.repair().problems
        assert store.search("sports", over="examples", k=1)[0].id == f"{NAME}/0"
