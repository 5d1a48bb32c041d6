"""The rows of an SQL statement: an Arrow table that can be a frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from featurestore.display import notebook
from featurestore.values import tables

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

MOST_SHOWN = 20  # rows in a notebook


class RowTable:
    """Rows of one schema. What a pyarrow.Table has (`column_names`, `to_pylist()`, `["label"]`, ...) it has too.

    pandas, Polars, DuckDB and `pyarrow.table(...)` read it as any Arrow stream; `to_arrow()` is the pyarrow.Table
    itself, for functions of pyarrow that take nothing else.
    """

    def __init__(self, table: pyarrow.Table):
        self._table = table

    def df(self) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame, as `to_pandas()` does."""
        return self.to_pandas()

    def to_pandas(self, **options: Any) -> pandas.DataFrame:
        """Return the rows as a pandas DataFrame; options are those of pyarrow. Raises Unavailable without pandas."""
        return tables.to_pandas(self._table, **options)

    def to_polars(self) -> polars.DataFrame:
        """Return the rows as a Polars DataFrame. Raises Unavailable without Polars."""
        return tables.to_polars(self._table)

    def to_arrow(self) -> pyarrow.Table:
        """Return the rows as a pyarrow.Table."""
        return self._table

    def equals(self, other: Any, **options: Any) -> bool:
        """Whether another table has the same columns and rows."""
        same: bool = self._table.equals(getattr(other, "_table", other), **options)
        return same

    def __eq__(self, other: object) -> bool:
        return bool(self._table == getattr(other, "_table", other))

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._table)

    def __getitem__(self, key: Any) -> Any:
        part = self._table[key]
        return RowTable(part) if isinstance(key, slice) else part

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_table":
            raise AttributeError(name)
        return getattr(self._table, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._table)})

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)

    def __dataframe__(self, **options: Any) -> Any:
        return self._table.__dataframe__(**options)

    def __repr__(self) -> str:
        return repr(self._table)

    def _repr_html_(self) -> str:
        shown = self._table.slice(0, MOST_SHOWN)
        more = len(self) - MOST_SHOWN
        notes = (f"{more:,} more rows",) if more > 0 else ()
        rows = [list(row.values()) for row in shown.to_pylist()]
        return notebook.render_table(tuple(self._table.column_names), rows, notes=notes)
