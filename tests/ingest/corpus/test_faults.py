"""What happens to documents that cannot be read."""

import json

import pytest

from featurestore import BadRequest
from ingest.corpus.faults import Faults, find_encoding, is_binary


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(encoding):
    raw = "caf\u00e9".encode(encoding)
    assert find_encoding(raw) == encoding
    assert Faults().decode(raw, "a.txt") == "caf\u00e9"
    assert not is_binary(raw)


@pytest.mark.parametrize("raw", [b"\x89PNG\r\n", b"%PDF-1.7", b"PK\x03\x04", b"a\0b", b"GIF89a"])
def test_files_that_are_no_text(raw):
    assert is_binary(raw)


def test_bytes_that_are_no_text():
    with pytest.raises(BadRequest, match="a.txt is not UTF-8 text: byte 2 is 0xff"):
        Faults("skip").decode(b"ab\xff", "a.txt")
    faults = Faults("replace")
    assert faults.decode(b"ab\xff", "a.txt") == "ab\ufffd"
    assert faults.sentences() == ["replaced broken characters by U+FFFD in 1 document"]


def test_halves_of_pairs():
    with pytest.raises(BadRequest, match=r"character 1 is half of a pair \(U\+D83D\)"):
        Faults().mend("a\ud83d", "row 1")
    faults = Faults("replace")
    assert (faults.mend("a\ud83d", "row 1"), faults.mend("whole", "row 2"), faults.mended) == ("a\ufffd", "whole", 1)


def test_documents_left_out_are_counted_and_listed(tmp_path):
    error = BadRequest("row 1 is no text")
    with pytest.raises(BadRequest, match="--on-error skip leaves such documents out"):
        Faults().reject("row 1", error)
    with pytest.raises(BadRequest, match="on_error: 'ignore' is not one of stop, skip, replace"):
        Faults("ignore")
    file = tmp_path / "rejects.jsonl"
    file.write_text("of the last time")
    faults = Faults("skip", file)
    faults.reject("row 1", error)
    faults.reject("row 2", error)
    assert [json.loads(line)["where"] for line in file.read_text().splitlines()] == ["row 1", "row 2"]
    assert faults.sentences() == [f"left out 2 documents that cannot be read, listed in {file}"]
