"""Activations from lines of JSON, without a Python value for each token: nine tenths of what an import reads is these.

msgspec checks the syntax of each line and says where its lists of tokens and of values are; Arrow and NumPy read these
lists together: each text of a token once, and of the values only those that are not zero. What is not as tools write
it is left to slower readers, which can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.files import count_lines
from ingest.formats.records.short_texts import Texts

QUOTE, COMMA, ZERO, POINT, BREAK = b'",0.\n'
# What may stand between two tokens but a comma, from the quote that ends one: in a list, and between two lists.
SPACED, BETWEEN_LISTS = b'", ', b'"]['
OF_NUMBERS = b"0123456789+-.eE,"


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
LISTS = ("tokens", "values")


def parse(content: bytes, schema: pyarrow.Schema) -> pyarrow.Table | None:
    """Return lines of activations as a table of the columns of `schema`, with the types that it gives them.

    Tokens are numbers of their texts. Returns None where a line is blank, broken or written in an unusual way.
    """
    try:
        lines = _DECODER.decode_lines(content)
        if not lines or len(lines) != count_lines(content):
            return None
        tokens, values = _read_tokens(lines), _read_values(lines)
        if tokens is None or values is None or not numpy.array_equal(tokens.length, values.length):
            return None
        cells = zip(_Line.__struct_fields__, zip(*map(msgspec.structs.astuple, lines), strict=True), strict=True)
        columns = {name: _make_column(column, schema.field(name).type) for name, column in cells if name not in LISTS}
    except (msgspec.MsgspecError, UnicodeDecodeError, pyarrow.ArrowException, TypeError, OverflowError, RecursionError):
        return None
    ends = pyarrow.array(numpy.append(0, numpy.cumsum(tokens.length)).astype(numpy.int32))
    columns |= {"tokens": pyarrow.ListArray.from_arrays(ends, tokens.items)}
    columns |= {"values": pyarrow.ListArray.from_arrays(ends, values.items)}
    return pyarrow.table({name: columns[name] for name in schema.names})


def _make_column(cells: Sequence[Any], type_: pyarrow.DataType) -> pyarrow.Array:
    first = cells[0]
    if first is None and cells.count(None) == len(cells):
        return pyarrow.nulls(len(cells), type_)
    if isinstance(first, str) and pyarrow.types.is_string(type_) and cells.count(first) == len(cells):
        return pyarrow.repeat(pyarrow.scalar(first), len(cells))
    return pyarrow.array(cells, type_)


def _read_tokens(lines: list[_Line]) -> _Lists | None:
    """Return the tokens of all lines, as a dictionary of texts; None where the lists are no plain lists of texts."""
    content = b"".join([line.tokens for line in lines])
    # Escapes with a quote or a backslash are written out, so that every quote begins or ends a token.
    if b"\\" in content:
        parts = [bytes(line.tokens) for line in lines]
        content = b"".join([part.replace(b"\\\\", b"\\u005c").replace(b'\\"', b"\\u0022") for part in parts])
    if content[:2] != b'["' or content[-2:] != b'"]':
        return None
    quotes = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == QUOTE)
    if len(quotes) % 2:
        return None
    texts = Texts(content)
    opening, closing = quotes[::2], quotes[1::2]
    gap = opening[1:] - closing[:-1]
    unusual = numpy.flatnonzero(gap != 2)  # one letter between two texts is a comma, or a colon after a brace
    places, sizes = closing[:-1][unusual], gap[unusual]
    is_end = texts.match(places, sizes, (BETWEEN_LISTS,))
    if int(is_end.sum()) != len(lines) - 1 or not (is_end | texts.match(places, sizes, (SPACED,))).all():
        return None
    coded = texts.encode(opening + 1, closing - opening - 1)
    if coded is None:
        return None
    codes, first = coded
    firsts = zip(opening[first].tolist(), closing[first].tolist(), strict=True)
    listed = b"[" + b",".join([content[low : high + 1] for low, high in firsts]) + b"]"
    names = pyarrow.array(msgspec.json.decode(listed, type=list[str]), pyarrow.string())
    length = numpy.diff(unusual[is_end] + 1, prepend=0, append=len(opening))
    return _Lists(pyarrow.DictionaryArray.from_arrays(codes, names), length)


def _read_values(lines: list[_Line]) -> _Lists | None:
    """Return the values of all lines as float32; None where the lists are no plain lists of finite numbers."""
    content = b"\n".join([line.values for line in lines])
    if b" " in content:
        content = content.replace(b" ", b"")
    flat = content.replace(b"]\n[", b",")
    # So many are gone that every list began and ended here, and what is left has no other one within it.
    is_plain = len(content) - len(flat) == 2 * (len(lines) - 1) and flat[:1] == b"[" and flat[-1:] == b"]"
    flat = b"," + flat[1:-1]
    if not is_plain or flat.translate(None, OF_NUMBERS):
        return None
    commas = numpy.flatnonzero(numpy.frombuffer(flat, numpy.uint8) == COMMA)  # one before each number
    ends = numpy.append(commas, len(flat))
    size = numpy.diff(ends)
    if size.min() < 2:
        return None  # a list without numbers
    cells = numpy.flatnonzero(~_are_zeros(flat, commas, size))
    numbers = pyarrow.LargeStringArray.from_buffers(len(commas), pyarrow.py_buffer(ends), pyarrow.py_buffer(flat))
    listed = pyarrow.compute.ascii_ltrim(numbers.take(pyarrow.array(cells)), ",")
    values = numpy.zeros(len(commas), numpy.float32)
    values[cells] = listed.cast(pyarrow.float32()).to_numpy()
    if not numpy.isfinite(values).all():
        return None
    breaks = numpy.flatnonzero(numpy.frombuffer(content, numpy.uint8) == BREAK)
    starts = breaks - 2 * numpy.arange(len(breaks)) - 1  # the comma of each list but the first, among those of `flat`
    length = numpy.diff(numpy.searchsorted(commas, starts), prepend=0, append=len(commas))
    return _Lists(pyarrow.array(values), length)


def _are_zeros(content: bytes, commas: numpy.ndarray, size: numpy.ndarray) -> numpy.ndarray:
    """Return which numbers are written as 0 or 0.0, as nine in ten are, (n,) bool. Each begins with its comma."""
    codes = numpy.frombuffer(content + b"   ", numpy.uint8)
    is_zero = codes[1:-2] == ZERO
    is_zero_point_zero = is_zero & (codes[2:-1] == POINT) & (codes[3:] == ZERO)
    zeros: numpy.ndarray = (size == 2) & is_zero[commas] | (size == 4) & is_zero_point_zero[commas]
    return zeros
