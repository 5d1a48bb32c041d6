"""Texts embedded once each: what an older index or a killed run has done is taken over, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import pyarrow
import pyarrow.parquet

from featurestore.errors import BadStore
from featurestore.progress import Progress
from featurestore.search.embedders import Embedder
from featurestore.storage import numpy_files
from featurestore.tables import feature_rows

# Texts embedded and kept at a time: what a killed run loses at most.
BATCH = 2048
BLOCK = 65_536  # rows copied at a time

_HASH = numpy.dtype("S16")


class _Source(NamedTuple):
    """Vectors that are there: which text each is of, by hashes, and how to read them."""

    hashes: numpy.ndarray
    read: Callable[[], numpy.ndarray]


class LabelVectors:
    """The vectors of texts under one embedder, kept in `folder` while they are made."""

    def __init__(self, embedder: Embedder, folder: Path):
        self._embedder = embedder
        self._folder = folder / hashlib.sha256(embedder.id.encode()).hexdigest()[:12]
        self._sources: list[_Source] = []
        for file in sorted(self._folder.glob("*.npz")):
            self._add_kept(file)

    def take_over(self, index: Path) -> None:
        """Use what a label index has; one that is damaged has nothing."""
        try:
            vectors = numpy_files.mapped(index / "vectors.npy")
            if (index / "rows.arrow").exists():
                labels = feature_rows.FeatureRows(index / "rows.arrow").table(("label",))["label"]
            else:  # as indexes were before
                labels = pyarrow.parquet.read_table(index / "rows.parquet", columns=["label"])["label"]
        except (OSError, ValueError, BadStore, pyarrow.ArrowException):
            return
        if len(labels) == len(vectors):
            self._sources.append(_Source(hashes(labels), lambda: vectors))

    def embed(self, labels: pyarrow.ChunkedArray, progress: Progress) -> int:
        """Embed the texts that are not known yet; how many. Interrupted anywhere, it goes on with the rest next time."""
        new, first = numpy.unique(hashes(labels), return_index=True)
        if self._sources:
            missing = ~numpy.isin(new, numpy.concatenate([source.hashes for source in self._sources]))
            new, first = new[missing], first[missing]
        order = numpy.argsort(first)  # as the labels lie, so that their vectors are written one after another
        new, first = new[order], first[order]
        advance = progress("embedding labels", len(new))
        self._folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(new), BATCH):
            some = slice(start, start + BATCH)
            texts = labels.take(pyarrow.array(first[some])).to_pylist()
            self._add_kept(self._keep(new[some], self._embedder(texts, advance).astype(numpy.float16)))
        return len(new)

    def write(self, folder: Path, labels: pyarrow.ChunkedArray) -> numpy.ndarray:
        """Write vectors.npy, (labels, d) float16, in a folder; it, memory-mapped."""
        of_label = hashes(labels)
        order = numpy.argsort(of_label)
        of_label = of_label[order]
        dim = self._sources[0].read().shape[1] if self._sources else 1
        matrix = numpy.lib.format.open_memmap(
            folder / "vectors.npy", mode="w+", dtype=numpy.float16, shape=(len(of_label), dim)
        )
        for source in self._sources:
            unique, first = numpy.unique(source.hashes, return_index=True)
            low, high = (numpy.searchsorted(of_label, unique, side=side) for side in ("left", "right"))
            # Every label of every text of the source, a run of `order` for each text.
            counts = high - low
            of_text = numpy.repeat(first, counts)
            rows = order[numpy.arange(counts.sum()) + numpy.repeat(low - (numpy.cumsum(counts) - counts), counts)]
            along = numpy.argsort(rows)
            vectors = source.read()
            for start in range(0, len(along), BLOCK):
                some = along[start : start + BLOCK]
                matrix[rows[some]] = vectors[of_text[some]]
        matrix.flush()
        return numpy_files.mapped(folder / "vectors.npy")

    def forget(self) -> None:
        """Delete what was kept to go on with."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add_kept(self, file: Path) -> None:
        self._sources.append(
            _Source(numpy_files.archived(file, "hashes"), lambda: numpy_files.archived(file, "vectors"))
        )

    def _keep(self, of_text: numpy.ndarray, vectors: numpy.ndarray) -> Path:
        name = hashlib.sha256(of_text.tobytes()).hexdigest()[:24]
        written, whole = self._folder / f"{name}.part", self._folder / f"{name}.npz"
        with written.open("wb") as opened:
            numpy.savez(opened, hashes=of_text, vectors=vectors)
            opened.flush()
            os.fsync(opened.fileno())
        return written.rename(whole)


def hashes(labels: pyarrow.ChunkedArray) -> numpy.ndarray:
    """A hash of each text, 16 bytes of BLAKE2b."""
    return numpy.fromiter(_digests(labels), dtype=_HASH, count=len(labels))


def _digests(labels: pyarrow.ChunkedArray) -> Iterator[bytes]:
    for chunk in labels.iterchunks():
        for start in range(0, len(chunk), BLOCK):
            for label in chunk.slice(start, BLOCK).to_pylist():
                yield hashlib.blake2b(label.encode(), digest_size=16).digest()
