"""Which Parquet files count: what an engine reads that knows nothing of the log."""

from __future__ import annotations

from featurestore.display.text import suggest
from featurestore.errors import BadRequest
from featurestore.storage.directory import Directory
from featurestore.tables import schema
from featurestore.values.table_files import TableFile, TableFiles


def list_files(directory: Directory, table: str | None = None) -> TableFiles:
    """Return the live files of every stored table, or of one; files of removed and replaced rows are not among them.

    Raises BadRequest when there is no such table.
    """
    names = schema.tables()
    if table is not None and table not in names:
        raise BadRequest(f"table: '{table:.80}' is not one of {', '.join(names)}{suggest(table, names)}")
    snapshot = directory.snapshot()
    return TableFiles(
        TableFile(table=name, key=part.key, rows=part.rows, bytes=part.bytes, file=directory.sql_path(part))
        for name in (names if table is None else [table])
        for part in snapshot.parts(name)
    )
