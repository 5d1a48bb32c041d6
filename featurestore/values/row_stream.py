"""A result in batches as they come, which can be left before its end."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from featurestore.values import tables

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow


class RowStream:
    """Arrow batches of one schema, as they come. A context manager: leaving it stops what makes them.

    pandas, Polars and DuckDB read it as any Arrow stream (`__arrow_c_stream__`).
    """

    def __init__(self, made: Generator[Any, None, None]):
        """`made` gives the schema, then the batches; what it raises is raised here."""
        self.schema: pyarrow.Schema = next(made)
        self._batches = made

    def __iter__(self) -> Iterator[pyarrow.RecordBatch]:
        return self._batches

    def read_all(self) -> pyarrow.Table:
        """All that is left as one table."""
        import pyarrow

        with self:
            return pyarrow.Table.from_batches(list(self._batches), schema=self.schema)

    def to_arrow(self) -> pyarrow.Table:
        """All that is left as one table, as `read_all`."""
        return self.read_all()

    def to_pandas(self) -> pandas.DataFrame:
        """All that is left as a pandas DataFrame. Raises Unavailable where pandas is not installed."""
        return tables.to_pandas(self.read_all())

    def to_polars(self) -> polars.DataFrame:
        """All that is left as a Polars DataFrame. Raises Unavailable where Polars is not installed."""
        return tables.to_polars(self.read_all())

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        import pyarrow

        return pyarrow.RecordBatchReader.from_batches(self.schema, self._batches).__arrow_c_stream__(requested_schema)

    def close(self) -> None:
        """Stop; what was not read is lost."""
        self._batches.close()

    def __enter__(self) -> RowStream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
