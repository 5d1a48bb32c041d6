"""Embeds each text once: takes over what an older index or a killed run has embedded, in bounded memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet

from featurestore.errors import BadStore
from featurestore.progress import Progress
from featurestore.search import vectors
from featurestore.search.embedders import Embedder, embed_query
from featurestore.snapshot.catalog import Catalog
from featurestore.storage import numpy_files
from featurestore.tables import feature_rows

# Texts embedded and saved at a time: a killed run loses no more.
BATCH = 2048
BLOCK = 65_536  # rows copied at a time
QUESTIONS = 96  # on which the recall of an index of texts is measured

_HASH = numpy.dtype("S16")

# Quotation marks around single words, which label indexes up to layout 3 have left out. RE2's word boundaries are
# those of ASCII, so this takes some texts more than were changed.
QUOTED = r"""'\S{1,40}?'|"\S{1,40}?\""""


class _Source(NamedTuple):
    """Vectors that exist already: a hash of the text of each, and a function that reads them."""

    hashes: numpy.ndarray
    read: Callable[[], numpy.ndarray]


class LabelVectors:
    """The vectors of texts under one embedder, saved in `folder` until the index is written."""

    def __init__(self, embedder: Embedder, folder: Path, stage: str = "embedding labels"):
        """`stage` is what progress calls the embedding."""
        self._embedder = embedder
        self._stage = stage
        # Earlier versions embedded texts without their quotation marks; what they left half done is not taken up.
        self._folder = folder / hashlib.sha256(f"{embedder.id} as written".encode()).hexdigest()[:12]
        self._sources: list[_Source] = []
        for file in sorted(self._folder.glob("*.npz")):
            self._add_saved(file)

    def take_over(self, index: Path, as_written: bool) -> None:
        """Use the vectors of a label index; a damaged one has none, nor has one whose vectors are not the embedder's.

        One that is not `as_written` was embedded without quotation marks: vectors of texts that had some are left out.
        """
        try:
            vectors = numpy_files.map_array(index / "vectors.npy")
            if (index / "rows.arrow").exists():
                labels = feature_rows.FeatureRows(index / "rows.arrow").table(("label",))["label"]
            else:  # an index of layout 2 or older
                with pyarrow.parquet.ParquetFile(index / "rows.parquet") as file:
                    labels = file.read(columns=["label"])["label"]
        except (OSError, ValueError, BadStore, pyarrow.ArrowException):
            return
        width = len(embed_query(self._embedder, "width"))
        if vectors.shape == (len(labels), width) and vectors.dtype == numpy.float16:
            of_text = hashes(labels)
            if not as_written:
                of_text[pyarrow.compute.match_substring_regex(labels, QUOTED).to_numpy()] = b""
            self._sources.append(_Source(of_text, lambda: vectors))

    def embed(self, labels: pyarrow.ChunkedArray, progress: Progress) -> int:
        """Embed the texts without a vector. Returns their number. After an interruption the next call does the rest."""
        new, first = numpy.unique(hashes(labels), return_index=True)
        if self._sources:
            missing = ~numpy.isin(new, numpy.concatenate([source.hashes for source in self._sources]))
            new, first = new[missing], first[missing]
        order = numpy.argsort(first)  # in the order of labels, so that their vectors are written one after another
        new, first = new[order], first[order]
        advance = progress(self._stage, len(new))
        self._folder.mkdir(parents=True, exist_ok=True)
        for start in range(0, len(new), BATCH):
            batch = slice(start, start + BATCH)
            texts = labels.take(pyarrow.array(first[batch])).to_pylist()
            self._add_saved(self._save(new[batch], self._embedder(texts, advance).astype(numpy.float16)))
        return len(new)

    def write(self, folder: Path, labels: pyarrow.ChunkedArray) -> numpy.ndarray:
        """Write vectors.npy, (labels, d) float16, in a folder. Returns it, memory-mapped."""
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
            # Every label of every text of the source: a run of `order` for each text.
            counts = high - low
            of_text = numpy.repeat(first, counts)
            rows = order[numpy.arange(counts.sum()) + numpy.repeat(low - (numpy.cumsum(counts) - counts), counts)]
            along = numpy.argsort(rows)
            vectors = source.read()
            for start in range(0, len(along), BLOCK):
                block = along[start : start + BLOCK]
                matrix[rows[block]] = vectors[of_text[block]]
        matrix.flush()
        return numpy_files.map_array(folder / "vectors.npy")

    def forget(self) -> None:
        """Delete what was saved for the next run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _add_saved(self, file: Path) -> None:
        self._sources.append(
            _Source(numpy_files.read_member(file, "hashes"), lambda: numpy_files.read_member(file, "vectors"))
        )

    def _save(self, of_text: numpy.ndarray, vectors: numpy.ndarray) -> Path:
        name = hashlib.sha256(of_text.tobytes()).hexdigest()[:24]
        unfinished = self._folder / f"{name}.part"
        with unfinished.open("wb") as file:
            numpy.savez(file, hashes=of_text, vectors=vectors)
            file.flush()
            os.fsync(file.fileno())
        return unfinished.rename(self._folder / f"{name}.npz")


def number_rows(rows: feature_rows.FeatureRows, folder: Path, count: int, catalog: Catalog) -> numpy.ndarray:
    """Return catalog numbers of the features of an index of texts, (count,) int64; -1 where the store has none.

    Raises BadStore where it has another number of rows than `count`, which the log says.
    """
    table = rows.table(("dictionary", "feature"))
    if table.num_rows != count:
        raise BadStore(
            f"{folder / 'rows.arrow'} has {table.num_rows} rows, the log says {count}; run `featurestore index "
            "--rebuild`"
        )
    return catalog.numbers(table["dictionary"], table["feature"].to_numpy())


def map_vectors(file: Path, rows: int) -> numpy.ndarray:
    """Return the vectors of an index of texts, (rows, d) float16, mapped.

    Raises BadStore where they are damaged, or not one for each row.
    """
    try:
        vectors = numpy_files.map_array(file)
    except (OSError, ValueError) as exc:
        raise BadStore(f"{file} cannot be read; run `featurestore index --rebuild` ({exc})") from None
    if vectors.ndim != 2 or len(vectors) != rows or vectors.dtype != numpy.float16:
        raise BadStore(
            f"{file} is {vectors.dtype} of shape {vectors.shape}, not a float16 vector for each of {rows} rows; "
            "run `featurestore index --rebuild`"
        )
    return vectors


def open_index(folder: Path, matrix: numpy.ndarray) -> vectors.VectorIndex:
    """Return the index of the vectors of texts, opened. Raises BadStore where it is damaged or of other vectors."""
    index = vectors.VectorIndex(folder / "index.faiss", [matrix])
    if index.dim != matrix.shape[1]:
        raise BadStore(
            f"{folder / 'index.faiss'} is of vectors of {index.dim} numbers, not {matrix.shape[1]}; "
            "run `featurestore index --rebuild`"
        )
    return index


def check_width(file: Path, matrix: numpy.ndarray, embedder_id: str, wanted: int) -> None:
    """Raise BadStore, naming the file of an index of texts, where its vectors are not as wide as the embedder's."""
    if matrix.shape[1] != wanted:
        raise BadStore(
            f"{file} has vectors of {matrix.shape[1]} numbers, those of {embedder_id} have {wanted}; "
            "run `featurestore index --rebuild`"
        )


def draw_questions(texts: pyarrow.ChunkedArray) -> list[str]:
    """Return QUESTIONS texts as people may ask for some of these: half of one, its beginning as a question, few words.

    The same for the same texts.
    """
    rng = numpy.random.default_rng(3)
    chosen = numpy.sort(rng.choice(len(texts), min(QUESTIONS, len(texts)), replace=False))
    questions = []
    for number, text in enumerate(texts.take(pyarrow.array(chosen)).to_pylist()):
        words = text.split()
        half = (len(words) + 1) // 2
        forms = (
            " ".join(words[half:] or words),
            f"which features are about {' '.join(words[:half])}?",
            " ".join(rng.permutation(words)[:3].tolist()) if words else text,
        )
        questions.append(forms[number % len(forms)])
    return questions


def hashes(labels: pyarrow.ChunkedArray) -> numpy.ndarray:
    """A hash of each text, (n,) of 16 bytes of BLAKE2b."""
    return numpy.fromiter(_digests(labels), dtype=_HASH, count=len(labels))


def _digests(labels: pyarrow.ChunkedArray) -> Iterator[bytes]:
    for chunk in labels.iterchunks():
        for start in range(0, len(chunk), BLOCK):
            for label in chunk.slice(start, BLOCK).to_pylist():
                yield hashlib.blake2b(label.encode(), digest_size=16).digest()
