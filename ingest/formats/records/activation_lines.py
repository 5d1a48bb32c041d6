"""Activations from lines of JSON, without a Python value for each token: nine tenths of what an import reads is these.

msgspec checks the syntax of each line and says where its lists of tokens and of values are; Arrow and NumPy read these
lists together: each text of a token once, and of the values only those that are not zero. What is not as tools write
it is left to slower readers, which can say what is wrong.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.records.short_texts import Texts

QUOTE, COMMA = ord('"'), ord(",")
# What may stand between two tokens but a comma, from the quote that ends one: in a list, and between two lists.
BETWEEN = (b'", ', b'"][')
OF_NUMBERS = b"0123456789+-.eE,"
ZEROS = (b",0.0", b",0")  # how nine in ten values are written, after the comma before them


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
PLAIN = {name: operator.attrgetter(name) for name in _Line.__struct_fields__ if name not in ("tokens", "values")}


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
        columns = {name: _make_column(list(map(read, lines)), schema.field(name).type) for name, read in PLAIN.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, pyarrow.ArrowException, TypeError, OverflowError, RecursionError):
        return None
    ends = pyarrow.array(numpy.append(0, numpy.cumsum(tokens.length)).astype(numpy.int32))
    columns |= {"tokens": pyarrow.ListArray.from_arrays(ends, tokens.items)}
    columns |= {"values": pyarrow.ListArray.from_arrays(ends, values.items)}
    return pyarrow.table({name: columns[name] for name in schema.names})


def _make_column(cells: list[Any], type_: pyarrow.DataType) -> pyarrow.Array:
    if cells.count(None) == len(cells):
        return pyarrow.nulls(len(cells), type_)
    return pyarrow.array(cells, type_)


def _read_tokens(lines: list[_Line]) -> _Lists | None:
    """Return the tokens of all lines, as a dictionary of texts; None where the lists are no plain lists of texts."""
    parts = [bytes(line.tokens) for line in lines]
    # Escapes with a quote or a backslash are written out, so that every quote begins or ends a token.
    content = b"".join(parts)
    if b"\\" in content:
        parts = [part.replace(b"\\\\", b"\\u005c").replace(b'\\"', b"\\u0022") for part in parts]
        content = b"".join(parts)
    if content[:2] != b'["' or content[-2:] != b'"]':
        return None
    quotes = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == QUOTE)
    if len(quotes) % 2:
        return None
    texts = Texts(content)
    begin, size = quotes[1:-1:2], quotes[2::2] - quotes[1:-1:2]
    unusual = size != 2  # one letter between two texts is a comma, or a colon in an object, which has a brace before
    if not texts.match(begin[unusual], size[unusual], BETWEEN).all():
        return None
    coded = texts.encode(quotes[::2] + 1, quotes[1::2] - quotes[::2] - 1)
    if coded is None:
        return None
    codes, first = coded
    firsts = zip(quotes[::2][first].tolist(), quotes[1::2][first].tolist(), strict=True)
    listed = b"[" + b",".join([content[low : high + 1] for low, high in firsts]) + b"]"
    names = pyarrow.array(msgspec.json.decode(listed, type=list[str]), pyarrow.string())
    length = numpy.diff(numpy.searchsorted(quotes, numpy.cumsum([0, *map(len, parts)]))) // 2
    return _Lists(pyarrow.DictionaryArray.from_arrays(codes, names), length)


def _read_values(lines: list[_Line]) -> _Lists | None:
    """Return the values of all lines as float32; None where the lists are no plain lists of finite numbers."""
    parts = [bytes(line.values)[1:-1] for line in lines]
    content = b",".join(parts)
    if b" " in content:
        parts = [part.replace(b" ", b"") for part in parts]
        content = b",".join(parts)
    if content.translate(None, OF_NUMBERS):
        return None
    content = b"," + content
    commas = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == COMMA)  # one before each number
    ends = numpy.append(commas, len(content))
    size = numpy.diff(ends)
    if size.min() < 2:
        return None  # a list without numbers
    cells = numpy.flatnonzero(~Texts(content).match(commas, size, ZEROS))
    numbers = pyarrow.LargeStringArray.from_buffers(len(commas), pyarrow.py_buffer(ends), pyarrow.py_buffer(content))
    listed = pyarrow.compute.ascii_ltrim(numbers.take(pyarrow.array(cells)), ",")
    values = numpy.zeros(len(commas), numpy.float32)
    values[cells] = listed.cast(pyarrow.float32()).to_numpy()
    if not numpy.isfinite(values).all():
        return None
    length = numpy.diff(numpy.searchsorted(commas, numpy.cumsum([0, *(len(part) + 1 for part in parts)])))
    return _Lists(pyarrow.array(values), length)
