"""Numbers of 32 bits as Python's numbers: those of the shortest decimal that reads back as the same 32 bits.

What is kept as 0.1 in 32 bits is 0.10000000149011612 as a number of 64, of which nine digits mean nothing. Written as
0.1 it is the same number of 32 bits, in JSON and in Python, and takes half the place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import numpy
import pyarrow
import pyarrow.compute

FEW = 64  # numbers: more are converted as an array, which costs 90 us, as much as these, and then a tenth of each
_POWERS = 10.0 ** numpy.arange(23)  # each of them exact


@overload
def round_float32(number: float) -> float: ...
@overload
def round_float32(number: None) -> None: ...
def round_float32(number: float | None) -> float | None:
    """Return a number as the shortest decimal of the number of 32 bits that is nearest to it; None for None."""
    return None if number is None else float(str(numpy.float32(number)))


def round_floats32(numbers: numpy.ndarray | Iterable[float]) -> list[float]:
    """Return each number as `round_float32` does."""
    array = numpy.asarray(numbers, numpy.float32)
    if len(array) < FEW:
        return [float(str(number)) for number in array]
    rounded: list[float] = _round_array(array).tolist()
    return rounded


def round_column(column: Any) -> Any:
    """Return a column of Arrow with such numbers of 64 bits in place of those of 32, those inside lists included.

    The same object where there are none.
    """
    numbers = _replace(column.type, pyarrow.float64())
    if numbers is column.type:
        return column
    chunks = column.chunks if isinstance(column, pyarrow.ChunkedArray) else [column]
    rounded = [_round_chunk(chunk, numbers) for chunk in chunks]
    return pyarrow.chunked_array(rounded, numbers) if isinstance(column, pyarrow.ChunkedArray) else rounded[0]


def _round_array(array: numpy.ndarray) -> numpy.ndarray:
    """Return numbers of 32 bits, (n,), as float64: of the decimals of 6 to 9 digits the first that reads back."""
    exact = array.astype(numpy.float64)
    rounded, size = exact.copy(), numpy.abs(exact)
    # Between these a power of ten scales a number exactly enough; zero and whole numbers are as they should be.
    scaled = (size >= 1e-7) & (size < 1e6)
    left = numpy.flatnonzero(scaled & (numpy.rint(exact) != exact))
    places = 5 - numpy.floor(numpy.log10(size[left])).astype(numpy.int64)
    for digits in range(4):
        scale = _POWERS[places + digits]
        shorter = numpy.rint(exact[left] * scale) / scale
        is_same = shorter.astype(numpy.float32) == array[left]
        rounded[left[is_same]] = shorter[is_same]
        left, places = left[~is_same], places[~is_same]
    others = numpy.flatnonzero(~scaled & (size > 0) & numpy.isfinite(exact))
    for n in (*left.tolist(), *others.tolist()):
        rounded[n] = float(str(array[n]))
    return rounded


def _round_chunk(chunk: Any, numbers: pyarrow.DataType) -> Any:
    """Return an array of Arrow as `round_column` does; `numbers` is the type of the result."""
    if numbers is chunk.type or numbers == chunk.type:
        return chunk
    absent = chunk.is_null().to_numpy(zero_copy_only=False)
    if chunk.type == pyarrow.float32():
        return pyarrow.array(_round_array(chunk.to_numpy(zero_copy_only=False)), mask=absent)
    if pyarrow.types.is_struct(chunk.type):
        columns = [_round_chunk(inner, field.type) for inner, field in zip(chunk.flatten(), numbers, strict=True)]
        return pyarrow.StructArray.from_arrays(columns, fields=list(numbers), mask=pyarrow.array(absent))
    if pyarrow.types.is_list(chunk.type) or pyarrow.types.is_large_list(chunk.type):
        lengths = pyarrow.compute.list_value_length(chunk).fill_null(0).to_numpy(zero_copy_only=False)
        of_list = pyarrow.LargeListArray if pyarrow.types.is_large_list(chunk.type) else pyarrow.ListArray
        kind = numpy.int64 if of_list is pyarrow.LargeListArray else numpy.int32
        offsets = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(kind)
        # An offset that is null makes the list that begins there null.
        marked = pyarrow.array(offsets, mask=numpy.append(absent, False))
        return of_list.from_arrays(marked, _round_chunk(chunk.flatten(), numbers.value_type), type=numbers)
    return chunk.cast(_replace(chunk.type, pyarrow.string())).cast(numbers)


def list_rows(table: pyarrow.Table) -> list[dict[str, Any]]:
    """Return the rows of a table as Python's values, with such numbers."""
    rows: list[dict[str, Any]] = pyarrow.table([round_column(c) for c in table.columns], table.column_names).to_pylist()
    return rows


def _replace(type_: pyarrow.DataType, by: pyarrow.DataType) -> pyarrow.DataType:
    """Return a type with `by` in the place of 32-bit numbers; the same object where there are none."""
    if type_ == pyarrow.float32():
        return by
    if not pyarrow.types.is_nested(type_):
        return type_
    if pyarrow.types.is_map(type_):
        inner = [pyarrow.field("key", type_.key_type), pyarrow.field("value", type_.item_type)]
    else:
        inner = [type_.field(n) for n in range(type_.num_fields)]
    replaced = [_replace(field.type, by) for field in inner]
    if all(new is field.type or new == field.type for new, field in zip(replaced, inner, strict=True)):
        return type_
    if pyarrow.types.is_struct(type_):
        return pyarrow.struct([field.with_type(new) for field, new in zip(inner, replaced, strict=True)])
    if pyarrow.types.is_map(type_):
        return pyarrow.map_(*replaced)
    if pyarrow.types.is_fixed_size_list(type_):
        return pyarrow.list_(replaced[0], type_.list_size)
    return pyarrow.large_list(replaced[0]) if pyarrow.types.is_large_list(type_) else pyarrow.list_(replaced[0])
