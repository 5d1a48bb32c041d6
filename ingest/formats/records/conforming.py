"""Tables of other tools brought to the columns and types that are read of them, or refused with what is wrong.

Whatever comes after this may rely on the types: an error there is ours, not the file's.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow
import pyarrow.types

from featurestore import BadRequest
from featurestore.extension.text import first_line


def conform(
    table: pyarrow.Table, wanted: Mapping[str, pyarrow.DataType], place: object, optional: bool = False
) -> pyarrow.Table:
    """Return the columns `wanted` of a table, with these types; those that it lacks are left out where `optional`.

    Whole numbers become floats, short ones long ones. Raises BadRequest that names `place` and a column that is not
    there, of another kind, or with a number beyond its type.
    """
    columns = {}
    for name, type_ in wanted.items():
        if name not in table.column_names:
            if optional:
                continue
            raise BadRequest(f"{place} is no table of a dashboard: it has no column {name}; fetch it again")
        given = table[name].type
        if not _fits(given, type_):
            raise BadRequest(
                f"{place} is no table of a dashboard: its column {name} is {first_line(str(given), 80)}, not {type_}; "
                "fetch it again"
            )
        try:
            columns[name] = table[name].cast(type_, safe=not pyarrow.types.is_floating(_find_leaf(type_)))
        except pyarrow.ArrowInvalid as exc:
            raise BadRequest(f"{place}: its column {name} has a value that is no {type_}: {first_line(exc)}") from exc
    return pyarrow.table(columns)


def add_columns(table: pyarrow.Table, others: pyarrow.Table) -> pyarrow.Table:
    """Return a table with the columns of another beside its own."""
    for name in others.column_names:
        table = table.append_column(name, others[name])
    return table


def _fits(given: pyarrow.DataType, wanted: pyarrow.DataType) -> bool:
    """Return whether values of a type are of the kind of another: lists, whole numbers, numbers or texts."""
    types = pyarrow.types
    if types.is_null(given):
        return True
    if types.is_list(wanted):
        is_list = types.is_list(given) or types.is_large_list(given) or types.is_fixed_size_list(given)
        return is_list and _fits(given.value_type, wanted.value_type)
    if types.is_dictionary(given):
        return _fits(given.value_type, wanted)
    if types.is_integer(wanted):
        return bool(types.is_integer(given))
    if types.is_floating(wanted):
        return bool(types.is_integer(given) or types.is_floating(given))
    return bool(types.is_string(given) or types.is_large_string(given))


def _find_leaf(type_: pyarrow.DataType) -> pyarrow.DataType:
    return _find_leaf(type_.value_type) if pyarrow.types.is_list(type_) else type_
