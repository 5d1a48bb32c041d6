"""Rows of stored.examples and the corpus of their texts, from the spooled windows of one dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.joining.spool import DictionarySpool
from ingest.formats.records.windows import Packed, hash_windows

if TYPE_CHECKING:
    from featurestore import Writer

SHARD_FEATURES = 65_536
COPIED = ("band_low", "band_high", "band_share", "repeated", "extra", "length", "activation", "offsets", "activations")


class ExcerptCorpus(NamedTuple):
    """The texts of a dictionary's windows, each once, and the vocabulary that was collected from them."""

    id: str
    tokenizer: str
    pieces: list[bytes]
    lengths: numpy.ndarray  # (documents,) int32
    stream: numpy.ndarray  # (tokens,) int32, mapped from a file
    documents: list[numpy.ndarray]  # of each batch of windows, the number of each one's document

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
    known: dict[bytes, int] = {}
    lengths: list[numpy.ndarray] = []
    documents: list[numpy.ndarray] = []
    digest = hashlib.sha256()
    path = folder / "tokens.i4"
    with open(path, "wb") as file:
        for packed, numbers, known_pieces in _number_pieces(spool):
            pieces = known_pieces
            ids = numbers[packed.rows["tokens"].combine_chunks().values.to_numpy()]
            length = packed.rows["length"].to_numpy().astype(numpy.int64)
            keys: list[bytes] = numpy.ascontiguousarray(hash_windows(ids, length)).view("V16").ravel().tolist()
            first = len(known)
            number = numpy.array([known.setdefault(key, len(known)) for key in keys], dtype=numpy.int32)
            _, fresh = numpy.unique(number, return_index=True)
            fresh = fresh[number[fresh] >= first]
            is_fresh = numpy.zeros(len(length), bool)
            is_fresh[fresh] = True
            chosen = ids[numpy.repeat(is_fresh, length)]
            chosen.tofile(file)
            digest.update(chosen)
            lengths.append(length[is_fresh].astype(numpy.int32))
            documents.append(number)
    listed = pieces.to_pylist()
    tokenizer = hashlib.sha256(b"".join(_frame(piece) for piece in listed)).hexdigest()[:16]
    all_lengths = numpy.concatenate(lengths) if lengths else numpy.zeros(0, numpy.int32)
    corpus = hashlib.sha256(tokenizer.encode() + all_lengths.tobytes() + digest.digest()).hexdigest()[:16]
    return ExcerptCorpus(corpus, tokenizer, listed, all_lengths, numpy.memmap(path, numpy.int32, "r"), documents)


def _number_pieces(spool: DictionarySpool) -> Iterator[tuple[Packed, numpy.ndarray, pyarrow.Array]]:
    """Yield each batch of windows, the number of each of its pieces among all of them, (pieces,) int32, and all."""
    known = pyarrow.array([], pyarrow.binary())
    for group in spool.window_groups():
        flat = pyarrow.concat_arrays([known, *(packed.pieces for packed in group)]).dictionary_encode()
        ends = numpy.cumsum([len(known), *(len(packed.pieces) for packed in group)])
        known, codes = flat.dictionary, flat.indices.to_numpy()
        for packed, begin, end in zip(group, ends, ends[1:], strict=False):
            yield packed, codes[begin:end], known


def make_example_rows(
    spool: DictionarySpool, corpus: ExcerptCorpus, dictionary: str
) -> Iterator[tuple[int, pyarrow.Table]]:
    """Yield the number of each shard and its rows of stored.examples, ranked within each feature's band."""
    by_shard: dict[int, list[pyarrow.Table]] = {}
    for packed, documents in zip(spool.windows(), corpus.documents, strict=True):
        rows = packed.rows.drop_columns(["tokens"]).append_column("document", pyarrow.array(documents))
        shards = rows["feature"].to_numpy() // SHARD_FEATURES
        for shard in numpy.unique(shards).tolist():
            part = rows if (shards == shard).all() else rows.filter(pyarrow.array(shards == shard))
            by_shard.setdefault(shard, []).append(part)
    for shard in sorted(by_shard):
        rows = pyarrow.concat_tables(by_shard.pop(shard)).unify_dictionaries().combine_chunks()
        count = rows.num_rows
        columns = {name: rows[name] for name in ("feature", "document", "position", *COPIED)}
        columns |= {
            "dictionary": pyarrow.array([dictionary] * count, pyarrow.string()),
            "corpus": pyarrow.array([corpus.id] * count, pyarrow.string()),
            "start": numpy.zeros(count, numpy.int32),
            "band": rows["band"].combine_chunks().cast(pyarrow.string()),
            "rank": _rank(rows),
        }
        yield shard, pyarrow.table(columns)


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
