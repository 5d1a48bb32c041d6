import numpy
import pyarrow
import pytest

from featurestore.display.float32 import list_rows, round_column, round_float32, round_floats32

NUMBERS = [0.1, -2.5, 4.613356, 1e-45, 3.4028235e38, 16777216.0, 0.0, 1 / 3, 134217728.0]


@pytest.mark.parametrize("count", [3, 9, 40])
def test_numbers_have_the_digits_of_32_bits_and_read_back_as_the_same(count):
    numbers = numpy.resize(numpy.array(NUMBERS, numpy.float32), count)
    rounded = round_floats32(numbers)
    assert rounded == [round_float32(number) for number in numbers.tolist()]
    assert (numpy.array(rounded, numpy.float32) == numbers).all()
    assert all(len(repr(number)) <= 14 for number in rounded)
    assert round_float32(float(numpy.float32(0.1))) == 0.1 and round_float32(None) is None


def test_arrays_are_converted_as_single_numbers_are():
    """Numbers of every size, among them those of a few digits and those between two decimals."""
    rng = numpy.random.default_rng(1)
    kinds = [rng.normal(size=20_000), rng.random(20_000) * 10 ** rng.uniform(-9, 9, 20_000)]
    kinds += [numpy.round(rng.random(5_000), digits) * 10**power for digits in (1, 3, 5) for power in (-3, 0, 4)]
    numbers = numpy.concatenate([*kinds, numpy.arange(2_000) / 2, 2.0 ** numpy.arange(-40, 40)]).astype(numpy.float32)
    numbers = numpy.concatenate([numbers, -numbers, [0.0, -0.0]]).astype(numpy.float32)
    assert round_floats32(numbers) == [float(str(number)) for number in numbers]


def test_nested_columns_keep_their_absent_values():
    type_ = pyarrow.list_(pyarrow.struct([("a", pyarrow.float32()), ("b", pyarrow.large_list(pyarrow.float32()))]))
    rows = [[{"a": 0.5, "b": [0.25, None]}, None], None, [], [{"a": None, "b": None}], [{"a": 2.0, "b": []}]]
    for column in (
        pyarrow.array(rows, type_),
        pyarrow.array([None, *rows], type_)[1:],
        pyarrow.chunked_array([rows], type_),
    ):
        assert round_column(column).to_pylist() == rows
        assert round_column(column[1:4]).to_pylist() == rows[1:4]


def test_what_is_no_number_stays():
    assert numpy.isnan(round_float32(float("nan"))) and round_float32(float("-inf")) == float("-inf")
    assert round_floats32([]) == []


def test_random_bits_read_back():
    bits = numpy.random.default_rng(0).integers(0, 2**32, 5_000, dtype=numpy.uint32).view(numpy.float32)
    bits = bits[numpy.isfinite(bits)]
    assert (numpy.array(round_floats32(bits), numpy.float32) == bits).all()
    assert round_floats32(bits)[:200] == [float(str(number)) for number in bits[:200]]


def test_columns_are_converted_inside_lists_and_structs_too():
    pair = pyarrow.struct([("token", pyarrow.string()), ("value", pyarrow.float32())])
    table = pyarrow.table(
        {
            "n": pyarrow.array([1, 2], pyarrow.int64()),
            "double": pyarrow.array([0.1, 1 / 3]),
            "one": pyarrow.array([0.1, None], pyarrow.float32()),
            "list": pyarrow.array([[0.1, None], None], pyarrow.list_(pyarrow.float32())),
            "fixed": pyarrow.array([[0.1, 0.2], [0.3, 0.4]], pyarrow.list_(pyarrow.float32(), 2)),
            "structs": pyarrow.array([[{"token": "a", "value": 0.7}], []], pyarrow.list_(pair)),
            "map": pyarrow.array([[("a", 0.7)], []], pyarrow.map_(pyarrow.string(), pyarrow.float32())),
        }
    )
    assert round_column(table["double"]) is not None and round_column(table["n"]).type == pyarrow.int64()
    assert list_rows(table) == [
        {
            "n": 1,
            "double": 0.1,
            "one": 0.1,
            "list": [0.1, None],
            "fixed": [0.1, 0.2],
            "structs": [{"token": "a", "value": 0.7}],
            "map": [("a", 0.7)],
        },
        {
            "n": 2,
            "double": 1 / 3,
            "one": None,
            "list": None,
            "fixed": [0.3, 0.4],
            "structs": [],
            "map": [],
        },
    ]
