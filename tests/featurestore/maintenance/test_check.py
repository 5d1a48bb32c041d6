"""`featurestore check`: a changed byte anywhere is found and named; what can be built again is."""

import json
import os
import random
import shutil

import pytest

import featurestore
from featurestore import BadStore, NotFound
from featurestore.cli.main import main
from featurestore.maintenance.findings import REBUILT
from featurestore.storage import log
from featurestore.storage.directory import Directory
from featurestore.tables import completeness
from featurestore.tables import writer as store_writer
from tests.support import tiny, writer_jobs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with every kind of file: parts, indexes, a checkpoint and commits after it."""
    folder = tmp_path_factory.mktemp("check") / "whole"
    store = tiny.write_tiny_store(folder)
    writer_jobs.scatter_labels(store, parts=2)
    store.compact()
    store.index(map=True, over="examples")
    directory = Directory(folder)
    directory.log.write_checkpoint(directory.snapshot())
    writer_jobs.scatter_labels(store, parts=1)
    store.close()
    return folder


def files_of(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def live_files(folder):
    named = {part.file for part in Directory(folder).snapshot().all()}
    for name in files_of(folder):
        if name.startswith(("log/", "store.json")) or any(name == one or name.startswith(one + "/") for one in named):
            yield name


def find_in(folder):
    """Files that are named as damaged, be it by the check or because the log cannot be followed."""
    try:
        with featurestore.connect(folder) as store:
            return {finding.file for finding in store.check().problems}
    except BadStore as exc:
        return {name for name in files_of(folder) if name in str(exc)}


def test_a_whole_store_has_no_problems(whole):
    with featurestore.connect(whole) as store:
        found = store.check()
    assert (found.problems, found.leftovers) == ((), ())
    assert found.files >= 18


def test_nothing_that_counts_is_ever_a_leftover(whole, tmp_path):
    """However old it is, and whatever its name: indexes have files that begin with a dot."""
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    for name in files_of(copy):
        os.utime(copy / name, (0, 0))
    assert any(name.rpartition("/")[2].startswith(".") for name in live_files(copy))
    with featurestore.connect(copy) as store:
        assert store.check().leftovers == ()
        (copy / "log" / ".0000000099.json.abcd").write_bytes(b"half")
        os.utime(copy / "log" / ".0000000099.json.abcd", (0, 0))
        assert store.check().leftovers == ("log/.0000000099.json.abcd",)
        assert store.repair().leftovers == ()
        assert len(store.search("exceptions", mode="keyword")) > 0
    assert set(live_files(copy)) == set(live_files(whole))


@pytest.mark.crash
def test_a_changed_byte_anywhere_is_found_and_named(whole, tmp_path):
    chance = random.Random(5)
    damaged = 0
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    for name in live_files(whole):
        raw = (whole / name).read_bytes()
        if not raw:
            continue
        for at in {0, len(raw) - 1, chance.randrange(len(raw))}:
            changed = bytearray(raw)
            changed[at] ^= 1 << chance.randrange(8)
            (copy / name).write_bytes(changed)
            assert name in find_in(copy), (name, at)
            damaged += 1
        (copy / name).write_bytes(raw)
    assert damaged > 60


@pytest.mark.parametrize(
    "table", ["features", "examples", "labels", "documents", "tokens", "tokenizers", "dictionaries"]
)
def test_a_missing_part_is_named_with_what_to_do(whole, tmp_path, invoke, table):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    gone = next(name for name in live_files(whole) if name.startswith(table + "/"))
    (copy / gone).unlink()
    result = invoke(main, ["check", "--store", str(copy), "--json"])
    assert result.exit_code == 7
    (problem,) = [one for one in json.loads(result.stdout)["problems"] if one["file"] == gone]
    assert problem["problem"] == "is missing"
    assert "harvest" in problem["remedy"] or "copy" in problem["remedy"]


@pytest.mark.parametrize("table", REBUILT)
def test_what_can_be_built_again_is(whole, tmp_path, table):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    before = writer_jobs.content(copy)
    for name in [name for name in live_files(whole) if name.startswith(table + "/")]:
        (copy / name).write_bytes(b"damaged")
    with featurestore.connect(copy) as store:
        assert store.check().problems
        repaired = store.repair()
        assert repaired.problems == () and repaired.repaired
        assert len(store.search("exceptions", mode="keyword")) > 0
        assert len(store.nearest("tiny/0-res/3")) > 0
    assert writer_jobs.content(copy) == before


def test_damage_to_the_log_before_a_checkpoint_is_repaired(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    before = writer_jobs.content(copy)
    (copy / "log" / "0000000001.json").write_bytes(b"{}")
    (copy / "store.json").write_text((copy / "store.json").read_text().replace("sha", "sha"))
    with featurestore.connect(copy) as store:
        assert [one.file for one in store.check().problems] == ["log/0000000001.json"]
        assert store.repair().problems == ()
    assert writer_jobs.content(copy) == before


def test_a_hole_in_the_log_is_told(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    checkpoint = next((copy / "log").glob("*.checkpoint.json"))
    number = int(checkpoint.name[:10])
    (copy / "log" / f"{number + 1:010d}.json").unlink()
    with pytest.raises(BadStore, match=rf"{number + 1:010d}\.json is missing, but later commits are there"):
        featurestore.connect(copy)


def test_content_that_is_whole_and_wrong(whole, tmp_path, monkeypatch):
    """Parts whose checksum fits, and which do not fit the store: as a writer without the gate would leave them."""
    for name in ("check_rows", "check_tokens", "check_waiting", "check_parts"):
        monkeypatch.setattr(completeness.Contents, name, lambda *given: [])
    monkeypatch.setattr(completeness.Shape, "check_vectors", lambda *given: None)
    monkeypatch.setattr(store_writer, "fill_rows", lambda features, *given: features)
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        name = "tiny/0-res"
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("0-res", 0)]), key=name)
        writer.add("features", tiny.table(tiny.feature_rows(name)[:-2]), key=name)
        writer.add("examples", tiny.table(tiny.example_rows(name)), key=name)
        writer.add("labels", tiny.table([tiny.label_rows(name)[0] | {"feature": 99}]), key=name)
        writer.add_vectors(name, tiny.vectors(0)[:, :4])
    problems = " ".join(f"{one.file.split('/')[0]}: {one.problem};" for one in store.check().problems)
    assert "features: should hold features 0 to 23 in order, each once" in problems
    assert "labels: its features should be in order and below d_sae, 24" in problems
    assert "decoder_vectors: is float16 of shape (24, 4); float16 of (24, 8) is wanted" in problems
    assert "examples: refers to corpus corpus-of-tests, which is missing" in problems
    assert "refers to tokenizer tokenizer-of-tests, which is missing" in problems


def test_the_log_is_read_from_a_checkpoint_and_old_commits_go(tmp_path, monkeypatch):
    often = 20
    monkeypatch.setattr(log, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(log, "CHECKPOINT_COMMITS", often)
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    row = tiny.label_rows("tiny/0-res")[0]
    for n in range(2 * often):
        with store.writer("tests") as writer:
            writer.add("labels", tiny.table([row | {"explainer": f"model-{n}"}]), key="tiny/0-res")
    names = sorted(path.name for path in (tmp_path / "s" / "log").iterdir())
    assert f"{2 * often:010d}.checkpoint.json" in names
    assert len(names) < often + 10
    fresh = featurestore.connect(tmp_path / "s")
    assert fresh.info().commit == 2 * often + 1
    assert len(fresh.feature("tiny/0-res/0").labels) == 2 * often + 2
    assert fresh.check().problems == ()
    assert "labels from 41 parts into 1" in " ".join(fresh.compact())
    assert len(fresh.feature("tiny/0-res/0").labels) == 2 * often + 2


def test_compaction_changes_nothing_that_is_said(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    writer_jobs.scatter_labels(store)
    before = writer_jobs.content(tmp_path / "s")
    found = store.search("exception", mode="keyword")
    assert any("looked up each time" in note for note in store.info().notes)
    assert len(store.compact()) == 4
    assert store.compact() == []
    assert not any("looked up each time" in note for note in store.info().notes)
    assert writer_jobs.content(tmp_path / "s") == before
    assert [hit.id for hit in store.search("exception", mode="keyword")] == [hit.id for hit in found]
    assert store.info().parts["labels"] == 2
    # A label that comes after is shown at once, copies or not.
    with store.writer("tests") as writer:
        row = tiny.label_rows("tiny/0-res")[0] | {"label": "a person's word", "explainer": "human"}
        writer.add("labels", tiny.table([row]), key="tiny/0-res")
    assert store.feature("tiny/0-res/0").label == "a person's word"
    sql = "SELECT label FROM features WHERE dictionary = 'tiny/0-res' AND feature = 0"
    assert store.sql(sql)["label"].to_pylist() == ["a person's word"]


def test_removing_takes_what_nobody_else_uses(tmp_path, invoke):
    store = tiny.write_tiny_store(tmp_path / "s")
    store.remove("tiny/0-res")
    assert [one.dictionary for one in store.dictionaries()] == ["tiny/1-res"]
    assert store.info().rows["documents"] == 3
    assert {hit.dictionary for hit in store.nearest("tiny/1-res/2", k=30)} == {"tiny/1-res"}
    assert store.check().problems == ()
    with pytest.raises(NotFound, match="no dictionary 'tiny/0-res'.* there are: tiny/1-res"):
        store.remove("tiny/0-res")
    result = invoke(main, ["remove", "tiny/1-res", "--yes", "--store", str(tmp_path / "s")])
    assert "removed tiny/1-res" in result.stdout
    assert store.info().rows == {}
    assert store.check().problems == ()


def test_labels_for_a_dictionary_that_was_replaced_meanwhile_conflict(tmp_path):
    """They were made for other weights."""
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    late = store.writer("late")
    late.add("labels", tiny.table(tiny.label_rows("tiny/0-res")), key="tiny/0-res")
    writer_jobs.replacing(str(tmp_path / "s"), "")
    with pytest.raises(featurestore.Conflict, match="replaced or removed dictionaries of tiny/0-res meanwhile"), late:
        pass
    assert store.check().problems == ()


def test_two_harvests_of_one_corpus_share_it(tmp_path):
    store = featurestore.create(tmp_path / "s")
    writers = [store.writer("one"), store.writer("two")]
    for layer, writer in enumerate(writers):
        tiny.add_corpus(writer)
        tiny.add_dictionary(writer, f"{layer}-res", layer)
    for writer in writers:
        with writer:
            pass
    assert len(store.dictionaries()) == 2
    assert store.info().rows["documents"] == len(tiny.DOCUMENTS)
    assert store.check().leftovers == ()
