"""Activations read from JSON as columns: the same values as a plain parser gives, or nothing at all."""

import gzip
import json

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.formats import files
from ingest.formats.readers.neuronpedia_rows import SCHEMAS
from ingest.formats.records import activation_lines, short_texts
from ingest.formats.rejects import Rejects

RECORD = {"modelId": "m", "layer": "8-s", "index": "3", "tokens": ["a", " b"], "values": [0, 1.5], "binMin": -1}
TEXTS = st.text(st.sampled_from('ab",[]\\\n {}:\u0120\U0001f600\u00e9\0'), max_size=5)
EXAMPLES = st.lists(st.tuples(TEXTS, st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=6)


def lines(*records, **options):
    return "".join(json.dumps(record, **options) + "\n" for record in records).encode()


def rows(content, schema=SCHEMAS[0]):
    table = activation_lines.parse(content, schema)
    return None if table is None else table.to_pylist()


@settings(max_examples=60, deadline=None)
@given(st.lists(EXAMPLES, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_rows_are_those_of_a_plain_parser(windows, ascii, tight):
    records = [
        RECORD | {"tokens": [token for token, _ in pairs], "values": [value for _, value in pairs]} for pairs in windows
    ]
    separators = (",", ":") if tight else (", ", ": ")
    read = rows(lines(*records, ensure_ascii=ascii, separators=separators))
    assert [row["tokens"] for row in read] == [record["tokens"] for record in records]
    for row, record in zip(read, records, strict=True):
        assert numpy.array_equal(numpy.float32(row["values"]), numpy.float32(record["values"]))
        assert (row["modelId"], row["index"], row["binMin"], row["binMax"]) == ("m", "3", -1, None)


def test_numbers_of_features_are_texts_or_numbers():
    assert rows(lines(RECORD | {"index": 3}), SCHEMAS[1])[0]["index"] == 3
    assert rows(lines(RECORD | {"index": 3}), SCHEMAS[0]) is None
    assert rows(lines(RECORD), SCHEMAS[1]) is None


def test_what_few_records_have_is_kept():
    more = {"dfaValues": [0.5, 0.25], "dfaTargetIndex": 1, "logitContributions": "x", "unknown": {"a": [1]}}
    assert rows(lines(RECORD, RECORD | more))[1]["dfaValues"] == [0.5, 0.25]


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": []},
        {"tokens": None},
        {"tokens": ["a", None]},
        {"tokens": ["a", 1]},
        {"tokens": [["a"], "b"]},
        {"tokens": {"a": "b"}},
        {"tokens": "a b"},
        {"tokens": ["a"]},
        {"tokens": ["a", "\ud800"]},
        {"values": []},
        {"values": [1, None]},
        {"values": [1, "2"]},
        {"values": [1, float("nan")]},
        {"values": [1, float("inf")]},
        {"values": [[1], 2]},
        {"values": [1, True]},
        {"values": {"a": 1}},
        {"values": [1e300, 2]},
        {"index": None, "layer": 3},
    ],
    ids=str,
)
def test_what_is_odd_is_left_to_slower_readers(change):
    assert rows(lines(RECORD, RECORD | change, RECORD)) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"{\n", lines(RECORD) + b"\n", lines(RECORD)[:-10] + b"\n", b"[]\n"])
def test_what_is_no_line_of_json_is_left_too(content):
    assert rows(content) is None


def test_tokens_are_texts_of_utf8():
    assert rows(lines(RECORD).replace(b'" b"', b'"\xff"')) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.sampled_from("abc"), max_size=30), min_size=1, max_size=40))
def test_texts_of_any_length_are_numbered_as_a_dictionary_does(texts):
    content = '"'.join(["", *texts, ""]).encode()
    quotes = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == ord('"'))
    codes, first = short_texts.Texts(content).encode(quotes[:-1] + 1, numpy.diff(quotes) - 1)
    known = list(dict.fromkeys(texts))
    assert codes.tolist() == [known.index(text) for text in texts]
    assert first.tolist() == [texts.index(text) for text in known]


def test_a_text_longer_than_a_token_may_be_is_left_to_others():
    long = "x" * 4097
    assert short_texts.Texts(long.encode()).encode(numpy.array([0]), numpy.array([4097])) is None
    assert rows(lines(RECORD | {"tokens": [long, "b"]})) is None


@pytest.mark.parametrize("value", ["0e5", "-0.0", "1e-3", "-2.5E2", "0.00", "10"])
def test_numbers_are_read_however_they_are_written(value):
    content = lines(RECORD | {"values": [0.5, 12345]}).replace(b"12345", value.encode())
    assert rows(content)[0]["values"] == [0.5, numpy.float32(value)]


def test_a_number_beyond_float32_is_left_to_others():
    assert rows(lines(RECORD | {"values": [0.5, 12345]}).replace(b"12345", b"1e300")) is None


def test_lines_before_damage_are_read(tmp_path):
    path = tmp_path / "batch-0.jsonl.gz"
    records = lines(*(RECORD | {"index": str(number), "values": [0, number / 7]} for number in range(2000)))
    packed = gzip.compress(records)
    path.write_bytes(packed[: len(packed) // 2])
    rejects = Rejects()
    (read,) = files.read_lines(path, rejects)
    assert records.startswith(read.content) and 500 < read.content.count(b"\n") < 1500
    assert dict(rejects.counts) == {"the file ends inside its compressed data": 1}
