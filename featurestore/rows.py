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

from featurestore.errors import BadStore
from featurestore.feature_rows import FeatureRows
from featurestore.log import Part, Snapshot
from featurestore.parts import Directory
from featurestore.records import Dictionary
from featurestore.tokens import Stream
from featurestore.writer import SHARD_FEATURES

KEPT_FILES = 512  # whose metadata is kept


class _Groups(NamedTuple):
    """A file's metadata, and the first and last feature of each row group."""

    metadata: Any
    first: numpy.ndarray
    last: numpy.ndarray


class Vocabulary:
    """The tokens of a tokenizer as text."""

    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces
        self._texts = [_text(piece) for piece in pieces]  # None for a piece of a character

    def texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Text of each token; a character split over tokens is shown whole on the first, and the rest are empty."""
        alone = [self._texts[id] for id in ids]
        return tuple(alone) if None not in alone else joined([self._pieces[id] for id in ids])  # type: ignore[arg-type]


def _text(piece: bytes) -> str | None:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return None


def joined(pieces: list[bytes]) -> tuple[str, ...]:
    """Text of each token where some are pieces of characters; what never makes one is shown as U+FFFD."""
    found = []
    at = 0
    while at < len(pieces):
        for size in range(1, 5):
            text = _text(b"".join(pieces[at : at + size]))
            if text is not None:
                found += [text] + [""] * (len(pieces[at : at + size]) - 1)
                at += size
                break
        else:
            found.append(pieces[at].decode("utf-8", errors="replace"))
            at += 1
    return tuple(found)


class Rows:
    """Reads rows of parts; keeps what never changes: files' metadata, vocabularies, token streams. Safe between threads."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Groups] = OrderedDict()
        self.feature_rows = functools.lru_cache(KEPT_FILES)(lambda part: FeatureRows(directory.open(part)))
        self.stream = functools.lru_cache(64)(lambda part: Stream(directory.local(part)))
        self.vocabulary = functools.lru_cache(16)(self._vocabulary)
        self._documents = functools.lru_cache(64)(self._of_corpus)
        self.dictionary = functools.lru_cache(65_536)(self._dictionary)

    def of_feature(self, part: Part, feature: int, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The rows of one feature in a part ordered by feature. Raises BadStore when the file cannot be read."""
        return self.of_features(part, numpy.array([feature]), columns)

    def of_features(self, part: Part, features: numpy.ndarray, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """The rows of some features in a part ordered by feature, in the part's order."""
        try:
            groups = self._groups(part)
            # Groups follow one another by feature: those from the first that can hold one to the last.
            low = numpy.searchsorted(groups.last, features, side="left")
            high = numpy.searchsorted(groups.first, features, side="right")
            wanted = sorted({n for one, end in zip(low.tolist(), high.tolist(), strict=True) for n in range(one, end)})
            with pyarrow.parquet.ParquetFile(self._directory.open(part), metadata=groups.metadata) as file:
                if not wanted:
                    return file.schema_arrow.empty_table()
                found = file.read_row_groups(wanted, columns=list(columns) if columns else None)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._directory.location}/{part.file} cannot be read: {exc}") from None
        keep = numpy.isin(found["feature"].to_numpy(), features)
        at = numpy.flatnonzero(keep)
        if len(at) and at[-1] - at[0] + 1 == len(at):
            return found.slice(int(at[0]), len(at))  # neighbours need no copy of their lists
        return found.take(at)

    def all(self, part: Part, columns: Sequence[str] | None = None) -> pyarrow.Table:
        """Every row of a Parquet part. Raises BadStore when the file cannot be read."""
        try:
            with pyarrow.parquet.ParquetFile(self._directory.open(part)) as file:
                return file.read(columns=list(columns) if columns else None)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._directory.location}/{part.file} cannot be read: {exc}") from None

    def _groups(self, part: Part) -> _Groups:
        with self._lock:
            if part.file in self._kept:
                self._kept.move_to_end(part.file)
                return self._kept[part.file]
        with pyarrow.parquet.ParquetFile(self._directory.open(part)) as file:
            metadata = file.metadata
        column = metadata.schema.names.index("feature")
        reach = [metadata.row_group(n).column(column).statistics for n in range(metadata.num_row_groups)]
        groups = _Groups(metadata, numpy.array([r.min for r in reach]), numpy.array([r.max for r in reach]))
        with self._lock:
            self._kept[part.file] = groups
            while len(self._kept) > KEPT_FILES:
                self._kept.popitem(last=False)
        return groups

    def document(self, part: Part, number: int) -> tuple[str | None, str]:
        """Name and tokenizer of a document, in the part that has its corpus. Raises BadStore when it is not there."""
        numbers, names, tokenizers = self._documents(part)
        at = int(numpy.searchsorted(numbers, number))
        if at == len(numbers) or numbers[at] != number:
            raise BadStore(f"the store lacks document {number} of corpus {part.key} that an example refers to")
        return names[at].as_py(), tokenizers[at].as_py()

    def _of_corpus(self, part: Part) -> tuple[numpy.ndarray, Any, Any]:
        table = self.all(part, ["document", "name", "tokenizer"])
        return table["document"].to_numpy(), table["name"], table["tokenizer"]

    def _dictionary(self, part: Part) -> Dictionary:
        return msgspec.convert(self.all(part).to_pylist()[0], Dictionary)

    def _vocabulary(self, part: Part) -> Vocabulary:
        return Vocabulary(self.all(part, ["bytes"])["bytes"][0].as_py())


def shard_part(snapshot: Snapshot, table: str, dictionary: str, feature: int) -> Part | None:
    """The part of a table that can hold a feature."""
    for part in snapshot.parts(table, dictionary):
        if part.shard == feature // SHARD_FEATURES:
            return part
    return None
