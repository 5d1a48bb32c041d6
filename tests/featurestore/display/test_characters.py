"""Characters of several tokens: one text, one mark, bytes where there is no text."""

import pytest

from featurestore.display.characters import find_character, find_first, join_pieces, merge_activations, show_bytes
from featurestore.display.tokens import split_characters

QUOTE = "\u2019".encode()  # three bytes


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (b"ab", "ab"),
        (b"\xe2\x80", "<0xE2><0x80>"),
        (b"a\xe2b", "a<0xE2>b"),
        ("é".encode() + b"\x80", "é<0x80>"),
        (b"", ""),
    ],
)
def test_bytes_that_are_no_text(piece, text):
    assert show_bytes(piece) == text


def test_a_character_is_on_its_first_token():
    pieces = [b"it", QUOTE[:1], QUOTE[1:2], QUOTE[2:], b"s"]
    assert join_pieces(pieces) == ("it", "\u2019", "", "", "s")
    assert [find_character(pieces, at) for at in range(5)] == [(0, 1), (1, 4), (1, 4), (1, 4), (4, 5)]
    assert join_pieces([QUOTE[1:], b"s", QUOTE[:2]]) == ("<0x80><0x99>", "s", "<0xE2><0x80>")


def test_characters_that_overlap():
    data = "😀😁😂".encode()
    pieces = [data[:2], data[2:5], data[5:7], data[7:9], data[9:]]
    assert "".join(join_pieces(pieces)) == "😀😁😂"


def test_the_largest_activation_marks_the_whole_character():
    tokens = ["it", "\u2019", "", "", "s"]
    assert merge_activations(tokens, [0.5, 1.0, 0.0, -3.0, 0.0]) == [0.5, -3.0, 0.0, 0.0, 0.0]
    assert find_first(tokens, 3) == 1 and find_first(tokens, 4) == 4
    runs = split_characters(tokens, [0.0, 0.0, 0.0, 2.0, 0.0], 2.0, peak=3)
    marked = next(run for run in runs if run.peak)
    assert (marked.parts[0].text, marked.shade) == ("\u2019", 10)
    assert "".join(part.text for run in runs for part in run.parts) == "it\u2019s"
