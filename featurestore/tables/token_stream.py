"""Token ids of a corpus, twice: in short runs for SQL, and as one stream mapped into memory, for windows of pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy
import pyarrow

from featurestore.conventions import held_out
from featurestore.errors import BadRequest, BadStore
from featurestore.storage import numpy_files

# Tokens in a run, as the view `examples` in schema.sql knows too; a window is at most as long, so two runs hold it.
RUN = 512
SHARD_RUNS = 65_536


def runs(
    corpus: str, numbers: numpy.ndarray, lengths: numpy.ndarray, stream: numpy.ndarray
) -> Iterator[tuple[int, pyarrow.Table]]:
    """Yield the rows of stored.tokens, by shards of 65,536 runs (32 million tokens)."""
    count = -(-lengths // RUN)
    document = numpy.repeat(numbers, count).astype(numpy.int32)
    firsts = numpy.cumsum(count) - count
    run = (numpy.arange(len(document)) - numpy.repeat(firsts, count)).astype(numpy.int32)
    # Runs of a document follow one another and fill the stream, so each one's end is the next one's begin.
    begin = numpy.repeat(numpy.cumsum(lengths) - lengths, count) + run.astype(numpy.int64) * RUN
    ends = numpy.append(begin, len(stream))
    values = pyarrow.array(numpy.asarray(stream, dtype=numpy.int32))
    for shard, at in enumerate(range(0, max(1, len(document)), SHARD_RUNS)):
        rows = slice(at, at + SHARD_RUNS)
        offsets = ends[at : at + len(document[rows]) + 1]
        yield (
            shard,
            pyarrow.table(
                {
                    "corpus": pyarrow.array([corpus] * len(document[rows]), pyarrow.string()),
                    "document": document[rows],
                    "run": run[rows],
                    "tokens": pyarrow.ListArray.from_arrays(
                        (offsets - offsets[0]).astype(numpy.int32), values[offsets[0] : offsets[-1]]
                    ),
                }
            ),
        )


def complete_documents(corpus: str, documents: pyarrow.Table, stream: numpy.ndarray, excerpts: bool) -> pyarrow.Table:
    """Return the documents with their corpus and whether each is held out, as stored.documents has them.

    No excerpt is held out: other excerpts of the same text may lie on the other side.
    Raises BadRequest when the documents' lengths and the number of tokens do not agree.
    """
    lengths = documents["length"].to_numpy()
    if int(lengths.sum()) != len(stream):
        raise BadRequest(f"corpus {corpus}: its documents have {lengths.sum()} tokens, but {len(stream)} were given")
    names = pyarrow.array([corpus] * documents.num_rows, pyarrow.string())
    is_held_out = [False] * len(lengths) if excerpts else held_out(split(lengths, stream))
    documents = documents.append_column("corpus", names).append_column("held_out", pyarrow.array(is_held_out))
    return documents.append_column("excerpt", pyarrow.array([excerpts] * len(lengths), pyarrow.bool_()))


def split(lengths: numpy.ndarray, stream: numpy.ndarray) -> Iterator[memoryview]:
    """Yield the bytes of each document's token ids, little-endian int32, as held_out takes them."""
    begin = 0
    for length in lengths.tolist():
        yield numpy.ascontiguousarray(stream[begin : begin + length], dtype="<i4").data.cast("B")
        begin += length


def write_stream(path: Path, numbers: numpy.ndarray, lengths: numpy.ndarray, stream: numpy.ndarray) -> int:
    """Write the stream as a directory of .npy files and return how many tokens it has.

    tokens.npy (tokens,) int32; documents.npy (documents,) int32, ascending; starts.npy (documents + 1,) int64.
    """
    path.mkdir()
    order = numpy.argsort(numbers, kind="stable")
    starts = numpy.cumsum(lengths) - lengths
    if not (order == numpy.arange(len(order))).all():
        stream = numpy.concatenate([stream[starts[n] : starts[n] + lengths[n]] for n in order])
    numpy.save(path / "tokens.npy", numpy.asarray(stream, dtype=numpy.int32))
    numpy.save(path / "documents.npy", numpy.asarray(numbers[order], dtype=numpy.int32))
    numpy.save(path / "starts.npy", numpy.append(0, numpy.cumsum(lengths[order])).astype(numpy.int64))
    return len(stream)


class Stream:
    """A stream written by `write_stream`, opened for cutting windows. Safe to share between threads."""

    def __init__(self, path: Path):
        """Raises BadStore when it cannot be read."""
        try:
            self.tokens = numpy.asarray(numpy_files.map_array(path / "tokens.npy"))
            self._documents = numpy_files.read_array(path / "documents.npy")
            self._starts = numpy_files.read_array(path / "starts.npy")
        except (OSError, ValueError) as exc:
            raise BadStore(f"{path} cannot be read; run `featurestore check --repair` ({exc})") from None
        self._path = path

    def windows(self, documents: numpy.ndarray, starts: numpy.ndarray, lengths: numpy.ndarray) -> numpy.ndarray:
        """Return the token ids of windows in a row, (sum of lengths,) int32: `lengths` of each from its start.

        Raises BadStore when a document is missing or too short.
        """
        at = self._at(documents)
        places = self._starts[at] + starts
        beyond = numpy.flatnonzero(places + lengths > self._starts[at + 1])
        if len(beyond):
            raise BadStore(f"{self._path}: document {documents[beyond[0]]} ends before an example that refers to it")
        before = numpy.cumsum(lengths) - lengths
        return self.tokens[numpy.repeat(places - before, lengths) + numpy.arange(int(lengths.sum()))]

    def places(self, documents: numpy.ndarray, positions: numpy.ndarray) -> numpy.ndarray:
        """Return where in `tokens` positions of documents are, int64. Raises BadStore for a missing document."""
        places: numpy.ndarray = self._starts[self._at(documents)] + positions
        return places

    def _at(self, documents: numpy.ndarray) -> numpy.ndarray:
        at = numpy.minimum(numpy.searchsorted(self._documents, documents), len(self._documents) - 1)
        missing = numpy.flatnonzero(self._documents[at] != documents)
        if len(missing):
            raise BadStore(f"{self._path} lacks document {documents[missing[0]]} that an example refers to")
        return at
