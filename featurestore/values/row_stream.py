"""The rows of a long answer in batches, of which the reader may take as many as it wants."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from featurestore.values import tables
from featurestore.values.row_table import RowTable

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


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
