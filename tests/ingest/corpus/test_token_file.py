"""Tokens written to a temporary file and mapped from it."""

import numpy
import pytest

from ingest.corpus import token_file


def test_tokens_come_back_in_the_order_they_were_written(monkeypatch):
    monkeypatch.setattr(token_file, "BLOCK", 3)
    with token_file.TokenFile() as file:
        file.write(numpy.arange(7, dtype=numpy.uint16))
        file.write(numpy.array([70_000], dtype=numpy.int64))
        tokens = file.map()
    assert tokens.dtype == numpy.int32
    assert tokens.tolist() == [0, 1, 2, 3, 4, 5, 6, 70_000]  # also after the file is closed


def test_a_mapping_is_read_only():
    with token_file.TokenFile() as file:
        file.write(numpy.arange(2))
        tokens = file.map()
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_blocks_are_little_endian_int32(monkeypatch):
    monkeypatch.setattr(token_file, "BLOCK", 2)
    assert list(token_file.blocks(numpy.array([1, 2, 256]))) == [b"\1\0\0\0\2\0\0\0", b"\0\1\0\0"]
