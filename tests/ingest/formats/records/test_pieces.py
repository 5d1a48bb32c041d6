"""Tokens as tools write them, and the bytes they stand for."""

import pytest

from ingest.formats.records.pieces import find_style, to_bytes


@pytest.mark.parametrize(
    ("pieces", "style", "texts"),
    [
        (["ĠGate", "Ã©", "Ċ"], "bytes", [" Gate", "é", "\n"]),
        ([" Gate", "âĢĻ", "s\n"], "cleaned", [" Gate", "’", "s\n"]),
        (["▁Gate", "é"], "sentencepiece", [" Gate", "é"]),
        ([" Gate", "mātā", "é"], "plain", [" Gate", "mātā", "é"]),
    ],
)
def test_every_way_of_writing_gives_the_same_bytes(pieces, style, texts):
    assert find_style(pieces) == style
    assert [to_bytes(piece, style) for piece in pieces] == [text.encode() for text in texts]
