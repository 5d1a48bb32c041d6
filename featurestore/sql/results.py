"""What a result may hold: values that every answer carries as DuckDB means them; the others are refused in a sentence.

Arrow has no form for some of DuckDB's types (a TIMETZ loses its offset, the largest UHUGEINT becomes -1, an INTERVAL of
more than 292 years another one), and Python, JSON and spreadsheets none for infinite dates. Instead of a wrong value
the caller gets the name of the column and what to cast it to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow
import pyarrow.compute

from featurestore.display.float32 import round_column
from featurestore.errors import BadRequest

# By DuckDB's names. A type that is not listed, also one that a newer DuckDB adds, has to be cast.
PLAIN = {
    *("null", "boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("hugeint", "float", "double", "decimal", "varchar", "blob", "uuid", "enum", "date", "time", "time_ns"),
    *("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"),
}
NESTED = {"list", "array", "struct", "map"}
# The first and the last day of the years 1 to 9999, counted from 1970.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
DAY = 86_400  # seconds
A_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}
MOST_DIGITS = 38


def check_types(names: Sequence[str], types: Sequence[Any]) -> None:
    """Raise BadRequest, naming the column, for a type of DuckDB that answers cannot carry."""
    for name, type_ in zip(names, types, strict=True):
        inner = _find_foreign(type_)
        if inner is not None:
            raise _refusal(name, f"is of type {type_!s:.100}" if inner == str(type_) else f"holds {inner:.100}")


def check_values(batch: pyarrow.RecordBatch) -> None:
    """Raise BadRequest, naming the column, for infinite dates and times, years beyond 1 to 9999, and 24:00:00."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        for values in _find_times(column):
            low, high = _limits(values.type)
            width = pyarrow.int32() if values.type.bit_width == 32 else pyarrow.int64()
            reach = pyarrow.compute.min_max(values.view(width))
            least, most = reach["min"].as_py(), reach["max"].as_py()
            if least is not None and (least < low or most > high):
                what = (
                    "the time 24:00:00" if pyarrow.types.is_time(values.type) else "a date that is infinite, or of a "
                )
                what += "" if pyarrow.types.is_time(values.type) else "year before 1 or after 9999"
                raise _refusal(field.name, f"holds {what}")


def plain_rows(batch: pyarrow.RecordBatch | pyarrow.Table) -> list[dict[str, Any]]:
    """Return rows as Python values that JSON can carry; times with nanoseconds are texts, with all their digits."""
    columns = [plain_values(column) for column in batch.columns]
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def plain_values(column: pyarrow.Array | pyarrow.ChunkedArray) -> list[Any]:
    """Return the values of a column as `plain_rows` does; numbers of 32 bits have the digits that they have."""
    plain = _without_nanoseconds(column.type)
    column = column if plain is column.type or plain == column.type else column.cast(plain)
    values: list[Any] = round_column(column).to_pylist()
    return values


def check_digits(batch: pyarrow.RecordBatch) -> None:
    """Raise BadRequest, naming the column, for whole numbers of more than 38 digits, which Parquet has no form for."""
    for field, column in zip(batch.schema, batch.columns, strict=True):
        for numbers in _find_leaves(column, pyarrow.types.is_decimal):
            if numbers.type.precision == MOST_DIGITS and numbers.type.scale == 0:
                largest = [value.as_py() for value in pyarrow.compute.min_max(numbers).values()]
                if any(value is not None and abs(int(value)) >= 10**MOST_DIGITS for value in largest):
                    raise _refusal(field.name, f"holds a number of more than {MOST_DIGITS} digits")


def _refusal(name: str, what: str) -> BadRequest:
    quoted = f"column '{name:.100}'"
    return BadRequest(f"SQL: {quoted} {what}, which answers cannot carry: cast it, or what is in it, to VARCHAR")


def _find_foreign(type_: Any) -> str | None:
    """Return the type in a type of DuckDB that is not plain, as SQL writes it, or None."""
    if type_.id in PLAIN:
        return None
    if type_.id not in NESTED:
        return str(type_)
    inner = [child for name, child in type_.children if name != "size" or type_.id != "array"]
    if not inner:
        return "STRUCT of no fields"
    return next((foreign for child in inner if (foreign := _find_foreign(child)) is not None), None)


def _is_time(type_: pyarrow.DataType) -> bool:
    return bool(pyarrow.types.is_date(type_) or pyarrow.types.is_timestamp(type_) or pyarrow.types.is_time(type_))


def _find_times(column: pyarrow.Array) -> Iterator[pyarrow.Array]:
    return _find_leaves(column, _is_time)


def _find_leaves(column: pyarrow.Array, wanted: Any) -> Iterator[pyarrow.Array]:
    """Yield the arrays of wanted types in a column, those inside lists, structs and maps included."""
    if wanted(column.type):
        yield column
    elif pyarrow.types.is_struct(column.type):
        for inner in column.flatten():
            yield from _find_leaves(inner, wanted)
    elif pyarrow.types.is_map(column.type):
        yield from _find_leaves(column.keys, wanted)
        yield from _find_leaves(column.items, wanted)
    elif pyarrow.types.is_list(column.type) or pyarrow.types.is_fixed_size_list(column.type):
        yield from _find_leaves(column.flatten(), wanted)


def _limits(type_: pyarrow.DataType) -> tuple[int, int]:
    """Return the least and the largest number that stands for a time that everybody can write."""
    if pyarrow.types.is_date(type_):
        return FIRST_DAY, LAST_DAY
    second = A_SECOND[type_.unit]
    if pyarrow.types.is_time(type_):
        return 0, DAY * second - 1
    if type_.unit == "ns":  # its numbers end long before; the last ones mean infinity
        return -(2**63) + 2, 2**63 - 2
    return FIRST_DAY * DAY * second, (LAST_DAY + 1) * DAY * second - 1


def _without_nanoseconds(type_: pyarrow.DataType) -> pyarrow.DataType:
    """Return the type with texts in the place of times with nanoseconds; the same object where there are none."""
    if (pyarrow.types.is_timestamp(type_) or pyarrow.types.is_time(type_)) and type_.unit == "ns":
        return pyarrow.string()
    if not pyarrow.types.is_nested(type_):
        return type_
    inner = [type_.field(n) for n in range(type_.num_fields)]
    if pyarrow.types.is_map(type_):
        inner = [pyarrow.field("key", type_.key_type), pyarrow.field("value", type_.item_type)]
    plain = [_without_nanoseconds(field.type) for field in inner]
    if all(new is field.type or new == field.type for new, field in zip(plain, inner, strict=True)):
        return type_
    if pyarrow.types.is_struct(type_):
        return pyarrow.struct([field.with_type(new) for field, new in zip(inner, plain, strict=True)])
    if pyarrow.types.is_map(type_):
        return pyarrow.map_(*plain)
    return pyarrow.list_(plain[0], type_.list_size if pyarrow.types.is_fixed_size_list(type_) else -1)
