"""The rows of an SQL statement: a table that can be a frame, and batches that are read as they come."""

from __future__ import annotations

from collections.abc import Generator, Iterator
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


class RowStream:
    """Arrow record batches of one schema, each made when it is asked for.

    A context manager: leaving it stops the query. pandas, Polars and DuckDB read it as any Arrow stream
    (`__arrow_c_stream__`).
    """

    def __init__(self, source: Generator[Any, None, None]):
        """`source` yields the schema, then the batches; errors of `source` are raised to the reader."""
        self.schema: pyarrow.Schema = next(source)
        self._batches = source

    def __iter__(self) -> Iterator[pyarrow.RecordBatch]:
        return self._batches

    def read_all(self) -> RowTable:
        """Return the batches that were not read yet as one table, as `sql` would."""
        return RowTable(self.to_arrow())

    def to_arrow(self) -> pyarrow.Table:
        """Return the batches that were not read yet as one pyarrow.Table."""
        import pyarrow

        with self:
            return pyarrow.Table.from_batches(list(self._batches), schema=self.schema)

    def df(self) -> pandas.DataFrame:
        """Return the rows that were not read yet as a pandas DataFrame, as `to_pandas()` does."""
        return self.to_pandas()

    def to_pandas(self) -> pandas.DataFrame:
        """Return the rows that were not read yet as a pandas DataFrame. Raises Unavailable without pandas."""
        return tables.to_pandas(self.to_arrow())

    def to_polars(self) -> polars.DataFrame:
        """Return the rows that were not read yet as a Polars DataFrame. Raises Unavailable without Polars."""
        return tables.to_polars(self.to_arrow())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow

        return pyarrow.RecordBatchReader.from_batches(self.schema, self._batches).__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Stop the query; rows that were not read are dropped."""
        self._batches.close()

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
