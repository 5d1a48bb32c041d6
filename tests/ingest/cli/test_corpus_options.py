"""Harvests from the command line over every kind of corpus: what is stored, reported, refused."""

import json

import numpy
import pytest

import featurestore
from featurestore.cli.main import main
from ingest.cli.corpus_options import TEXT_HELP
from ingest.corpus.sources import KINDS
from tests.support import ROOT, small_models


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    small_models.write_model(root / "model")
    for layer in (0, 1):
        small_models.write_sae(root / f"{layer}-res", hook=f"blocks.{layer}.hook_resid_post")
    rows = [{"text": text} for _, text in small_models.TEXTS]
    extra = [{"text": ""}, rows[0], {"text": None}]
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + extra))
    return root


@pytest.fixture
def harvest(world, tmp_path, invoke):
    def run(source, *options, code=0):
        given = ["--model", str(world / "model"), "--weights", str(world / source), "--no-index", "--json", *options]
        done = invoke(main, ["harvest", "--store", str(tmp_path / "s"), *map(str, given)])
        assert done.exit_code == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    return run


def documents(folder):
    with featurestore.connect(folder / "s") as store:
        asked = "SELECT corpus, name, length FROM documents ORDER BY corpus, document"
        return [tuple(row.values()) for row in store.sql(asked).to_pylist()]


def test_rows_of_a_table_and_then_the_same_corpus_by_its_id(world, harvest, tmp_path):
    report = harvest("0-res", "--text", world / "rows.jsonl")
    assert (report["documents"], report["empty_documents"], report["duplicate_documents"]) == (4, 2, 1)
    there = documents(tmp_path)
    assert [name for _, name, _ in there] == [f"rows.jsonl:{n}" for n in (1, 2, 3, 5)]
    again = harvest("1-res", "--corpus", report["corpus"])
    assert (again["corpus"], again["tokens"]) == (there[0][0], report["tokens"])
    assert documents(tmp_path) == there


def test_packed_and_without_duplicates(world, harvest, tmp_path):
    report = harvest("0-res", "--text", world / "rows.jsonl", "--drop-duplicates", "--pack", 20)
    joined = sum(len(text.encode()) for _, text in small_models.TEXTS) + 2  # separators between three
    assert (report["tokens"], report["duplicate_documents"]) == (joined, 1)
    assert [length for _, _, length in documents(tmp_path)] == [20] * (joined // 20) + [joined % 20]


def test_tokens_made_elsewhere(world, harvest, tmp_path):
    numpy.save(tmp_path / "x.npy", numpy.array([[0, 5, 6], [0, 7, 8]], dtype=numpy.uint16))
    assert harvest("0-res", "--text", f"{tmp_path}/x.npy:{world / 'model'}")["tokens"] == 4
    numpy.save(tmp_path / "x.npy", numpy.array([[0, 5, 6], [0, 700, 8]], dtype=numpy.uint16))
    said = harvest("1-res", "--text", f"{tmp_path}/x.npy:model", code=2)
    assert "x.npy:2: token 1 (counted from 0) is 700, but the tokenizer has 257 tokens" in said


def test_what_people_see(world, tmp_path, invoke):
    done = invoke(
        main,
        [
            "harvest",
            "--store",
            str(tmp_path / "s"),
            "--model",
            str(world / "model"),
            "--no-index",
            "--weights",
            str(world / "0-res"),
            "--text",
            str(world / "rows.jsonl"),
        ],
    )
    assert f"corpus {documents(tmp_path)[0][0]}: " in done.stdout
    assert "2 empty documents were left out; 1 with the tokens of an earlier one" in done.stdout
    assert "tokenising documents: 4 in" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--text", "{root}/rows.jsonl", "--corpus", "abc"], 2, "--text SOURCE or --corpus ID, not both"),
        (["--corpus", "abc", "--pack", "9"], 2, "--pack and --drop-duplicates go with --text"),
        (["--corpus", "abc"], 3, "no corpus abc in the store; there are: none"),
        (["--text", "{root}/none.jsonl:text"], 3, "no text at {root}/none.jsonl:text"),
        (["--text", "{root}/rows.jsonl:nothing"], 2, "rows.jsonl, line 1: no column 'nothing'; there are: text"),
        (["--text", "{root}/rows.jsonl", "--pack", "1"], 2, "1 is not in the range x>=2"),
    ],
)
def test_what_is_refused_leaves_no_store(world, harvest, tmp_path, options, code, words):
    said = harvest("0-res", *(option.format(root=world) for option in options), code=code)
    assert words.format(root=world) in said
    assert not (tmp_path / "s").exists()


def test_every_kind_of_source_is_documented():
    text = (ROOT / "docs" / "corpora.md").read_text("utf-8")
    assert all(suffix in text for suffix in KINDS)
    assert all(word in text for word in ("--pack", "--corpus", "--drop-duplicates", "--tokens"))
    assert "docs/corpora.md" in TEXT_HELP
