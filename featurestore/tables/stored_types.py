"""Columns of a stored part as schema.sql has them: whoever wrote the file, readers get these types or an error."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow

from featurestore.display.text import first_line
from featurestore.errors import BadStore
from featurestore.tables import schema

REMEDY = "`featurestore check` says what else is wrong"


def conform(rows: pyarrow.Table, table: str, place: str, columns: Sequence[str] | None = None) -> pyarrow.Table:
    """Return rows of a part with the types of the schema, and of them only `columns`, if some are named.

    A column that the part lacks is null in every row. Raises BadStore naming the part (`place`) and the column, for
    values that have no such type, and for values that are missing where each row has one.
    """
    if table not in schema.tables():
        return rows
    wanted, required = schema.arrow_schema(table), schema.list_required_columns()[table]
    names = list(columns or wanted.names)
    if rows.schema.names != names or any(field.type != wanted.field(field.name).type for field in rows.schema):
        fields = [wanted.field(name) for name in names]
        columns_read = [_read_column(rows, field.name, field.type, place) for field in fields]
        rows = pyarrow.table(columns_read, schema=pyarrow.schema(fields))
    for name in required.intersection(names):
        if rows[name].null_count:
            raise BadStore(f"{place}: the column {name} lacks values, and each row has one; {REMEDY}")
    return rows


def _read_column(rows: pyarrow.Table, name: str, type_: pyarrow.DataType, place: str) -> pyarrow.ChunkedArray:
    if rows.column_names.count(name) > 1:
        raise BadStore(f"{place} has several columns called {name}; {REMEDY}")
    if name not in rows.column_names:
        return pyarrow.chunked_array([pyarrow.nulls(rows.num_rows, type_)])
    try:
        return rows[name].cast(type_)
    except (pyarrow.ArrowException, ValueError) as exc:
        raise BadStore(
            f"{place}: the column {name} is {rows[name].type}, not {type_}; {REMEDY} ({first_line(exc)})"
        ) from None
