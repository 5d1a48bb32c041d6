"""Activations from lines of JSON, without a Python value for each token: two thirds of what an import reads is these.

msgspec checks the syntax of each line and says where its lists of tokens and of values are; Arrow and NumPy read these
lists together. What is not as tools write it is left to slower readers, which can say what is wrong.
"""

from __future__ import annotations

import io
import operator
from typing import NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.csv

QUOTE, COMMA = ord('"'), ord(",")
# What may stand between two tokens, from the end of one to the begin of the next: in a list, and between two lists.
BETWEEN = (b'","', b'", "', b'"]["')


class _Line(msgspec.Struct, gc=False):
    """What is read of a line, under the names of Neuronpedia's exports."""

    tokens: msgspec.Raw
    values: msgspec.Raw
    modelId: str | None = None
    layer: str | None = None
    index: str | int | None = None
    binMin: float | None = None
    binMax: float | None = None
    binContains: float | None = None
    qualifyingTokenIndex: int | None = None
    dfaValues: list[float] | None = None
    dfaTargetIndex: int | None = None
    lossValues: list[float] | None = None
    logitContributions: str | None = None


class _Lists(NamedTuple):
    """The items of all lists in a row, and how many each list has, (n,) int64."""

    items: pyarrow.Array
    length: numpy.ndarray


_DECODER = msgspec.json.Decoder(_Line)
PLAIN = tuple(name for name in _Line.__struct_fields__ if name not in ("tokens", "values"))


def parse(content: bytes, schema: pyarrow.Schema) -> pyarrow.Table | None:
    """Return lines of activations as a table of the columns of `schema`, with the types that it gives them.

    Tokens are numbers of their texts. Returns None where a line is blank, broken or written in an unusual way.
    """
    try:
        lines = _DECODER.decode_lines(content)
        if not lines or len(lines) != content.count(b"\n"):
            return None
        tokens, values = _read_tokens(lines), _read_values(lines)
        if tokens is None or values is None or not numpy.array_equal(tokens.length, values.length):
            return None
        columns = {
            name: pyarrow.array(list(map(operator.attrgetter(name), lines)), schema.field(name).type) for name in PLAIN
        }
    except (msgspec.MsgspecError, UnicodeDecodeError, pyarrow.ArrowException, TypeError, OverflowError):
        return None
    ends = pyarrow.array(numpy.append(0, numpy.cumsum(tokens.length)).astype(numpy.int32))
    columns |= {"tokens": pyarrow.ListArray.from_arrays(ends, tokens.items)}
    columns |= {"values": pyarrow.ListArray.from_arrays(ends, values.items)}
    return pyarrow.table({name: columns[name] for name in schema.names})


def _read_tokens(lines: list[_Line]) -> _Lists | None:
    """Return the tokens of all lines, as a dictionary of texts; None where the lists are no plain lists of texts."""
    parts = [bytes(line.tokens) for line in lines]
    # Escapes with a quote or a backslash are written out, so that every quote begins or ends a token.
    content = b"".join(parts)
    if b"\\" in content:
        parts = [part.replace(b"\\\\", b"\\u005c").replace(b'\\"', b"\\u0022") for part in parts]
        content = b"".join(parts)
    letters = numpy.frombuffer(content, numpy.uint8)
    quotes = numpy.flatnonzero(letters == QUOTE)
    if not len(quotes) or len(quotes) % 2 or not _are_lists(content, letters, quotes):
        return None
    starts = numpy.cumsum([0, *map(len, parts)])
    length = numpy.diff(numpy.searchsorted(quotes, starts)) // 2
    pieces = pyarrow.LargeBinaryArray.from_buffers(
        pyarrow.large_binary(), len(quotes) - 1, [None, pyarrow.py_buffer(quotes), pyarrow.py_buffer(content)]
    )
    coded = pieces.take(pyarrow.array(numpy.arange(0, len(quotes), 2))).dictionary_encode()  # each with its first quote
    texts = msgspec.json.decode(
        b"[" + b",".join(piece + b'"' for piece in coded.dictionary.to_pylist()) + b"]", type=list[str]
    )
    return _Lists(pyarrow.DictionaryArray.from_arrays(coded.indices, pyarrow.array(texts, pyarrow.string())), length)


def _are_lists(content: bytes, letters: numpy.ndarray, quotes: numpy.ndarray) -> bool:
    """Return whether nothing but one of BETWEEN stands between texts, and lists begin and end with a text."""
    if content[:2] != b'["' or content[-2:] != b'"]':
        return False
    begin, end = quotes[1:-1:2], quotes[2::2]
    known = numpy.zeros(len(begin), bool)
    for between in BETWEEN:
        here = numpy.flatnonzero(end - begin == len(between) - 1)
        same = numpy.ones(len(here), bool)
        for place, letter in enumerate(between):
            same &= letters[begin[here] + place] == letter
        known[here] |= same
    return bool(known.all())


def _read_values(lines: list[_Line]) -> _Lists | None:
    """Return the values of all lines as float32; None where the lists are no plain lists of finite numbers."""
    parts = [bytes(line.values) for line in lines]
    content = b"".join(parts)
    if b" " in content:
        parts = [part.replace(b" ", b"") for part in parts]
        content = b"".join(parts)
    if content[:1] != b"[" or content[-1:] != b"]" or b'"' in content:
        return None
    starts = numpy.cumsum([0, *map(len, parts)])
    commas = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == COMMA)
    length = numpy.diff(numpy.searchsorted(commas, starts)) + 1
    read = pyarrow.csv.ReadOptions(use_threads=False, column_names=["value"], block_size=len(content) + 1)
    parsed = pyarrow.csv.read_csv(
        io.BytesIO(content[1:-1].replace(b"][", b"\n").replace(b",", b"\n")),
        read,
        pyarrow.csv.ParseOptions(quote_char=False),
        pyarrow.csv.ConvertOptions(column_types={"value": pyarrow.float32()}),
    )
    values = parsed["value"].combine_chunks()
    if len(values) != length.sum() or values.null_count or not numpy.isfinite(values.to_numpy()).all():
        return None
    return _Lists(values, length)
