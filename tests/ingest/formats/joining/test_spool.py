"""What was read is kept beside the store, and read again for the features that are wanted alone."""

import numpy
import pyarrow
import pytest

from ingest.formats.batches import Batch, Effects, Windows
from ingest.formats.joining.example_rows import SHARD_FEATURES, collect_corpus, list_shards, make_example_rows
from ingest.formats.joining.spool import DictionarySpool, Reach, Spool, keep_within, to_table


def windows_of(features):
    count = len(features)
    return Windows(
        feature=numpy.array(features),
        length=numpy.full(count, 2),
        tokens=pyarrow.array([f"t{feature}" for feature in features for _ in range(2)]),
        values=numpy.tile(numpy.array([0, 1], numpy.float32), count),
        position=numpy.full(count, -1),
        band=["top"] * count,
        low=numpy.full(count, numpy.nan),
        high=numpy.full(count, numpy.nan),
    )


@pytest.fixture
def spool(tmp_path):
    folders = []
    for number, features in enumerate([[0, 1], [70_000, 2], [70_001, 200_000]]):
        writer = Spool(tmp_path).begin(tmp_path / f"file{number}")
        rows = [{"feature": feature, "density": 0.5} for feature in features]
        writer.add(Batch("m/s", features=rows, windows=windows_of(features)))
        writer.end(f"file{number}", {})
        folders.append(tmp_path / f"file{number}" / "m@s")
    return DictionarySpool(folders)


def test_rows_are_read_within_a_reach(spool):
    assert spool.table("features")["feature"].to_pylist() == [0, 1, 70_000, 2, 70_001, 200_000]
    assert spool.table("features", Reach(2, 70_000))["feature"].to_pylist() == [70_000, 2]
    assert spool.table("features", Reach(3, 60_000)) is None
    assert spool.table("labels") is None
    assert spool.find_largest() == 200_000
    assert spool.window_reaches() == [Reach(0, 1), Reach(2, 70_000), Reach(70_001, 200_000)]


def test_tables_spooled_by_an_earlier_version_are_read(spool, tmp_path):
    for path in tmp_path.rglob("*.arrow"):
        with pyarrow.ipc.open_file(path) as file:
            table = file.read_all().replace_schema_metadata(None)
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    assert spool.find_largest() == 200_000
    assert spool.table("features", Reach(2, 70_000))["feature"].to_pylist() == [70_000, 2]
    assert spool.window_reaches() == [Reach(0, 1), Reach(2, 70_000), Reach(70_001, 200_000)]


def test_examples_of_a_shard_are_those_of_its_features(spool, tmp_path):
    corpus = collect_corpus(spool, tmp_path)
    shards = {shard: make_example_rows(spool, corpus, "m/s", shard) for shard in list_shards(spool)}
    features = {shard: rows["feature"].to_pylist() for shard, rows in shards.items()}
    assert features == {0: [0, 1, 2], 1: [70_000, 70_001], 2: [], 3: [200_000]}
    assert features[3][0] // SHARD_FEATURES == 3
    texts = [corpus.pieces[token] for token in corpus.stream.reshape(-1, 2)[shards[1]["document"].to_pylist(), 0]]
    assert texts == [b"t70000", b"t70001"]


def test_effects_are_lists_of_tokens_and_values():
    rows = [{"top": Effects([" a", " b"], [2, 1.5])}, {"top": None}, {"top": Effects([], [])}, {}]
    assert to_table(rows)["top"].to_pylist() == [
        [{"token": " a", "value": 2.0}, {"token": " b", "value": 1.5}],
        None,
        [],
        None,
    ]


def test_rows_within_a_reach_are_kept():
    table = pyarrow.table({"feature": [5, 1, 9]})
    assert keep_within(table, Reach(1, 5))["feature"].to_pylist() == [5, 1]
    assert keep_within(table, Reach(0, 9)) is table
