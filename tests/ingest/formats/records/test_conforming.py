"""Tables of other tools, brought to the types that are read of them or refused."""

import pyarrow
import pytest

from featurestore import BadRequest
from ingest.formats.records.conforming import add_columns, conform

LISTS = pyarrow.list_(pyarrow.float64())


@pytest.mark.parametrize(
    ("given", "wanted", "values"),
    [
        (pyarrow.array([1, 2], pyarrow.uint8()), pyarrow.float64(), [1.0, 2.0]),
        (pyarrow.array([1, None], pyarrow.int8()), pyarrow.int64(), [1, None]),
        (pyarrow.nulls(2), pyarrow.int64(), [None, None]),
        (pyarrow.array([[1], []], pyarrow.large_list(pyarrow.int32())), LISTS, [[1.0], []]),
        (pyarrow.array([[1.5], [2.5]], pyarrow.list_(pyarrow.float32(), 1)), LISTS, [[1.5], [2.5]]),
        (pyarrow.array([[], []]), LISTS, [[], []]),
        (pyarrow.array(["a", "b"]).dictionary_encode(), pyarrow.string(), ["a", "b"]),
    ],
)
def test_types_of_one_kind_become_the_wanted_one(given, wanted, values):
    table = conform(pyarrow.table({"x": given, "other": [0, 0]}), {"x": wanted}, "file")
    assert table.schema == pyarrow.schema({"x": wanted})
    assert table["x"].to_pylist() == values


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (pyarrow.array(["1"]), pyarrow.int64()),
        (pyarrow.array([1.5]), pyarrow.int64()),
        (pyarrow.array([True]), pyarrow.float64()),
        (pyarrow.array([1.5]), LISTS),
        (pyarrow.array([["1"]]), LISTS),
        (pyarrow.array([b"a"]), pyarrow.string()),
        (pyarrow.array([{"a": 1}]), LISTS),
    ],
)
def test_types_of_other_kinds_are_refused(given, wanted):
    with pytest.raises(BadRequest, match=r"file is no table of a dashboard: its column x is .*, not "):
        conform(pyarrow.table({"x": given}), {"x": wanted}, "file")


def test_a_number_beyond_its_type_is_refused():
    with pytest.raises(BadRequest, match="file: its column x has a value that is no int32"):
        conform(pyarrow.table({"x": [1 << 40]}), {"x": pyarrow.int32()}, "file")


def test_what_is_optional_may_lack():
    table = pyarrow.table({"x": [1]})
    wanted = {"x": pyarrow.int64(), "y": pyarrow.int64()}
    assert conform(table, wanted, "file", optional=True).column_names == ["x"]
    with pytest.raises(BadRequest, match="it has no column y"):
        conform(table, wanted, "file")


def test_columns_are_put_beside_others():
    table = add_columns(pyarrow.table({"x": [1]}), pyarrow.table({"y": [2]}))
    assert table.to_pylist() == [{"x": 1, "y": 2}]
