"""Values as tables: Arrow always, pandas and Polars where they are installed. Columns and types are those of the value's fields."""

from __future__ import annotations

import datetime
import importlib
import types
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from featurestore.errors import Unavailable

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

T = TypeVar("T", bound=msgspec.Struct)


class Tabular:
    """What has rows: each becomes a row of a table, with a column for each of its fields."""

    __slots__ = ()

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        """The rows, and their type: what an empty table has columns of."""
        raise NotImplementedError

    def to_arrow(self) -> pyarrow.Table:
        """A row each, as a pyarrow.Table; the types do not depend on the values."""
        return table(*self._tabled())

    def to_pandas(self) -> pandas.DataFrame:
        """A row each, as a pandas DataFrame. Raises Unavailable where pandas is not installed."""
        return to_pandas(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """A row each, as a Polars DataFrame. Raises Unavailable where Polars is not installed."""
        return to_polars(self.to_arrow())


class Listing(list[T], Tabular, Generic[T]):
    """A list of values of one type, which can be had as a table too."""

    def __init__(self, of: type[T], values: Iterable[T] = ()):
        """`of` is the type of the values: it says the columns where there are none."""
        super().__init__(values)
        self._of = of

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return self._of, self


def table(of: type[msgspec.Struct], rows: Sequence[msgspec.Struct]) -> pyarrow.Table:
    """Values of one type as a pyarrow.Table."""
    import pyarrow

    plain = [msgspec.to_builtins(row, builtin_types=(datetime.datetime,)) for row in rows]
    return pyarrow.Table.from_pylist(plain, schema=pyarrow.schema(list(_fields(of))))


def to_pandas(found: pyarrow.Table) -> pandas.DataFrame:
    """An Arrow table as a DataFrame. Raises Unavailable where pandas is not installed."""
    _needed("pandas")
    return found.to_pandas()


def to_polars(found: pyarrow.Table) -> polars.DataFrame:
    """An Arrow table as a DataFrame. Raises Unavailable where Polars is not installed."""
    return _needed("polars").from_arrow(found)


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise Unavailable(f"{name} is not installed: pip install 'featurestore[{name}]'") from None


def _fields(of: type[msgspec.Struct]) -> Iterable[pyarrow.Field]:
    import pyarrow

    return (pyarrow.field(field.name, _arrow_type(field.type)) for field in msgspec.structs.fields(of))


def _arrow_type(annotation: Any) -> pyarrow.DataType:
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
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _arrow_type(inner[0])
    if origin in (Union, types.UnionType):
        (some,) = (one for one in inner if one is not types.NoneType)
        return _arrow_type(some)
    if origin in (tuple, list):
        return pyarrow.list_(_arrow_type(inner[0]))
    return pyarrow.struct(list(_fields(annotation)))
