"""The directory: commits are whole, conflicts are told, and a killed writer leaves nothing."""

import json
import multiprocessing
import os
import pickle
import signal
import threading
import time

import numpy
import pytest

import featurestore
from featurestore import (
    BadRequest,
    BadStore,
    Conflict,
    NotFound,
    Unavailable,
    UnsupportedVersion,
)
from featurestore.storage import log
from featurestore.storage.directory import Directory
from tests.support import tiny


def test_nothing_is_seen_before_the_commit_and_all_after(tmp_path):
    store = featurestore.create(tmp_path / "s")
    other = featurestore.connect(tmp_path / "s")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)
        assert other.dictionaries() == []
    assert [one.dictionary for one in other.dictionaries()] == ["tiny/0-res"]
    assert other.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [24]


def features_of(writer, dictionary):
    writer.add("features", tiny.table(tiny.feature_rows(dictionary)), key=dictionary)
    writer.add_vectors(dictionary, tiny.vectors(0))


@pytest.mark.parametrize("seen", [True, False])
def test_parts_are_made_by_helpers_that_see_the_store_and_by_others(tmp_path, seen):
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        row = tiny.dictionary_row("0-res", 0)
        writer.add("dictionaries", tiny.table([row]), key=row["dictionary"])
        helper = pickle.loads(pickle.dumps(writer.helper()))
        if not seen:
            helper = helper._replace(location=str(tmp_path / "elsewhere"))
        made = helper.make(lambda parts: features_of(parts, "tiny/0-res"))
        assert [one.part.table for one in made] == ["features", "feature_rows", "decoder_vectors"]
        assert all((one.content is None) == seen for one in made)
        writer.adopt(pickle.loads(pickle.dumps(made)))
        with pytest.raises(Conflict, match="features of tiny/0-res already"):
            writer.adopt(made)
        with pytest.raises(BadRequest, match="features"):
            helper.make(lambda parts: parts.add("features", tiny.table([{"feature": -1}]), key="tiny/0-res"))
        # Whoever is killed leaves files that nobody tells of.
        for file in [path for path in (tmp_path / "s" / "features").rglob("*") if path.is_file()]:
            left = helper.make(lambda parts: features_of(parts, "tiny/0-res"))
            assert file.exists()
    assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [24]
    files = {entry.name for entry in Directory(tmp_path / "s").storage.entries() if "/" in entry.name}
    assert {name for name in files if not name.startswith("log/")} == {
        part.file for part in Directory(tmp_path / "s").snapshot().all()
    }
    assert not {one.part.file for one in left} & files
    assert store.check().problems == ()


@pytest.mark.parametrize("seen", [True, False])
def test_parts_that_are_directories_stay_when_a_writer_with_helpers_closes(tmp_path, seen):
    store = featurestore.create(tmp_path / "s")
    documents = tiny.table([{"document": 0, "name": "one", "tokenizer": tiny.TOKENIZER, "length": 9}])
    stream = numpy.array(tiny.DOCUMENTS[0])
    with store.writer("tests") as writer:
        tiny.add_tokenizer(writer)
        writer.add_corpus("own", documents, stream)
        helper = writer.helper()
        if not seen:
            helper = helper._replace(location=str(tmp_path / "elsewhere"))
        writer.adopt(helper.make(lambda parts: parts.add_corpus("made-elsewhere", documents, stream)))
        left = helper.make(lambda parts: parts.add_corpus("left", documents, stream))
    directory = Directory(tmp_path / "s")
    assert all(directory.is_whole(part) for part in directory.snapshot().all())
    assert {part.key for part in directory.snapshot().parts("token_stream")} == {"own", "made-elsewhere"}
    assert store.check().problems == ()
    assert not any(entry.name.startswith(left[-1].part.file) for entry in directory.storage.entries())
    assert directory.leftovers() == []


def test_an_error_while_writing_leaves_nothing(tmp_path):
    store = featurestore.create(tmp_path / "s")
    before = sorted(path for path in (tmp_path / "s").rglob("*") if path.is_file())
    with pytest.raises(BadRequest), store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)
        writer.add("labels", tiny.table([{"dictionary": "tiny/0-res"}]), key="tiny/0-res")
    assert sorted(path for path in (tmp_path / "s").rglob("*") if path.is_file()) == before


def test_two_writers_of_one_dictionary_conflict(tmp_path):
    store = featurestore.create(tmp_path / "s")
    first, second = store.writer("first"), store.writer("second")
    tiny.add_dictionary(first, "0-res", 0)
    tiny.add_dictionary(second, "0-res", 0)
    first.commit()
    with pytest.raises(Conflict, match=r"tiny/0-res already"), second:
        pass
    assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [24]


def test_labels_of_a_dictionary_removed_meanwhile_conflict(tmp_path):
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)
    late = store.writer("late")
    late.add("labels", tiny.table(tiny.label_rows("tiny/0-res")), key="tiny/0-res")
    with store.writer("tests") as writer:
        writer.remove_dictionary("tiny/0-res")
    with pytest.raises(Conflict, match="another writer replaced or removed dictionaries of tiny/0-res"), late:
        pass


def test_many_writers_at_once_all_land(tmp_path):
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)

    def label(n):
        rows = [
            row | {"explainer": f"model-{n}"} for row in tiny.label_rows("tiny/0-res") if row["explainer"] == "tokens"
        ]
        with featurestore.connect(tmp_path / "s").writer("tests") as writer:
            writer.add("labels", tiny.table(rows), key="tiny/0-res")

    threads = [threading.Thread(target=label, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.sql("SELECT count(DISTINCT explainer) AS n FROM labels WHERE explainer LIKE 'model-%'")
    assert found["n"].to_pylist() == [12]


def _write_forever(path):
    store = featurestore.connect(path)
    for n in range(10_000):
        with store.writer("tests") as writer:
            tiny.add_dictionary(writer, f"{n}-res", n % 2)


def test_a_killed_writer_leaves_a_whole_store(tmp_path):
    store = featurestore.create(tmp_path / "s")
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=_write_forever, args=(tmp_path / "s",))
    worker.start()
    deadline = time.monotonic() + 60
    while len(store.dictionaries()) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    fresh = featurestore.connect(tmp_path / "s")
    names = [one.dictionary for one in fresh.dictionaries()]
    assert len(names) >= 3
    rows = fresh.sql("SELECT dictionary, count(*) AS n FROM features GROUP BY ALL").to_pylist()
    assert {row["dictionary"]: row["n"] for row in rows} == dict.fromkeys(names, 24)
    for name in names:
        assert len(fresh.vector(f"{name}/3")) == 8
    with fresh.writer("tests") as writer:  # and it can be written to
        tiny.add_dictionary(writer, "after", 0)
    assert "tiny/after" in [one.dictionary for one in fresh.dictionaries()]


def test_removed_parts_are_deleted_after_the_grace_period(tmp_path, monkeypatch):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    with store.writer("tests") as writer:
        writer.remove_dictionary("tiny/1-res")
    assert list((tmp_path / "s" / "features" / "tiny" / "1-res").iterdir()), "kept for readers of the older snapshot"
    monkeypatch.setattr(log, "GRACE_SECONDS", 0.0)
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 0)
    assert not list((tmp_path / "s" / "features" / "tiny" / "1-res").iterdir())
    assert [one.source for one in store.dictionaries()] == ["0-res", "2-res"]


def test_places_that_are_no_store(tmp_path):
    with pytest.raises(NotFound, match="no such directory"):
        featurestore.connect(tmp_path / "none")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_text("")
    with pytest.raises(NotFound, match=r"is not a store: it has no store\.json"):
        featurestore.connect(tmp_path / "x")
    with pytest.raises(NotFound, match="file is not a directory"):
        featurestore.connect(tmp_path / "x" / "file")
    with pytest.raises(Conflict, match="not an empty directory"):
        featurestore.create(tmp_path / "x")
    featurestore.create(tmp_path / "s")
    with pytest.raises(Conflict, match="there is a store"):
        featurestore.create(tmp_path / "s")


def test_newer_and_damaged_stores(tmp_path):
    featurestore.create(tmp_path / "s")
    file = tmp_path / "s" / "store.json"
    file.write_text(json.dumps({"format": 99}))
    with pytest.raises(UnsupportedVersion, match="of format 99; .* upgrade featurestore"):
        featurestore.connect(tmp_path / "s")
    file.write_text("{")
    with pytest.raises(BadStore, match=r"store\.json cannot be read"):
        featurestore.connect(tmp_path / "s")


def test_a_damaged_log_is_named(tmp_path):
    tiny.write_tiny_store(tmp_path / "s", index=False)
    (tmp_path / "s" / "log" / "0000000001.json").write_text("{")
    with pytest.raises(BadStore, match=r"0000000001\.json is damaged"):
        featurestore.connect(tmp_path / "s").dictionaries()


def test_a_part_that_is_gone_is_named(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    file = next((tmp_path / "s" / "examples").rglob("*.parquet"))
    file.unlink()
    with pytest.raises(BadStore, match=file.name):
        featurestore.connect(tmp_path / "s").sql("SELECT * FROM examples")
    store.close()


@pytest.mark.parametrize("source", ["..", "a/b", ""])
def test_ids_cannot_leave_the_store(tmp_path, source):
    store = featurestore.create(tmp_path / "s")
    with pytest.raises(BadRequest), store.writer("tests") as writer:
        tiny.add_dictionary(writer, source, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


def test_vectors_that_are_no_matrix_of_numbers(tmp_path):
    store = featurestore.create(tmp_path / "s")
    writer = store.writer("tests")
    with pytest.raises(BadRequest, match=r"shape \(3,\)"):
        writer.add_vectors("tiny/x", numpy.ones(3))
    with pytest.raises(BadRequest, match="tiny/x/1 has a number that is not finite"):
        writer.add_vectors("tiny/x", numpy.array([[1.0, 2.0], [1e30, 0.0]]))


def test_a_place_that_cannot_be_written_to(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(Unavailable, match="cannot create a store"):
        Directory.create(file / "below")


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    store = featurestore.create(tmp_path / "s")

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(Unavailable, match="No space left on device"), store.writer("tests") as writer:
        tiny.add_dictionary(writer, "0-res", 0)
    assert store.dictionaries() == []
