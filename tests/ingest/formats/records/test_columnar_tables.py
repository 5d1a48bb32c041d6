"""Tables of columnar bundles, opened and checked."""

import pyarrow
import pyarrow.parquet
import pytest

from featurestore import BadRequest
from ingest.formats.records.columnar_tables import read_batches, read_table

STATISTICS = {"feature_index": [2, 0, 1], "max": [1.0, 2.0, 3.0], "positive_count": [1, 2, 3], "note": ["a", "b", "c"]}


def write(path, table):
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        with pyarrow.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    return path


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_table_has_what_is_read_of_it_in_the_order_of_features(tmp_path, form):
    table = read_table(write(tmp_path / f"t.{form}", pyarrow.table(STATISTICS)), "feature_statistics", 3)
    assert table.to_pydict() == {"feature_index": [0, 1, 2], "max": [2.0, 3.0, 1.0], "positive_count": [2, 3, 1]}


@pytest.mark.parametrize(
    ("index", "message"),
    [([0, 0, 1], "has feature 0 twice"), ([0, -1, 1], "feature_index is -1 in a row"), ([0, None, 1], "is None in a")],
)
def test_features_that_are_none_are_refused(tmp_path, index, message):
    path = write(tmp_path / "t.parquet", pyarrow.table(STATISTICS | {"feature_index": index}))
    with pytest.raises(BadRequest, match=message):
        read_table(path, "feature_statistics")


def test_a_table_without_rows_is_refused(tmp_path):
    path = write(tmp_path / "t.arrow", pyarrow.table(STATISTICS).slice(0, 0))
    with pytest.raises(BadRequest, match="has no rows|has 0 rows"):
        read_table(path, "feature_statistics", 3)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_texts_that_are_no_utf_8_are_refused(tmp_path, form):
    text = pyarrow.Array.from_buffers(
        pyarrow.string(), 1, [None, pyarrow.array([0, 2], pyarrow.int32()).buffers()[1], pyarrow.py_buffer(b"\xff\xfe")]
    )
    path = write(tmp_path / f"t.{form}", pyarrow.table({"x": text}))
    with pytest.raises(BadRequest, match="cannot be read"):
        list(read_batches(path))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_file_cut_short_is_refused(tmp_path, form):
    path = write(tmp_path / f"t.{form}", pyarrow.table(STATISTICS))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadRequest, match="cannot be read: .*fetch it again"):
        list(read_batches(path))
    path.unlink()
    with pytest.raises(BadRequest, match="cannot be read"):
        list(read_batches(path))
