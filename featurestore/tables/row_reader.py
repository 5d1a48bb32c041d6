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
from featurestore.storage.directory import Directory
from featurestore.storage.log import Part
from featurestore.tables.feature_rows import FeatureRows
from featurestore.tables.grouped_rows import Gathered
from featurestore.tables.token_stream import Stream
from featurestore.tables.writer import SHARD_FEATURES
from featurestore.values.dictionary import Dictionary

KEPT_FILES = 512  # whose metadata is kept
MAPPED_FILES = 512  # that stay mapped, of each kind: those of 33 million features
FEW_GROUPS = 16  # row groups that the calling thread reads alone
KEPT_NAMES = 65_536  # of a corpus's documents
SMALL = 4096  # rows of a part of labels, votes or scores that is kept whole


class _Groups(NamedTuple):
    """A file's metadata, and the first and last feature of each row group."""

    metadata: Any
    first: numpy.ndarray
    last: numpy.ndarray


class Vocabulary:
    """The tokens of a tokenizer as text."""

    def __init__(self, pieces: list[bytes]):
        self._pieces = pieces
        texts = [_text(piece) for piece in pieces]  # None for a piece of a character
        self._texts = numpy.array(texts, dtype=object)
        self._whole = numpy.array([text is not None for text in texts], dtype=bool)

    def windows(self, ids: numpy.ndarray, ends: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
        """Text of the tokens of each window, of which `ends` says where in `ids` it begins and ends.

        A character split over tokens is shown whole on the first, and the rest are empty.
        """
        texts = self._texts[ids].tolist()
        if self._whole[ids].all():
            return [tuple(texts[begin:end]) for begin, end in ends]
        return [
            tuple(texts[begin:end])
            if self._whole[ids[begin:end]].all()
            else joined([self._pieces[id] for id in ids[begin:end].tolist()])
            for begin, end in ends
        ]


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


class Documents:
    """What a corpus says of its documents."""

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
        """Name and tokenizer of each document, and whether it is held out. Raises BadStore when one is not there."""
        at = numpy.minimum(numpy.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        lost = numpy.flatnonzero(self._numbers[at] != numbers)
        if len(lost):
            raise BadStore(
                f"the store lacks document {numbers[lost[0]]} of corpus {self._corpus} that an example refers to"
            )
        return [self._name(n) for n in at.tolist()], self._tokenizers_of(at), self._held_out[at].tolist()

    def _tokenizers_of(self, at: numpy.ndarray) -> list[str]:
        if len(self._tokenizers) == 1:
            return self._tokenizers * len(at)
        return [self._tokenizers[code] for code in self._codes[at].tolist()]


class Rows:
    """Reads rows of parts; keeps what never changes: files' metadata, vocabularies, token streams. Safe between threads."""

    def __init__(self, directory: Directory):
        self._directory = directory
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Groups] = OrderedDict()
        self.feature_rows = functools.lru_cache(MAPPED_FILES)(lambda part: FeatureRows(directory.open(part)))
        self.stream = functools.lru_cache(64)(lambda part: Stream(directory.local(part)))
        self.vocabulary = functools.lru_cache(16)(self._vocabulary)
        self.documents = functools.lru_cache(64)(self._of_corpus)
        self.gathered = functools.lru_cache(MAPPED_FILES)(
            lambda part: Gathered(directory.open(part), part.shard * SHARD_FEATURES)
        )
        self.dictionary = functools.lru_cache(65_536)(self._dictionary)
        self._small = functools.lru_cache(256)(self._by_feature)

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
                # Of a few row groups, handing columns to threads costs more than it saves.
                threads = len(wanted) > FEW_GROUPS
                found = file.read_row_groups(wanted, columns=list(columns) if columns else None, use_threads=threads)
        except (OSError, pyarrow.ArrowException) as exc:
            raise BadStore(f"{self._directory.location}/{part.file} cannot be read: {exc}") from None
        keep = numpy.isin(found["feature"].to_numpy(), features)
        at = numpy.flatnonzero(keep)
        if len(at) and at[-1] - at[0] + 1 == len(at):
            return found.slice(int(at[0]), len(at))  # neighbours need no copy of their lists
        return found.take(at)

    def appended(
        self, part: Part, wanted: Sequence[int], columns: Sequence[str] | None = None
    ) -> dict[int, list[dict[str, Any]]]:
        """By feature, the rows of some features in a part of labels, votes or scores, of which there can be many small ones."""
        low, high = part.about.get("first", 0), part.about.get("last")
        inside = [feature for feature in wanted if low <= feature and (high is None or feature <= high)]
        found: dict[int, list[dict[str, Any]]] = {}
        if not part.rows or not inside:
            return found
        if part.rows > SMALL:
            asked = ["feature", *columns] if columns else None
            for row in self.of_features(part, numpy.array(sorted(inside)), asked).to_pylist():
                found.setdefault(row["feature"], []).append(row)
            return found
        features, table = self._small(part)
        for feature in inside:
            first, end = numpy.searchsorted(features, [feature, feature + 1]).tolist()
            if end > first:
                found[feature] = table.slice(first, end - first).to_pylist()
        return found

    def _by_feature(self, part: Part) -> tuple[numpy.ndarray, pyarrow.Table]:
        table = self.all(part)
        return table["feature"].to_numpy(), table

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

    def _of_corpus(self, part: Part) -> Documents:
        return Documents(part.key, self.all(part, ["document", "name", "tokenizer", "held_out"]))

    def _dictionary(self, part: Part) -> Dictionary:
        return msgspec.convert(self.all(part).to_pylist()[0], Dictionary)

    def _vocabulary(self, part: Part) -> Vocabulary:
        return Vocabulary(self.all(part, ["bytes"])["bytes"][0].as_py())
