"""Single rows of Parquet parts, by feature, from the one row group that can hold them."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from featurestore.display.text import first_line
from featurestore.errors import BadStore
from featurestore.storage.directory import Directory
from featurestore.storage.log_files import Part
from featurestore.tables.feature_rows import FeatureRows
from featurestore.tables.grouped_rows import GroupedRows
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.stored_types import REMEDY, conform
from featurestore.tables.token_stream import Stream
from featurestore.tables.vocabulary import Vocabulary
from featurestore.values.dictionary import MOST_FEATURES, Dictionary

KEPT_FILES = 512  # whose metadata is kept
MAPPED_FILES = 512  # that stay mapped, of each kind: those of 33 million features
FEW_GROUPS = 16  # row groups that the calling thread reads alone
KEPT_NAMES = 65_536  # of a corpus's documents
SMALL = 4096  # rows of a part of labels, votes or scores that is kept whole
# A file may unpack to some megabytes, and beyond them to this many times its own bytes: what is packed more closely
# than feature rows ever are is meant to fill the memory of who opens it.
UNPACKED_BYTES, PACKED = 8_000_000, 1000


class _Groups(NamedTuple):
    """A file's metadata, and the first and last feature of each row group."""

    metadata: Any
    first: numpy.ndarray
    last: numpy.ndarray


class Documents:
    """The documents of a corpus: their names, tokenizers and whether they are held out."""

    def __init__(self, corpus: str, table: pyarrow.Table):
        self._corpus = corpus
        self._numbers = table["document"].to_numpy()
        names = table["name"].combine_chunks()
        # Pages show the same documents again and again, and to look a text up takes ten times as long.
        self._name = functools.lru_cache(KEPT_NAMES)(lambda at: names[at].as_py())
        tokenizers = table["tokenizer"].combine_chunks().dictionary_encode()
        self._tokenizers, self._codes = tokenizers.dictionary.to_pylist(), tokenizers.indices.to_numpy()
        self._held_out = table["held_out"].to_numpy()

    def of(self, numbers: numpy.ndarray) -> tuple[list[str | None], list[str], list[bool]]:
        """Return each document's name, its tokenizer and whether it is held out. Raises BadStore for a missing one."""
        at = numpy.minimum(numpy.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        missing = numpy.flatnonzero(self._numbers[at] != numbers)
        if len(missing):
            raise BadStore(
                f"the store lacks document {numbers[missing[0]]} of corpus {self._corpus} that an example refers to"
            )
        return [self._name(n) for n in at.tolist()], self._tokenizers_of(at), self._held_out[at].tolist()

    def _tokenizers_of(self, at: numpy.ndarray) -> list[str]:
        names: list[str] = self._tokenizers
        if len(names) == 1:
            return names * len(at)
        return [names[code] for code in self._codes[at].tolist()]


class Rows:
    """Reads rows of parts. Safe to share between threads.

    Keeps what never changes: metadata of files, vocabularies, token streams.
    """

    def __init__(self, directory: Directory):
        self._directory = directory
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Groups] = OrderedDict()
        self.feature_rows = functools.lru_cache(MAPPED_FILES)(lambda part: FeatureRows(directory.open(part)))
        self.stream = functools.lru_cache(64)(lambda part: Stream(directory.local(part)))
        self.vocabulary = functools.lru_cache(16)(self._vocabulary)
        self.documents = functools.lru_cache(64)(self._documents)
        self.grouped_rows = functools.lru_cache(MAPPED_FILES)(
            lambda part: GroupedRows(directory.open(part), part.shard * SHARD_FEATURES)
        )
        self.dictionary = functools.lru_cache(65_536)(self._dictionary)
        self._small = functools.lru_cache(256)(self._by_feature)

    def of_feature(self, part: Part, feature: int, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return the rows of one feature in a part ordered by feature. Raises BadStore when the file cannot be read."""
        return self.of_features(part, numpy.array([feature]), columns)

    def of_features(self, part: Part, features: numpy.ndarray, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return the rows of some features, in the order of the part, which is by feature. Raises as `of_feature`."""
        try:
            groups = self._groups(part)
            # Groups follow one another by feature: those from the first that can hold one to the last.
            low = numpy.searchsorted(groups.last, features, side="left")
            high = numpy.searchsorted(groups.first, features, side="right")
            wanted = sorted(
                {n for start, end in zip(low.tolist(), high.tolist(), strict=True) for n in range(start, end)}
            )
            with pyarrow.parquet.ParquetFile(self._directory.open(part), metadata=groups.metadata) as file:
                if not wanted:
                    return conform(file.schema_arrow.empty_table(), part.table, self._place(part), columns)
                # Of a few row groups, handing columns to threads costs more than it saves.
                threads = len(wanted) > FEW_GROUPS
                rows = file.read_row_groups(wanted, columns=list(columns) if columns else None, use_threads=threads)
        except (OSError, ValueError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._place(part)} cannot be read: {first_line(exc)}") from None
        rows = conform(rows, part.table, self._place(part), columns)
        keep = numpy.isin(rows["feature"].to_numpy(), features)
        at = numpy.flatnonzero(keep)
        if len(at) and at[-1] - at[0] + 1 == len(at):
            return rows.slice(int(at[0]), len(at))  # neighbours need no copy of their lists
        return rows.take(at)

    def read_appended(
        self, part: Part, wanted: Sequence[int], columns: Sequence[str] | None = None
    ) -> dict[int, list[dict[str, Any]]]:
        """Return the rows of some features, by feature, in a part of labels, votes or scores.

        A store can have many small parts of these, so small ones are kept whole. Raises as `of_feature`.
        """
        low, high = part.about.get("first", 0), part.about.get("last")
        inside = [feature for feature in wanted if low <= feature and (high is None or feature <= high)]
        rows: dict[int, list[dict[str, Any]]] = {}
        if not part.rows or not inside:
            return rows
        if part.rows > SMALL:
            names = ["feature", *columns] if columns else None
            for row in self.of_features(part, numpy.array(sorted(inside)), names).to_pylist():
                rows.setdefault(row["feature"], []).append(row)
            return rows
        features, table = self._small(part)
        for feature in inside:
            first, end = numpy.searchsorted(features, [feature, feature + 1]).tolist()
            if end > first:
                rows[feature] = table.slice(first, end - first).to_pylist()
        return rows

    def _by_feature(self, part: Part) -> tuple[numpy.ndarray, pyarrow.Table]:
        table = self.all(part)
        return table["feature"].to_numpy(), table

    def all(self, part: Part, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return every row of a Parquet part. Raises BadStore when the file cannot be read, or has other types."""
        return conform(self.as_written(part, columns), part.table, self._place(part), columns)

    def one(self, part: Part, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the one row of a part that has one. Raises BadStore as `all`, and for another number of rows."""
        rows = self.all(part, columns)
        if rows.num_rows != 1:
            raise BadStore(f"{self._place(part)} has {rows.num_rows:,} rows, where one is wanted; {REMEDY}")
        row: dict[str, Any] = rows.to_pylist()[0]
        return row

    def as_written(self, part: Part, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Return every row of a Parquet part with the columns and types of the file. Raises BadStore as `all`."""
        try:
            with pyarrow.parquet.ParquetFile(self._directory.open(part)) as file:
                self._check_size(part, file.metadata)
                return file.read(columns=list(columns) if columns else None)
        except (OSError, ValueError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._place(part)} cannot be read: {first_line(exc)}") from None

    def _check_size(self, part: Part, metadata: Any) -> None:
        """Hold what a file says of its size against the log and against its bytes, before it is read.

        Raises BadStore.
        """
        if metadata.num_rows != part.rows:
            raise BadStore(
                f"{self._place(part)} has {metadata.num_rows:,} rows, and the log says {part.rows:,}; {REMEDY}"
            )
        unpacked = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
        if unpacked > UNPACKED_BYTES + PACKED * part.bytes:
            raise BadStore(f"{self._place(part)} has {part.bytes:,} bytes and would unpack to {unpacked:,}; {REMEDY}")

    def _place(self, part: Part) -> str:
        return f"{self._directory.location}/{part.file}"

    def _groups(self, part: Part) -> _Groups:
        with self._lock:
            if part.file in self._kept:
                self._kept.move_to_end(part.file)
                return self._kept[part.file]
        with pyarrow.parquet.ParquetFile(self._directory.open(part)) as file:
            metadata = file.metadata
        self._check_size(part, metadata)
        names = [metadata.schema.column(n).path for n in range(len(metadata.schema))]
        if "feature" not in names:
            raise BadStore(f"{self._place(part)} has no column feature; {REMEDY}")
        column = names.index("feature")
        filled = [n for n in range(metadata.num_row_groups) if metadata.row_group(n).num_rows]
        reach = [metadata.row_group(n).column(column).statistics for n in filled]  # a part without rows has none
        if not all(r is not None and r.has_min_max and isinstance(r.min, int) for r in reach):
            raise BadStore(f"{self._place(part)} does not say which features its row groups have; {REMEDY}")
        groups = _Groups(metadata, numpy.array([r.min for r in reach]), numpy.array([r.max for r in reach]))
        with self._lock:
            self._kept[part.file] = groups
            while len(self._kept) > KEPT_FILES:
                self._kept.popitem(last=False)
        return groups

    def _documents(self, part: Part) -> Documents:
        return Documents(part.key, self.all(part, ["document", "name", "tokenizer", "held_out"]))

    def _dictionary(self, part: Part) -> Dictionary:
        rows = self.all(part)
        if rows.num_rows != 1:
            raise BadStore(f"{self._place(part)} has {rows.num_rows} rows; a dictionary has one; {REMEDY}")
        try:
            dictionary = msgspec.convert(rows.to_pylist()[0], Dictionary)
        except (msgspec.ValidationError, ValueError, OverflowError) as exc:
            raise BadStore(f"{self._place(part)} is no dictionary: {exc}; {REMEDY}") from None
        if dictionary.dictionary != part.key:
            raise BadStore(
                f"{self._place(part)} says that it is of {dictionary.dictionary!r:.200}, and the log that it is of "
                f"{part.key}; {REMEDY}"
            )
        if not 0 < dictionary.d_sae <= MOST_FEATURES:
            raise BadStore(
                f"{self._place(part)} says that its d_sae is {dictionary.d_sae:,}; a dictionary has 1 to "
                f"{MOST_FEATURES:,} features; {REMEDY}"
            )
        return dictionary

    def _vocabulary(self, part: Part) -> Vocabulary:
        rows = self.all(part, ["bytes"])
        if rows.num_rows != 1:
            raise BadStore(f"{self._place(part)} has {rows.num_rows} rows; a tokenizer has one; {REMEDY}")
        return Vocabulary(rows["bytes"][0].as_py())
