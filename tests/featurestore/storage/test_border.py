"""The border of the log: each field of a commit, of a checkpoint and of store.json, one after another, as no writer
writes it."""

import datetime
import json

import msgspec
import pytest

import featurestore
from featurestore import BadRequest, BadStore
from featurestore.storage.border import TABLES, check_checkpoint, check_commit, find_file_problem
from featurestore.storage.directory import Directory
from featurestore.storage.log_files import Checkpoint, Commit, Part, seal
from featurestore.storage.staging import Staging
from featurestore.tables import schema
from featurestore.values.dictionary_name import find_name_problem
from tests.support import tiny

NOW = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
FILE = "labels/tiny/0-res/00000-0123456789ab-1.parquet"
PART = Part(file=FILE, table="labels", key="tiny/0-res", shard=0, rows=1, bytes=10, sha256="0" * 64)
COMMIT = Commit(commit=1, at=NOW, by="tests", writer="0123456789ab", format=3, add=(PART,))

NAMES = [
    "/etc/passwd",
    "../victim",
    "labels/../../victim/00000-0123456789ab-1.parquet",
    "labels/tiny/../../00000-0123456789ab-1.parquet",
    "labels//tiny/0-res/00000-0123456789ab-1.parquet",
    "labels/./0-res/00000-0123456789ab-1.parquet",
    "labels/tiny/0-res/",
    "labels/tiny/0-res",
    "labels",
    "",
    "store.json",
    "log/0000000001.json",
    "jobs/index-0123456789ab.json",
    "writers/0123456789ab",
    "other/tiny/0-res/00000-0123456789ab-1.parquet",
    "labels/tiny/0-res/labels.parquet",
    "labels/tiny/0-res/00000-0123456789ab-1.parquet\n",
    "labels/tiny/0-res/00000-0123456789ab-1.parquet/../../../x",
    "labels/.hidden/0-res/00000-0123456789ab-1.parquet",
    "labels/tiny/0\\res/00000-0123456789ab-1.parquet",
    "labels/tiny/0\x00res/00000-0123456789ab-1.parquet",
    "labels/tiny/0\x1b[2Jres/00000-0123456789ab-1.parquet",
    "labels/tiny/0\u00a0res/00000-0123456789ab-1.parquet",
    "s3://bucket/labels/00000-0123456789ab-1.parquet",
    "labels/" + "x" * 2000 + "/0/00000-0123456789ab-1.parquet",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_writer_makes_is_refused_wherever_it_stands(name):
    assert find_file_problem(name)
    with pytest.raises(BadStore, match=r"remove\[0\]"):
        check_commit(msgspec.structs.replace(COMMIT, remove=(name,)), "x")
    with pytest.raises(BadStore, match=r"add\[0\]\.file"):
        check_commit(msgspec.structs.replace(COMMIT, add=(msgspec.structs.replace(PART, file=name),)), "x")
    with pytest.raises(BadStore, match="removed"):
        check_checkpoint(Checkpoint(commit=1, at=NOW, format=3, parts=(PART,), removed={name: NOW}), "x")
    index = msgspec.structs.replace(
        PART,
        table="decoder_index",
        key="tiny",
        file="decoder_index/tiny/00000-0123456789ab-1.faiss",
        about={"covers": [name], "rows": [1]},
    )
    with pytest.raises(BadStore, match=r"about\.covers"):
        check_commit(msgspec.structs.replace(COMMIT, add=(index,)), "x")


def test_what_a_writer_writes_is_taken(tmp_path):
    check_commit(COMMIT, "x")
    with tiny.write_tiny_store(tmp_path / "s") as store:
        assert store.dictionaries()
    assert set(schema.tables()) <= TABLES  # a table that is missing there could be written and never be read


PART_FIELDS = [
    ("table", "../x"),
    ("table", "vectors"),
    ("key", "tiny/1-res"),
    ("shard", -1),
    ("shard", 10**9),
    ("rows", -1),
    ("rows", 2**60),
    ("bytes", -1),
    ("commit", -5),
    ("sha256", "0" * 63),
    ("sha256", "../../x"),
    ("files", {"../x": "0" * 64}),
    ("files", {"/etc/passwd": "0" * 64}),
    ("files", {"x": "nohash"}),
    ("about", {"first": "0"}),
    ("about", {"last": -1}),
]


@pytest.mark.parametrize(("field", "value"), PART_FIELDS)
def test_every_field_of_a_part_is_checked(field, value):
    part = msgspec.structs.replace(PART, **{field: value})
    with pytest.raises(BadStore, match=rf"add\[0\]\.({field}|file)"):
        check_commit(msgspec.structs.replace(COMMIT, add=(part,)), "x")
    with pytest.raises(BadStore, match=rf"parts\[0\]\.({field}|file)"):
        check_checkpoint(Checkpoint(commit=1, at=NOW, format=3, parts=(part,), removed={}), "x")


COMMIT_FIELDS = [
    ("commit", -1),
    ("commit", 10**11),
    ("format", 0),
    ("format", -3),
    ("writer", "../x"),
    ("writer", "x" * 100),
    ("at", datetime.datetime(2026, 1, 2)),  # that is what is refused
    ("at", datetime.datetime(1, 1, 1, tzinfo=datetime.UTC)),
]


@pytest.mark.parametrize(("field", "value"), COMMIT_FIELDS)
def test_every_field_of_a_commit_is_checked(field, value):
    with pytest.raises(BadStore, match=f": {field}: "):
        check_commit(msgspec.structs.replace(COMMIT, **{field: value}), "x")


ABOUT = [
    ("features", {"labels": 5}),
    ("decoder_vectors", {"targets": []}),
    ("decoder_vectors", {"targets": ["0"]}),
    ("decoder_vectors", {"targets": [-1]}),
    ("decoder_vectors", {"targets": 7}),
    ("token_index", {}),
    ("features", {"origin": "../x"}),
    ("token_index", {"covers": 5}),
    ("label_rows", {}),
    ("label_rows", {"commit": 1, "rows": -1}),
    ("label_rows", {"commit": "1", "rows": 1}),
    ("decoder_index", {}),
    ("decoder_index", {"covers": [FILE], "rows": []}),
    ("decoder_index", {"covers": [], "rows": [], "recall": 7}),
    ("label_index", {"covers": {}}),
    ("label_index", {"covers": {}, "embedder": 5, "embedder_id": None}),
    ("label_index", {"covers": {}, "embedder": "x" * 5000, "embedder_id": None}),
    ("label_index", {"covers": {}, "embedder": None, "embedder_id": None, "commit": None}),
    ("example_index", {"covers": []}),
    ("example_index", {"covers": {}, "embedder": None, "embedder_id": "x"}),
    ("example_index", {"covers": {}, "embedder": "x", "embedder_id": "x", "form": "1"}),
    ("label_rule", {}),
    ("label_rule", {"rule": None}),
    ("label_rule", {"rule": ""}),
    ("label_rule", {"rule": "1" * 50_000}),
]


@pytest.mark.parametrize(("table", "about"), ABOUT)
def test_what_a_part_says_of_itself_has_the_types_that_readers_expect(table, about):
    keys = {"decoder_index": "tiny", "label_index": "labels", "example_index": "examples", "label_rule": "store"}
    key = keys.get(table, "tiny/0-res")
    part = msgspec.structs.replace(PART, table=table, key=key, file=f"{table}/{key}/00000-0123456789ab-1", about=about)
    with pytest.raises(BadStore, match=r"add\[0\]\.about"):
        check_commit(msgspec.structs.replace(COMMIT, add=(part,)), "x")


STORE_FILES = [
    b'"format"',
    b"5",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"format": {"a": 1}}',
    b'{"format": [3]}',
    b'{"format": "' + b"x" * 500 + b'"}',
    b'{"format": 3, "created_at": 7}',
    b'{"format": 3, "created_at": "2026-01-02T00:00:00"}',
    b'{"format": 3, "created_at": "0001-01-01T00:00:00Z"}',
    b'\xff{"format": 3}',
]


@pytest.mark.parametrize("content", STORE_FILES)
def test_a_store_file_that_is_none_is_a_damaged_store(tmp_path, content):
    (tmp_path / "store.json").write_bytes(content)
    with pytest.raises(BadStore, match=r"store\.json"):
        Directory(tmp_path)


def test_a_log_nested_too_deep_is_a_damaged_store(tmp_path):
    Directory.create(tmp_path / "s")
    (tmp_path / "s" / "log").mkdir()
    (tmp_path / "s" / "log" / "0000000001.json").write_bytes(b'{"content":' + b"[" * 200_000)
    with pytest.raises(BadStore, match=r"0000000001\.json"):
        featurestore.connect(tmp_path / "s")


def append(folder, **fields):
    """Write a commit that says what it likes, sealed as ours are."""
    directory = Directory(folder)
    number = directory.snapshot().commit + 1
    commit = msgspec.to_builtins(Commit(commit=number, at=NOW, by="stranger", writer="0123456789ab", format=3)) | fields
    (folder / "log" / f"{number:010d}.json").write_bytes(seal(commit))


def test_nothing_outside_is_deleted_by_a_log_that_names_it(tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "thesis.txt").write_text("years of work")
    for name in ("../victim", str(victim), "labels/../../victim"):
        folder = tmp_path / f"s{len(name)}"
        tiny.write_tiny_store(folder, index=False).close()
        append(folder, remove=[name], at="2026-01-01T00:00:00Z")
        with pytest.raises(BadStore, match=r"remove\[0\].*leads out of the store"):
            featurestore.connect(folder)
        with pytest.raises(BadStore, match=r"remove\[0\]"):
            Directory(folder).sweep()
    assert (victim / "thesis.txt").read_text() == "years of work"


def test_a_link_to_a_directory_elsewhere_is_not_written_or_deleted_through(tmp_path):
    folder, outside = tmp_path / "s", tmp_path / "outside"
    directory = Directory.create(folder)
    (outside / "tiny" / "0-res").mkdir(parents=True)
    (outside / "tiny" / "0-res" / FILE.rpartition("/")[2]).write_text("mine")
    (folder / "labels").symlink_to(outside)
    for act in (directory.storage.delete, directory.storage.stage):
        with pytest.raises(BadStore, match="leads out of the store"):
            act(FILE)
    with pytest.raises(BadStore, match="leads out of the store"):
        directory.storage.write(FILE, b"")
    assert [file.read_text() for file in outside.rglob("*.parquet")] == ["mine"]


def test_a_pipe_in_the_place_of_a_file_does_not_hold_the_reader(tmp_path):
    import os

    folder = tmp_path / "s"
    tiny.write_tiny_store(folder, index=False).close()
    (folder / "log" / "0000000001.json").unlink()
    os.mkfifo(folder / "log" / "0000000001.json")
    os.mkfifo(folder / "writers" / "0123456789ab")
    with pytest.raises(BadStore, match="not a regular file"):
        featurestore.connect(folder)
    assert Directory.create(tmp_path / "t").storage.dead_writers() == []


NAMES_OF_DICTIONARIES = {
    "tiny/0-res": True,
    "tiny/label=evil": True,
    "tiny/density=0.5": True,
    "tiny/Größe[1]*?": True,
    "tiny": False,
    "a/b/c": False,
    "a/": False,
    "/b": False,
    ".a/b": False,
    "a/..": False,
    "a/b c": False,
    "a/b\u00a0c": False,
    "a/b\u2003c": False,
    "a/b\u200bc": False,
    "a/b\u202ec": False,
    "a/b\x1b[31m": False,
    "a/b\\c": False,
    "a/" + "x" * 201: False,
}


@pytest.mark.parametrize(("name", "good"), NAMES_OF_DICTIONARIES.items())
def test_one_rule_for_names_of_dictionaries(tmp_path, name, good):
    """A name that the rule takes, FeatureId and the schema take too; the writer refuses the others."""
    assert (find_name_problem(name) is None) == good
    assert (find_file_problem(f"features/{name}/00000-0123456789ab-1.parquet") is None) == good
    staging = Staging(Directory.create(tmp_path / "s").storage)
    if good:
        assert featurestore.FeatureId.parse(f"{name}/7") == featurestore.FeatureId(name, 7)
        staging.new_file("features", name, 0, ".parquet")
    else:
        with pytest.raises(BadRequest, match="cannot be the name of a dictionary"):
            staging.new_file("features", name, 0, ".parquet")
    staging.close()


def test_the_log_is_still_json_that_people_can_read(tmp_path):
    tiny.write_tiny_store(tmp_path / "s", index=False).close()
    content = json.loads((tmp_path / "s" / "log" / "0000000001.json").read_text())
    assert content["content"]["add"]


@pytest.mark.parametrize("change", [b'"by":"', b'"rows":1', b'"format":', b'"writer":"'])
def test_a_commit_that_is_not_sealed_is_named(tmp_path, change):
    """One digit or letter of it is another, or it stands under another number."""
    folder = tmp_path / "s"
    tiny.write_tiny_store(folder, index=False).close()
    file = folder / "log" / "0000000001.json"
    content = file.read_bytes()
    at = content.index(change) + len(change)
    file.write_bytes(content[:at] + (b"9" if content[at : at + 1] != b"9" else b"8") + content[at + 1 :])
    with pytest.raises(BadStore, match=r"0000000001\.json"):
        featurestore.connect(folder)
    file.write_bytes(content)
    file.rename(folder / "log" / "0000000003.json")
    with pytest.raises(BadStore, match=r"log/000000000\d\.json"):
        featurestore.connect(folder).dictionaries()


def test_a_store_of_links_to_files_is_read(tmp_path):
    """As a cache of downloads lays a store out: each file is a link to a blob elsewhere."""
    tiny.write_tiny_store(tmp_path / "blobs", index=False).close()
    folder = tmp_path / "s"
    for file in (tmp_path / "blobs").rglob("*"):
        if file.is_file():
            link = folder / file.relative_to(tmp_path / "blobs")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    with featurestore.connect(folder) as store:
        assert store.feature("tiny/0-res/3").examples
        assert store.sql("SELECT count(*) AS n FROM features")["n"].to_pylist() == [48]
        assert store.search("closing", mode="keyword") is not None
