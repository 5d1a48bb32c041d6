"""Rows of stored.examples and the corpus of their texts, from the spooled windows of one dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.joining.spool import DictionarySpool, Reach, keep_within
from ingest.formats.records.windows import Packed, hash_windows

if TYPE_CHECKING:
    from featurestore import Writer

SHARD_FEATURES = 65_536
COPIED_WINDOWS = 65_536  # whose tokens are copied at once
COPIED = ("band_low", "band_high", "band_share", "repeated", "extra", "length", "activation", "offsets", "activations")


class ExcerptCorpus(NamedTuple):
    """The texts of a dictionary's windows, each once, and the vocabulary that was collected from them."""

    id: str
    tokenizer: str
    pieces: list[bytes]
    lengths: numpy.ndarray  # (documents,) int32
    stream: numpy.ndarray  # (tokens,) int32, mapped from a file
    documents: list[numpy.ndarray]  # of each batch of windows, the number of each one's document
    digest: str  # of the windows, the features that they are of and their activations

    def write(self, writer: Writer) -> None:
        """Add the corpus and its tokenizer, unless the store has them."""
        if not writer.has("tokenizers", self.tokenizer):
            row = {
                "tokenizer": [self.tokenizer],
                "pieces": [[piece.decode("utf-8", errors="replace") for piece in self.pieces]],
                "bytes": [self.pieces],
                "collected": [True],
            }
            writer.add("tokenizers", pyarrow.table(row), key=self.tokenizer)
        if not writer.has("documents", self.id):
            count = len(self.lengths)
            documents = pyarrow.table(
                {
                    "document": numpy.arange(count, dtype=numpy.int32),
                    "name": pyarrow.nulls(count, pyarrow.string()),
                    "tokenizer": pyarrow.array([self.tokenizer] * count, pyarrow.string()),
                    "length": self.lengths,
                }
            )
            writer.add_corpus(self.id, documents, self.stream, excerpts=True)


def collect_corpus(spool: DictionarySpool, folder: Path) -> ExcerptCorpus:
    """Return the corpus of all windows; its tokens are kept in a file in `folder`. Equal windows are one document."""
    pieces = pyarrow.array([], pyarrow.binary())
    lengths, hashes = [numpy.zeros(0, numpy.int64)], [numpy.zeros((0, 2), numpy.uint64)]
    path = folder / "tokens.i4"
    of_windows = hashlib.sha256()
    with open(path, "wb") as file:
        for packed, numbers, known_pieces in _number_pieces(spool):
            pieces = known_pieces
            ids = numbers.take(packed.rows["tokens"].combine_chunks().values.to_numpy())
            lengths.append(packed.rows["length"].to_numpy().astype(numpy.int64))
            hashes.append(hash_windows(ids, lengths[-1]))
            for column in (hashes[-1], packed.rows["feature"].to_numpy(), packed.rows["activation"].to_numpy()):
                of_windows.update(numpy.ascontiguousarray(column).data)
            ids.tofile(file)
    listed = pieces.to_pylist()
    tokenizer = hashlib.sha256(b"".join(_frame(piece) for piece in listed)).hexdigest()[:16]
    length = numpy.concatenate(lengths)
    documents, firsts = number_windows(numpy.concatenate(hashes))
    stream = numpy.memmap(path, numpy.int32, "r")
    if len(firsts) < len(length):
        path = _copy_windows(stream, length, firsts, folder / "documents.i4")
        stream, length = numpy.memmap(path, numpy.int32, "r"), length[firsts]
    length = length.astype(numpy.int32)
    digest = hashlib.sha256(stream.data).digest()
    corpus = hashlib.sha256(tokenizer.encode() + length.tobytes() + digest).hexdigest()[:16]
    parts = numpy.split(documents, numpy.cumsum([len(part) for part in lengths[1:]])[:-1])
    of_windows.update(tokenizer.encode())
    return ExcerptCorpus(corpus, tokenizer, listed, length, stream, parts, of_windows.hexdigest()[:16])


def number_windows(hashes: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return the number of each window by its hash (n, 2), (n,) int32, and the first window of each number, ascending.

    Equal windows have one number; numbers are in the order of their first windows.
    """
    order = numpy.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: the first of equal ones comes first
    ordered = hashes[order]
    starts = numpy.ones(len(order), bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = numpy.empty(len(order), numpy.int64)
    first[order] = order[starts][numpy.cumsum(starts) - 1]
    firsts = numpy.flatnonzero(first == numpy.arange(len(first)))
    numbers = numpy.empty(len(order), numpy.int32)
    numbers[firsts] = numpy.arange(len(firsts), dtype=numpy.int32)
    return numbers[first], firsts


def _copy_windows(stream: numpy.ndarray, length: numpy.ndarray, windows: numpy.ndarray, path: Path) -> Path:
    """Write the tokens of the windows with these numbers, ascending, to a file, and return its path."""
    ends = numpy.cumsum(length)
    is_kept = numpy.zeros(len(length), bool)
    is_kept[windows] = True
    with open(path, "wb") as file:
        for first in range(0, len(length), COPIED_WINDOWS):
            part = slice(first, first + COPIED_WINDOWS)
            begin = int(ends[first] - length[first])
            tokens = stream[begin : begin + int(length[part].sum())]
            tokens[numpy.repeat(is_kept[part], length[part])].tofile(file)
    return path


def _number_pieces(spool: DictionarySpool) -> Iterator[tuple[Packed, numpy.ndarray, pyarrow.Array]]:
    """Yield each batch of windows, the number of each of its pieces among all of them, (pieces,) int32, and all."""
    known = pyarrow.array([], pyarrow.binary())
    for group in spool.window_groups():
        flat = pyarrow.concat_arrays([known, *(packed.pieces for packed in group)]).dictionary_encode()
        ends = numpy.cumsum([len(known), *(len(packed.pieces) for packed in group)])
        known, codes = flat.dictionary, flat.indices.to_numpy()
        for packed, begin, end in zip(group, ends, ends[1:], strict=False):
            yield packed, codes[begin:end], known


def list_shards(spool: DictionarySpool) -> list[int]:
    """Return the numbers of the shards between the smallest and the largest feature that windows are of."""
    shards: set[int] = set()
    for reach in spool.window_reaches():
        shards |= set(range(reach.first // SHARD_FEATURES, reach.last // SHARD_FEATURES + 1))
    return sorted(shards)


def make_example_rows(spool: DictionarySpool, corpus: ExcerptCorpus, dictionary: str, shard: int) -> pyarrow.Table:
    """Return a shard's rows of stored.examples, ranked within each feature's band."""
    within = reach_of(shard)
    parts = []
    for number, reach in enumerate(spool.window_reaches()):
        if reach.first <= within.last and within.first <= reach.last:
            rows = spool.windows_without_tokens(number)
            parts.append(keep_within(rows.append_column("document", pyarrow.array(corpus.documents[number])), within))
    rows = pyarrow.concat_tables(parts).unify_dictionaries().combine_chunks()
    count = rows.num_rows
    columns = {name: rows[name] for name in ("feature", "document", "position", *COPIED)}
    columns |= {
        "dictionary": pyarrow.array([dictionary] * count, pyarrow.string()),
        "corpus": pyarrow.array([corpus.id] * count, pyarrow.string()),
        "start": numpy.zeros(count, numpy.int32),
        "band": rows["band"].combine_chunks().cast(pyarrow.string()),
        "rank": _rank(rows),
    }
    return pyarrow.table(columns)


def reach_of(shard: int) -> Reach:
    """Return the features of a shard."""
    return Reach(shard * SHARD_FEATURES, (shard + 1) * SHARD_FEATURES - 1)


def _rank(rows: pyarrow.Table) -> numpy.ndarray:
    """Return the rank of each row in its feature's band, strongest first; (n,) int32."""
    feature = rows["feature"].to_numpy()
    band = rows["band"].combine_chunks().indices.to_numpy()
    order = numpy.lexsort((-numpy.abs(rows["activation"].to_numpy()), band, feature))
    starts = numpy.ones(len(order), bool)
    starts[1:] = (numpy.diff(feature[order]) != 0) | (numpy.diff(band[order]) != 0)
    places = numpy.arange(len(order))
    rank = numpy.empty(len(order), numpy.int32)
    rank[order] = places - numpy.maximum.accumulate(numpy.where(starts, places, 0))
    return rank


def _frame(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content
