"""Files of a store with changed bytes: each question ends in an answer or in an error of our own."""

import random
import shutil

import pyarrow
import pyarrow.parquet
import pytest

import featurestore
from featurestore import BadStore, FeatureStoreError
from featurestore.storage import numpy_files
from featurestore.storage.directory import Directory
from tests.support import tiny

ID = "tiny/0-res/3"
VIEWS = ("features", "examples", "labels", "scores", "documents", "tokens", "dictionaries", "lists", "votes")
QUESTIONS = {
    "info": lambda s: (s.info(), s.coverage(), s.dictionaries()),
    "pages": lambda s: (s.feature(ID), s.examples([ID, "tiny/1-res/8"]), s.label_history(ID), s.scores(ID)),
    "vectors": lambda s: (s.vector(ID), s.vectors(dictionary="tiny/1-res")),
    "search": lambda s: [s.search("raise", mode=mode, k=40, all=True) for mode in ("keyword", "hybrid")],
    "nearest": lambda s: s.nearest(ID, k=40, all=True, where="density > 0"),
    "sql": lambda s: [s.sql(f"FROM {view}") for view in VIEWS],
    "lists": lambda s: (s.lists(), s.feature_list("some"), s.graphs()),
    "compare": lambda s: (s.compare("tiny/0-res", "tiny/1-res"), s.compare(ID, "tiny/0-res/8")),
    "check": lambda s: s.check(),
    "compact": lambda s: s.compact(),
    "set_label": lambda s: s.set_label("tiny/0-res/5", "said here"),
    "repair": lambda s: s.repair(),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("damage") / "whole"
    with tiny.write_tiny_store(path) as store:
        store.set_label(ID, "said by a person")
        store.save_list("some", [ID])
        store.vote(ID, "said by a person", 1)
    return path


def files_of(folder, *tables):
    """The files of parts that are no index."""
    parts = [p for p in Directory(folder).snapshot().all() if not p.table.endswith("_index")]
    files = [
        Directory(folder).local(part) / name if name else Directory(folder).local(part)
        for part in parts
        if not tables or part.table in tables
        for name in part.files or ("",)
    ]
    return [file for file in files if file.stat().st_size]


def damage(file, files, rng):
    content, kind = file.read_bytes(), rng.choice(["flip", "flip", "cut", "zero", "empty", "longer", "noise", "other"])
    at = rng.randrange(len(content))
    if kind == "flip":
        at = rng.choice([at, max(0, len(content) - 1 - rng.randrange(400))])
        content = content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    content = {
        "flip": content,
        "cut": content[:at],
        "zero": content[:at] + bytes(min(64, len(content) - at)) + content[at + 64 :],
        "empty": b"",
        "longer": content + b"and morePAR1",
        "noise": rng.randbytes(len(content)),
        "other": rng.choice(files).read_bytes(),
    }[kind]
    file.write_bytes(content)
    return kind


def ask_all(whole, tmp_path, seed, count):
    rng = random.Random(seed)
    for turn in range(count):
        folder = shutil.copytree(whole, tmp_path / f"{turn}")
        files = files_of(folder)
        file = rng.choice(files)
        kind = damage(file, files, rng)
        for name, ask in QUESTIONS.items():
            try:
                with featurestore.connect(folder) as store:
                    ask(store)
            except FeatureStoreError:
                continue
            except Exception as exc:
                raise AssertionError((name, file.relative_to(folder), kind)) from exc
        shutil.rmtree(folder)


def test_whatever_is_damaged_is_an_error_of_ours(whole, tmp_path):
    ask_all(whole, tmp_path, seed=1, count=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_hundreds_of_damages(whole, tmp_path, seed):
    ask_all(whole, tmp_path, seed, count=30)


def replace_labels(whole, folder, change):
    """A copy of the store whose part of labels is changed; its path and the part's file."""
    shutil.copytree(whole, folder)
    file = max(files_of(folder, "labels"), key=lambda path: path.stat().st_size)
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(file)), file, compression="zstd")
    return file


def test_a_part_that_would_fill_the_memory_is_not_read(whole, tmp_path):
    def grow(labels):
        texts = pyarrow.array(["A" * 3_000_000] * labels.num_rows)
        return labels.set_column(labels.schema.get_field_index("label"), "label", texts)

    file = replace_labels(whole, tmp_path / "s", grow)
    assert file.stat().st_size < 100_000
    # Kept once as a dictionary's value, a text is read as often as there are rows.
    table = pyarrow.parquet.read_table(file)
    pyarrow.parquet.write_table(table, file, compression="zstd", use_dictionary=False)
    with featurestore.connect(tmp_path / "s") as store, pytest.raises(BadStore, match="would unpack to"):
        store.feature(ID)


def test_a_part_with_other_rows_than_the_log_says_is_not_read(whole, tmp_path):
    file = replace_labels(whole, tmp_path / "s", lambda labels: pyarrow.concat_tables([labels] * 3))
    with featurestore.connect(tmp_path / "s") as store, pytest.raises(BadStore, match="rows, and the log says"):
        store.feature(ID)
    assert file.exists()


@pytest.mark.parametrize(
    "header", [b"{'descr': '<f2', (", b"{'descr': '<f2'", b"f(1)", b"{1: 2}", b"[" * 90, b"'''", b""]
)
def test_a_header_that_is_no_literal(whole, tmp_path, header):
    shutil.copytree(whole, tmp_path / "s")
    (file, *_) = (f for f in files_of(tmp_path / "s", "decoder_vectors") if "0-res" in str(f))
    content = file.read_bytes()
    size = int.from_bytes(content[8:10], "little")
    file.write_bytes(header and content[:10] + header.ljust(size - 1) + b"\n" + content[10 + size :])
    with featurestore.connect(tmp_path / "s") as store, pytest.raises(BadStore):
        store.vector(ID)
    for read in (numpy_files.map_array, numpy_files.read_array):
        with pytest.raises(ValueError):  # noqa: PT011 - the words are NumPy's
            read(file)
