"""Cells read where they lie are what Arrow says they are."""

import datetime

import pyarrow
import pytest

import featurestore
from featurestore.tables import arrow_cells, arrow_file, feature_rows

ZONE = pyarrow.timestamp("us", tz="Etc/UTC")
WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
PAIR, PAIRS = {"token": "für", "value": 0.5}, pyarrow.struct({"token": pyarrow.string(), "value": pyarrow.float32()})
COLUMNS = {
    "whole": ([1, 2, -3, 4, 5, 6, 7], pyarrow.int64()),
    "some": ([None, 2, None, 4, 5, None, 7], pyarrow.int32()),
    "none": ([None] * 7, pyarrow.float32()),
    "half": ([0.5, None, 1.5, 2.5, None, 3.5, 4.5], pyarrow.float64()),
    "text": (["a", "", "für", None, "日本", "e", "\U0001f600"], pyarrow.string()),
    "empty": ([""] * 7, pyarrow.string()),
    "code": (["x", "y", "x", None, "z", "x", "y"], pyarrow.dictionary(pyarrow.int32(), pyarrow.string())),
    "when": ([WHEN, None, WHEN, WHEN, WHEN, WHEN, None], ZONE),
    "list": ([[1, 2], [], None, [3], [4, 5, 6], [], [7]], pyarrow.list_(pyarrow.int64())),
    "pair": ([PAIR, None, {"token": None, "value": 2.0}, PAIR, PAIR, None, PAIR], PAIRS),
    "pairs": ([[PAIR, PAIR], [], None, [PAIR], [None, PAIR], [], [PAIR]], pyarrow.list_(PAIRS)),
    "flag": ([True, None, False, True, True, None, False], pyarrow.bool_()),
    "flags": ([[True], [], None, [False, True], [None], [], [True] * 9], pyarrow.list_(pyarrow.bool_())),
    "silent": ([[]] * 7, pyarrow.list_(pyarrow.uint16())),
}
TABLE = pyarrow.table({name: pyarrow.array(values, kind) for name, (values, kind) in COLUMNS.items()})


def written(path, table, batch_rows=3):
    with pyarrow.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return path


@pytest.fixture(params=["mapped", "open", "bytes"])
def source(request, tmp_path):
    path = written(tmp_path / "rows.arrow", TABLE)
    if request.param == "mapped":
        yield path
    elif request.param == "bytes":
        yield pyarrow.py_buffer(path.read_bytes())
    else:
        with path.open("rb") as file:
            yield file


def test_every_run_of_rows_is_what_arrow_says(source):
    read = arrow_file.Cells(source)
    columns, _ = arrow_cells.columns_of(read.sample, -1)
    assert read.count == 3
    assert list(columns) == TABLE.column_names
    for number, batch in enumerate(TABLE.to_batches(max_chunksize=3)):
        found = read.batch(number)
        assert found.rows == batch.num_rows
        for name, column in columns.items():
            for low in range(batch.num_rows):
                for high in range(low, batch.num_rows + 1):
                    expected = batch.column(name)[low:high].to_pylist()
                    assert column.read(found, low, high) == expected, (name, low, high)


def test_numbers_and_lists_are_views(source):
    read = arrow_file.Cells(source)
    columns, _ = arrow_cells.columns_of(read.sample, -1)
    assert columns["whole"].numbers(read.batch(1), 1, 3).tolist() == [5, 6]
    counts, values = columns["list"].lists(read.batch(1), 1, 3)
    assert counts.tolist() == [3, 0]
    assert values.tolist() == [4, 5, 6]


def test_a_file_of_no_rows_has_its_columns(tmp_path):
    read = arrow_file.Cells(written(tmp_path / "rows.arrow", TABLE.slice(0, 0)))
    assert list(arrow_cells.columns_of(read.sample, -1)[0]) == TABLE.column_names


def test_a_row_beyond_the_last_is_told(tmp_path):
    rows = feature_rows.FeatureRows(written(tmp_path / "rows.arrow", TABLE, feature_rows.BATCH_ROWS))
    assert rows.row(6, ("text", "pairs")) == {"text": "\U0001f600", "pairs": [PAIR]}
    for number in (7, feature_rows.BATCH_ROWS):
        with pytest.raises(featurestore.BadStore, match=rf"rows\.arrow has no row {number}"):
            rows.row(number)


def test_what_is_no_arrow_file_is_told(tmp_path):
    path = tmp_path / "rows.arrow"
    path.write_bytes(b"ARROW1" + bytes(100))
    with pytest.raises(featurestore.BadStore, match=r"rows\.arrow cannot be read"):
        arrow_file.Cells(path)


@pytest.mark.parametrize(
    ("kind", "values", "column"),
    [
        (pyarrow.date32(), [1, 2], "odd"),
        (pyarrow.large_string(), ["a", "b"], "odd"),
        (pyarrow.binary(), [b"a", b"b"], "odd"),
        (pyarrow.null(), [None, None], "odd"),
        (pyarrow.timestamp("ns"), [1, 2], "odd"),
        (pyarrow.list_(pyarrow.float32(), 1), [[1.0], [2.0]], "odd"),
        (pyarrow.list_(pyarrow.date32()), [[1], []], r"odd\[\]"),
        (pyarrow.list_(pyarrow.struct({"inner": pyarrow.date32()})), [[], []], r"odd\[\]\.inner"),
        (pyarrow.dictionary(pyarrow.int8(), pyarrow.int64()), [1, 2], "odd"),
    ],
)
@pytest.mark.parametrize("rows", [2, 0])
def test_a_type_that_is_not_known_is_refused_by_name(tmp_path, kind, values, column, rows):
    table = pyarrow.table({"whole": [1, 2], "odd": pyarrow.array(values, kind)}).slice(0, rows)
    path = written(tmp_path / "rows.arrow", table)
    words = rf"rows\.arrow: column '{column}' is of type .+, which pages cannot read; run `featurestore check --repair`"
    for source in (path, path.open("rb")):
        if source is path:
            with pytest.raises(featurestore.BadStore, match=words):
                arrow_file.Cells(source)
        else:
            with source, pytest.raises(featurestore.BadStore, match=f"column '{column}' is of type"):
                arrow_file.Cells(source)


@pytest.mark.parametrize(("codec", "name"), [("lz4", "LZ4"), ("zstd", "ZSTD")])
def test_a_compressed_file_is_refused_and_not_read_as_other_numbers(tmp_path, codec, name):
    path = tmp_path / "rows.arrow"
    options = pyarrow.ipc.IpcWriteOptions(compression=codec)
    with pyarrow.ipc.new_file(str(path), TABLE.schema, options=options) as writer:
        writer.write_table(TABLE, max_chunksize=3)
    with pytest.raises(featurestore.BadStore, match=rf"rows\.arrow: its batches are compressed with {name}"):
        arrow_file.Cells(path)
    # Over a network Arrow itself reads a batch, and gives it uncompressed.
    with path.open("rb") as file:
        read = arrow_file.Cells(file)
        columns, _ = arrow_cells.columns_of(read.sample, -1)
        assert columns["whole"].read(read.batch(0), 0, 3) == [1, 2, -3]
