"""The Parquet files that hold a store's tables, for engines that read them without us. Frozen values."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

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
