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

from featurestore import arrays, feature_rows
from featurestore.embed import Embedder
from featurestore.errors import BadStore

# Texts embedded and kept at a time: what a killed run loses at most.
BATCH = 2048
BLOCK = 65_536  # rows copied at a time

_HASH = numpy.dtype("S16")


class _Source(NamedTuple):
    """Vectors that are there, by the hashes of their texts: hashes ascend, `rows` says which vector is whose."""

    hashes: numpy.ndarray
    rows: numpy.ndarray
    vectors: numpy.ndarray


class LabelVectors:
    """The vectors of texts under one embedder, kept in `folder` while they are made."""

    def __init__(self, embedder: Embedder, folder: Path):
        self._embedder = embedder
        self._folder = folder / hashlib.sha256(embedder.id.encode()).hexdigest()[:12]
        self._sources: list[_Source] = []
        for file in sorted(self._folder.glob("*.npz")):
            kept = arrays.archive(file)
            self._add(kept["hashes"], kept["vectors"])

    def take_over(self, index: Path) -> None:
        """Use what a label index has; one that is damaged has nothing."""
        try:
            vectors = arrays.mapped(index / "vectors.npy")
            if (index / "rows.arrow").exists():
                labels = feature_rows.FeatureRows(index / "rows.arrow").table(("label",))["label"]
            else:  # as indexes were before
                labels = pyarrow.parquet.read_table(index / "rows.parquet", columns=["label"])["label"]
        except (OSError, ValueError, BadStore, pyarrow.ArrowException):
            return
        if len(labels) == len(vectors):
            self._add(hashes(labels), vectors)

    def embed(self, labels: pyarrow.ChunkedArray, progress: Callable[[int], Callable[[int], None]]) -> int:
        """Embed the texts that are not known yet; how many. Interrupted anywhere, it goes on with the rest next time."""
        of_label = hashes(labels)
        new, first = numpy.unique(of_label, return_index=True)
        for source in self._sources:
            missing = ~numpy.isin(new, source.hashes)
            new, first = new[missing], first[missing]
        advance = progress(len(new))
        self._folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(new), BATCH):
            some = slice(start, start + BATCH)
            texts = labels.take(pyarrow.array(first[some])).to_pylist()
            vectors = self._embedder(texts, advance).astype(numpy.float16)
            self._keep(new[some], vectors)
            self._add(new[some], vectors)
        return len(new)

    def write(self, folder: Path, labels: pyarrow.ChunkedArray) -> numpy.ndarray:
        """Write vectors.npy, (labels, d) float16, in a folder; it, memory-mapped."""
        of_label = hashes(labels)
        dim = self._sources[0].vectors.shape[1] if self._sources else 1
        matrix = numpy.lib.format.open_memmap(
            folder / "vectors.npy", mode="w+", dtype=numpy.float16, shape=(len(of_label), dim)
        )
        for source in self._sources:
            place = numpy.minimum(numpy.searchsorted(source.hashes, of_label), len(source.hashes) - 1)
            mine = numpy.flatnonzero(source.hashes[place] == of_label)
            for start in range(0, len(mine), BLOCK):
                some = mine[start : start + BLOCK]
                matrix[some] = source.vectors[source.rows[place[some]]]
        matrix.flush()
        return arrays.mapped(folder / "vectors.npy")

    def forget(self) -> None:
        """Delete what was kept to go on with."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add(self, of_text: numpy.ndarray, vectors: numpy.ndarray) -> None:
        if len(of_text):
            unique, rows = numpy.unique(of_text, return_index=True)
            self._sources.append(_Source(unique, rows, vectors))

    def _keep(self, of_text: numpy.ndarray, vectors: numpy.ndarray) -> None:
        name = hashlib.sha256(of_text.tobytes()).hexdigest()[:24]
        written = self._folder / f"{name}.part"
        with written.open("wb") as file:
            numpy.savez(file, hashes=of_text, vectors=vectors)
            file.flush()
            os.fsync(file.fileno())
        written.rename(self._folder / f"{name}.npz")


def hashes(labels: pyarrow.ChunkedArray) -> numpy.ndarray:
    """A hash of each text, 16 bytes of BLAKE2b."""
    return numpy.fromiter(_digests(labels), dtype=_HASH, count=len(labels))


def _digests(labels: pyarrow.ChunkedArray) -> Iterator[bytes]:
    for chunk in labels.iterchunks():
        for start in range(0, len(chunk), BLOCK):
            for label in chunk.slice(start, BLOCK).to_pylist():
                yield hashlib.blake2b(label.encode(), digest_size=16).digest()
