"""Values as tables: Arrow always, pandas and Polars where they are installed.

A table has a column for each field of the values, of the type that the field has, also when there are no values.
"""

from __future__ import annotations

import copy
import datetime
import importlib
import types
from collections.abc import Iterable, Sequence
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    Self,
    SupportsIndex,
    TypeVar,
    Union,
    get_args,
    get_origin,
    overload,
)

import msgspec

from featurestore.errors import Unavailable

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

T = TypeVar("T", bound=msgspec.Struct)
LEFT_OUT = ("note_codes",)  # a table has notes as sentences


class Tabular:
    """A value with rows, which can be a table: a row for each of them, a column for each of their fields."""

    __slots__ = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        """Return the type of the rows, which names the columns of an empty table too, and the rows."""
        raise NotImplementedError

    def to_arrow(self) -> pyarrow.Table:
        """Return a pyarrow.Table with a row for each value; its types do not depend on the values."""
        return table(*self._list_rows())

    def df(self) -> pandas.DataFrame:
        """Return a pandas DataFrame, as `to_pandas()` does."""
        return self.to_pandas()

    def to_pandas(self) -> pandas.DataFrame:
        """Return a pandas DataFrame with a row for each value. Raises Unavailable where pandas is not installed."""
        return to_pandas(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """Return a Polars DataFrame with a row for each value. Raises Unavailable where Polars is not installed."""
        return to_polars(self.to_arrow())


class Listing(list[T], Tabular, Generic[T]):
    """A list of values of one type, which can be a table too."""

    def __init__(self, of: type[T], values: Iterable[T] = ()):
        """`of` is the type of the values: an empty list has the same columns as a full one."""
        super().__init__(values)
        self._of = of

    @overload
    def __getitem__(self, i: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, i: slice) -> Self: ...
    def __getitem__(self, i: SupportsIndex | slice) -> T | Self:
        if not isinstance(i, slice):
            return super().__getitem__(i)
        part = copy.copy(self)
        part[:] = super().__getitem__(i)
        return part

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return self._of, self


def table(of: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> pyarrow.Table:
    """Return values of the type `of` as a pyarrow.Table, a row each. Objects with keys of their own are JSON."""
    import pyarrow

    plain = [msgspec.to_builtins(row, builtin_types=(datetime.datetime,)) for row in rows]
    objects = [field.name for field in msgspec.structs.fields(of) if _is_object(field.type)]
    for row in plain:
        row |= {name: msgspec.json.encode(row[name]).decode() for name in objects if row[name] is not None}
    return pyarrow.Table.from_pylist(plain, schema=pyarrow.schema(arrow_fields(of)))


def to_pandas(table: pyarrow.Table, **options: Any) -> pandas.DataFrame:
    """Return an Arrow table as a pandas DataFrame. Raises Unavailable where pandas is not installed."""
    require("pandas")
    frame: pandas.DataFrame = table.to_pandas(**options)
    return frame


def to_polars(table: pyarrow.Table) -> polars.DataFrame:
    """Return an Arrow table as a Polars DataFrame. Raises Unavailable where Polars is not installed."""
    frame: polars.DataFrame = require("polars").from_arrow(table)
    return frame


def require(name: str, extra: str | None = None) -> Any:
    """Return an optional package. Raises Unavailable, with the command that installs it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(f"{name} is not installed: pip install 'featurestore[{extra or name}]'") from None


def arrow_fields(of: type[msgspec.Struct]) -> list[pyarrow.Field]:
    """Return an Arrow field for each field of a type of values that a table shows."""
    import pyarrow

    fields = [field for field in msgspec.structs.fields(of) if field.name not in LEFT_OUT]
    return [pyarrow.field(field.name, _arrow_type(field.type)) for field in fields]


def _arrow_type(annotation: Any) -> pyarrow.DataType:
    """Return the Arrow type of a field with this annotation; `X | None` has the type of X."""
    import pyarrow

    plain = {
        str: pyarrow.string(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        bool: pyarrow.bool_(),
        datetime.datetime: pyarrow.timestamp("us", "UTC"),
    }
    if annotation in plain:
        return plain[annotation]
    if _is_object(annotation):
        return pyarrow.string()
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(inner[0])
    if origin is Literal:
        return pyarrow.string()
    if origin in (Union, types.UnionType):
        (value_type,) = (member for member in inner if member is not types.NoneType)
        return _arrow_type(value_type)
    if origin in (tuple, list):
        return pyarrow.list_(_arrow_type(inner[0]))
    return pyarrow.struct(arrow_fields(annotation))


def _is_object(annotation: Any) -> bool:
    """Whether a field holds an object whose keys no type says."""
    return dict in {get_origin(member) or member for member in (annotation, *get_args(annotation))}
