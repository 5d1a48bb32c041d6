"""Token ids of a corpus, twice: in short runs for SQL, and as one stream mapped into memory, from which pages cut windows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy
import pyarrow

from featurestore.errors import BadStore

# Tokens in a run, as the view `examples` in schema.sql knows too; a window is at most as long, so it lies in two runs.
RUN = 512
SHARD_RUNS = 65_536


def runs(
    corpus: str, numbers: numpy.ndarray, lengths: numpy.ndarray, stream: numpy.ndarray
) -> Iterator[tuple[int, pyarrow.Table]]:
    """Rows of stored.tokens, in shards of 65,536 runs (32 million tokens)."""
    count = -(-lengths // RUN)
    document = numpy.repeat(numbers, count).astype(numpy.int32)
    firsts = numpy.cumsum(count) - count
    run = (numpy.arange(len(document)) - numpy.repeat(firsts, count)).astype(numpy.int32)
    # Runs of a document follow one another and fill the stream, so each one's end is the next one's begin.
    begin = numpy.repeat(numpy.cumsum(lengths) - lengths, count) + run.astype(numpy.int64) * RUN
    ends = numpy.append(begin, len(stream))
    values = pyarrow.array(numpy.asarray(stream, dtype=numpy.int32))
    for shard, at in enumerate(range(0, max(1, len(document)), SHARD_RUNS)):
        some = slice(at, at + SHARD_RUNS)
        offsets = ends[at : at + len(document[some]) + 1]
        yield (
            shard,
            pyarrow.table(
                {
                    "corpus": pyarrow.array([corpus] * len(document[some]), pyarrow.string()),
                    "document": document[some],
                    "run": run[some],
                    "tokens": pyarrow.ListArray.from_arrays(
                        (offsets - offsets[0]).astype(numpy.int32), values[offsets[0] : offsets[-1]]
                    ),
                }
            ),
        )


def write_stream(path: Path, numbers: numpy.ndarray, lengths: numpy.ndarray, stream: numpy.ndarray) -> int:
    """Write the stream as a directory of .npy files; how many tokens it has.

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
            self.tokens = numpy.asarray(numpy.load(path / "tokens.npy", mmap_mode="r"))
            self._documents = numpy.load(path / "documents.npy")
            self._starts = numpy.load(path / "starts.npy")
        except (OSError, ValueError) as exc:
            raise BadStore(f"{path} cannot be read; run `featurestore check --repair` ({exc})") from None
        self._path = path

    def window(self, document: int, start: int, length: int) -> numpy.ndarray:
        """`length` token ids of a document from position `start`. Raises BadStore when they are not there."""
        at = int(numpy.searchsorted(self._documents, document))
        if at == len(self._documents) or self._documents[at] != document:
            raise BadStore(f"{self._path} lacks document {document} that an example refers to")
        first = int(self._starts[at]) + start
        if first + length > self._starts[at + 1]:
            raise BadStore(f"{self._path}: document {document} ends before an example that refers to it")
        return self.tokens[first : first + length]

    def places(self, documents: numpy.ndarray, positions: numpy.ndarray) -> numpy.ndarray:
        """Where in `tokens` positions of documents are, int64. Raises BadStore when a document is not there."""
        at = numpy.minimum(numpy.searchsorted(self._documents, documents), len(self._documents) - 1)
        lost = numpy.flatnonzero(self._documents[at] != documents)
        if len(lost):
            raise BadStore(f"{self._path} lacks document {documents[lost[0]]} that an example refers to")
        return self._starts[at] + positions
