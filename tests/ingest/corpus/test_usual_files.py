"""Files as people have them: CSV, JSON arrays, ShareGPT, padding, byte order marks, pictures, broken bytes."""

import csv
import json

import numpy
import pyarrow
import pytest
from pyarrow import parquet

from featurestore import BadRequest
from ingest.corpus.faults import Faults
from ingest.corpus.sources import documents

USER = {"role": "user", "content": "hi"}


def contents(source, faults=None, **more):
    return [document.content for document in documents([str(source)], faults, **more)]


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_tables_of_text(tmp_path, suffix, delimiter):
    file = tmp_path / f"rows.{suffix}"
    rows = [["id", "text", "note"], ["1", 'a "quoted"\nline', "x"], ["2", "café, c\td", "y"]]
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    assert contents(file) == ['a "quoted"\nline', "café, c\td"]
    assert contents(f"{file}:note") == ["x", "y"]
    with pytest.raises(BadRequest, match="no column 'body'; there are: id, text, note"):
        contents(f"{file}:body")


def test_messages_and_ids_in_a_csv(tmp_path):
    file = tmp_path / "rows.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["messages"], [json.dumps([USER])]])
    assert contents(file) == [[USER]]
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["input_ids", "attention_mask"], ["[5, 6, 7]", "[0, 1, 1]"]])
    assert contents(f"{file}:input_ids:model")[0].ids.tolist() == [6, 7]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([{"text": "a"}, {"text": "b"}], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        ({"text": "a"}, ["a"]),
        ([{"messages": [USER]}], [[USER]]),
        ([[USER]], [[USER]]),
    ],
)
def test_json_files(tmp_path, value, wanted):
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(value, indent=1))
    assert contents(file) == wanted


def test_json_lines_under_another_name(tmp_path):
    (tmp_path / "rows.json").write_text('{"text": "a"}\n{"text": "b"}\n')
    assert contents(tmp_path / "rows.json") == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (
            {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yes"}]},
            [USER, {"role": "assistant", "content": "yes"}],
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}]},
            [USER],
        ),
        ({"messages": [{"role": "user", "content": ["h", "i"]}]}, [USER]),
        (
            {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"name": "f"}], "name": None}]},
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}],
        ),
    ],
)
def test_messages_in_their_usual_forms(tmp_path, row, wanted):
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    assert contents(tmp_path / "x.jsonl") == [wanted]


def test_parts_that_are_no_text_are_refused(tmp_path):
    row = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(BadRequest, match="part of type 'image_url', which is no text"):
        contents(tmp_path / "x.jsonl")


def test_masks_hide_padding_on_both_sides(tmp_path):
    rows = [
        {"input_ids": [9, 9, 5, 6], "attention_mask": [0, 0, 1, 1]},
        {"input_ids": [5, 9], "attention_mask": [1, 0]},
    ]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    with pyarrow.OSFile(str(tmp_path / "x.arrow"), "wb") as sink:
        table = pyarrow.Table.from_pylist(rows)
        with pyarrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    for suffix in ("jsonl", "parquet", "arrow"):
        found = contents(f"{tmp_path / 'x'}.{suffix}:input_ids:model")
        assert [tokens.ids.tolist() for tokens in found] == [[5, 6], [5]]
    (tmp_path / "x.jsonl").write_text(json.dumps({"input_ids": [1, 2], "attention_mask": [1]}) + "\n")
    with pytest.raises(BadRequest, match="attention_mask has 1 numbers, but there are 2 tokens"):
        contents(f"{tmp_path / 'x.jsonl'}:input_ids:model")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("café", encoding=encoding)
    (tmp_path / "b.jsonl").write_text('{"text": "café"}\n{"text": "two"}\n', encoding=encoding)
    (tmp_path / "c.csv").write_text("text,id\ncafé,1\n", encoding=encoding)
    (tmp_path / "d.json").write_text('[{"text": "café"}]', encoding=encoding)
    assert contents(tmp_path) == ["café", "café", "two", "café", "café"]


def test_pictures_in_a_directory_are_left_out_and_counted(tmp_path):
    (tmp_path / "a.md").write_text("text")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "c.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    faults = Faults()
    assert contents(tmp_path, faults) == ["text"]
    assert faults.sentences() == ["left out 2 files that hold no text: b.png, c.jpg"]
    with pytest.raises(BadRequest, match="is not text"):
        contents(tmp_path / "b.png")


def test_a_pattern_selects_files_of_a_directory(tmp_path):
    (tmp_path / "inner").mkdir()
    for name in ("a.md", "a.txt", "inner/b.md"):
        (tmp_path / name).write_text(name)
    assert contents(tmp_path, pattern="**/*.md") == ["a.md", "inner/b.md"]
    with pytest.raises(BadRequest, match=r"no file of the pattern \*\.rst"):
        contents(tmp_path, pattern="*.rst")


BROKEN = {
    "x.jsonl": b'{"text": "good"}\n{"text": \n{"text": "caf\xe9"}\n{"text": "half \\ud83d"}\n',
    "x.csv": b"text\ngood\ncaf\xe9\n",
    "x.json": json.dumps([{"text": "good"}, {"other": 1}]).encode(),
}


@pytest.mark.parametrize(
    ("name", "left", "mended"),
    [
        ("x.jsonl", ["good"], ["good", "caf\ufffd"]),
        ("x.csv", ["good"], ["good", "caf\ufffd"]),
        ("x.json", ["good"], ["good"]),
    ],
)
def test_broken_rows(tmp_path, name, left, mended):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(BadRequest, match="--on-error skip leaves such documents out"):
        contents(tmp_path / name)
    rejects = tmp_path / "rejects.jsonl"
    faults = Faults("skip", rejects)
    assert [text for text in contents(tmp_path / name, faults) if "half" not in text] == left
    assert faults.rejected == len(rejects.read_text().splitlines()) > 0
    faults = Faults("replace")
    assert [text for text in contents(tmp_path / name, faults) if "half" not in text] == mended
    assert faults.mended == (name != "x.json")


def test_bytes_that_are_no_utf_8(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadRequest, match="byte 3 is 0xe9"):
        contents(tmp_path / "a.txt")
    assert contents(tmp_path / "a.txt", Faults("skip")) == []
    assert contents(tmp_path / "a.txt", Faults("replace")) == ["caf\ufffd"]


def test_rows_of_an_array(tmp_path):
    numpy.save(tmp_path / "x.npy", numpy.array([[1, 2]]))
    assert contents(f"{tmp_path / 'x.npy'}:model")[0].ids.tolist() == [1, 2]
