"""A matrix in parts is the same as the matrix as a whole, in memory and in a file."""

import io

import numpy
import pytest

from featurestore import BadRequest
from featurestore.values import matrix
from featurestore.values.matrix import Matrix, check_vectors, read_stream

WHOLE = numpy.arange(35, dtype=numpy.float16).reshape(7, 5)
PARTS = [WHOLE[:3], WHOLE[3:3], WHOLE[3:4], WHOLE[4:]]


@pytest.mark.parametrize("large", [0, matrix.LARGE])
def test_parts_are_the_whole(monkeypatch, large):
    monkeypatch.setattr(matrix, "LARGE", large)
    parted = Matrix(PARTS)
    assert (parted.shape, parted.dtype, parted.nbytes) == ((7, 5), numpy.float16, 70)
    numpy.testing.assert_array_equal(parted.to_numpy(), WHOLE)
    assert isinstance(parted.to_numpy(), numpy.memmap) == (not large)
    for first in range(7):
        for last in range(first + 1, 8):
            numpy.testing.assert_array_equal(parted.rows(first, last), WHOLE[first:last])


def test_one_part_is_not_copied():
    assert Matrix([WHOLE]).to_numpy() is WHOLE
    column = Matrix([WHOLE]).to_arrow("m/s")["vector"]
    assert column.chunk(0).flatten().buffers()[1].address == WHOLE.ctypes.data


def test_every_other_row_as_a_table():
    table = Matrix([WHOLE[::2]]).to_arrow("m/s")
    assert table["id"].to_pylist() == [f"m/s/{n}" for n in range(4)] and table["feature"].to_pylist() == [0, 1, 2, 3]
    assert table["vector"].to_pylist() == WHOLE[::2].tolist()


@pytest.mark.parametrize("large", [0, matrix.LARGE])
def test_a_stream_is_read(monkeypatch, large):
    monkeypatch.setattr(matrix, "LARGE", large)
    file = io.BytesIO()
    numpy.save(file, WHOLE)
    numpy.testing.assert_array_equal(read_stream(io.BytesIO(file.getvalue())), WHOLE)
    with pytest.raises(EOFError, match="69 of 70 bytes"):
        read_stream(io.BytesIO(file.getvalue()[:-1]))


@pytest.mark.parametrize("strange", [WHOLE[0], WHOLE.astype(int), numpy.asfortranarray(WHOLE)])
def test_a_stream_of_something_else(strange):
    file = io.BytesIO()
    numpy.save(file, strange)
    with pytest.raises(ValueError, match="a matrix of shape"):
        read_stream(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((None, None, False, None), "either ids or dictionary"),
        ((["a"], "m/s", False, None), "either ids or dictionary"),
        ((["a"], None, True, None), "encoder: it goes with dictionary"),
        ((["a"], None, False, 3), "target: it goes with dictionary"),
        ((None, "m/s", True, 3), "encoder vectors write to no layer"),
    ],
)
def test_what_is_not_asked_together(asked, words):
    with pytest.raises(BadRequest, match=words):
        check_vectors(*asked)
