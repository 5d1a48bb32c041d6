"""Numbers of 32 bits as Python's numbers: those of the shortest decimal that reads back as the same 32 bits.

What is kept as 0.1 in 32 bits is 0.10000000149011612 as a number of 64, of which nine digits mean nothing. Written as
0.1 it is the same number of 32 bits, in JSON and in Python, and takes half the place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import numpy
import pyarrow

FEW = 16  # numbers: more are converted by Arrow, which costs 5 us and then a fifth of a single one


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
    rounded: list[float] = round_column(pyarrow.array(array)).to_pylist()
    return rounded


def round_column(column: Any) -> Any:
    """Return a column of Arrow with such numbers of 64 bits in place of those of 32, those inside lists included.

    The same object where there are none.
    """
    texts, numbers = _replace(column.type, pyarrow.string()), _replace(column.type, pyarrow.float64())
    return column if numbers is column.type else column.cast(texts).cast(numbers)


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
