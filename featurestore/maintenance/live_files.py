"""Which Parquet files count: what an engine reads that knows nothing of the log."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from featurestore.display.text import suggest
from featurestore.errors import BadRequest
from featurestore.storage.directory import Directory
from featurestore.tables import schema
from featurestore.values.tables import Listing


class TableFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of a table of schema.sql.

    `key` is what its rows belong to: a dictionary, a corpus, a tokenizer, a graph or a list. `file` is an absolute path
    or an s3://... URL.
    """

    table: str
    key: str
    rows: int
    bytes: int
    file: str


class TableFiles(Listing[TableFile]):
    """The files of one snapshot of a store, ordered by table, key and name: a list that can be a table too."""

    def __init__(self, values: Iterable[TableFile] = ()):
        super().__init__(TableFile, values)

    @property
    def paths(self) -> list[str]:
        """The path or URL of each file, as engines take them."""
        return [entry.file for entry in self]


def list_files(directory: Directory, table: str | None = None) -> TableFiles:
    """Return the live files of every stored table, or of one; files of removed and replaced rows are not among them.

    Raises BadRequest when there is no such table.
    """
    names = schema.tables()
    if table is not None and table not in names:
        raise BadRequest(f"table: '{table:.80}' is not one of {', '.join(names)}{suggest(table, names)}")
    snapshot = directory.snapshot()
    return TableFiles(
        TableFile(table=name, key=part.key, rows=part.rows, bytes=part.bytes, file=_absolute(directory.sql_path(part)))
        for name in (names if table is None else [table])
        for part in snapshot.parts(name)
    )


def _absolute(file: str) -> str:
    return file if "://" in file else str(Path(file).absolute())
