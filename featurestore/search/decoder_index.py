"""The index of a space's decoder vectors: builds it, opens it for one snapshot, tells when it is stale.

An index is a cache: newer vectors that it lacks are found by an exact scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy

from featurestore.progress import Progress, no_progress
from featurestore.search import vectors
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.snapshot.decoder_vectors import open_vectors, target_layers
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.writer import Writer

T = TypeVar("T")


class Once(Protocol):
    """Keeps what was opened: once(key, make) returns what was made for the key before, or makes it.

    key[0] is the file of the part that it was made from.
    """

    def __call__(self, key: tuple[Any, ...], make: Callable[[], T], /) -> T: ...


class DecoderIndex:
    """The decoder vectors of one space, searched by catalog numbers."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, space: str, once: Once):
        self._catalog = catalog
        self._directory = directory
        self._parts = vector_parts(snapshot, catalog, space)
        live = {part.file: part for part in self._parts}
        covered: list[str] = []
        self._index: vectors.VectorIndex | None = None
        index = snapshot.parts("decoder_index", space)
        if index:
            covered = index[0].about["covers"]
            self._index = once(
                (index[0].file, tuple(file for file in covered if file in live)),
                lambda: vectors.VectorIndex(
                    directory.open_index(index[0]),
                    [self._open(live[file]) if file in live else None for file in covered],
                ),
            )
        # Rows of a removed dictionary stay in an older index: their number is -1, and they are never allowed.
        self._rows = numpy.concatenate(
            [
                self._numbers(live[file]) if file in live else numpy.full(rows, -1)
                for file, rows in zip(covered, index[0].about["rows"] if index else [], strict=True)
            ]
            or [numpy.empty(0, numpy.int64)]
        )
        # Most spaces have one vector for each feature, and need no layers.
        self._writes_to: numpy.ndarray | None = None
        if any("targets" in live[file].about for file in covered if file in live):
            self._writes_to = numpy.concatenate(
                [
                    self._layers(live[file]) if file in live else numpy.full(rows, -1)
                    for file, rows in zip(covered, index[0].about["rows"], strict=True)
                ]
            )
        # Where rows are numbered as in the catalog, the mask of allowed rows is a view, not a copy of millions.
        first = int(self._rows[0]) if len(self._rows) else 0
        run = slice(first, first + len(self._rows))
        self._run = run if first >= 0 and (self._rows == numpy.arange(run.start, run.stop)).all() else None
        self._uncovered = [part for part in self._parts if part.file not in covered]

    @property
    def dim(self) -> int:
        """Width of the space's vectors; 0 when it has none."""
        return self._open(self._parts[0]).shape[1] if self._parts else 0

    def _numbers(self, part: Part) -> numpy.ndarray:
        features = numpy.arange(part.rows) // len(target_layers(part)) + part.shard * SHARD_FEATURES
        return self._catalog.numbers([part.key] * part.rows, features)

    def _layers(self, part: Part) -> numpy.ndarray:
        """The layer that each row writes to, (rows,) int64; -1 where a feature has one vector alone."""
        layers = target_layers(part)
        return numpy.tile([-1 if layer is None else layer for layer in layers], part.rows // len(layers))

    def _open(self, part: Part) -> numpy.ndarray:
        return open_vectors(self._directory, part)

    def search(
        self, vector: numpy.ndarray, k: int, choice: Choice
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        """The k allowed features of largest cosine to `vector`: catalog numbers, cosines and layers, best first.

        Of a feature with a vector for each of several layers, the nearest counts, and its layer is returned; -1 for
        others.
        """
        limit = k
        while True:
            numbers, cosines, layers = self._rows_near(vector, limit, choice)
            _, first = numpy.unique(numbers, return_index=True)
            if len(first) >= k or len(numbers) < limit:
                first = numpy.sort(first)[:k]
                return numbers[first], cosines[first], layers[first]
            limit *= 2  # several vectors of one feature took places

    def _rows_near(
        self, vector: numpy.ndarray, k: int, choice: Choice
    ) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
        numbers, scores = [numpy.empty(0, numpy.int64)], [numpy.empty(0, numpy.float32)]
        layers = [numpy.empty(0, numpy.int64)]
        if self._index is not None:
            index = self._index
            among = choice.once(index, lambda: index.filter(self._among(choice.mask)))
            rows, cosines = index.search(vector, k, among)
            numbers.append(self._rows[rows])
            scores.append(cosines)
            layers.append(numpy.full(len(rows), -1) if self._writes_to is None else self._writes_to[rows])
        direction = vectors.unit(vector[None])[0]
        for part in self._uncovered:
            of_part = self._numbers(part)
            allowed = numpy.flatnonzero(choice.mask[of_part])
            numbers.append(of_part[allowed])
            scores.append(vectors.unit(self._open(part)[allowed]) @ direction)
            layers.append(self._layers(part)[allowed])
        all_numbers, all_scores = numpy.concatenate(numbers), numpy.concatenate(scores)
        order = numpy.lexsort((all_numbers, -all_scores))[:k]
        return all_numbers[order], all_scores[order], numpy.concatenate(layers)[order]

    def _among(self, mask: numpy.ndarray) -> numpy.ndarray:
        """The mask of the index's allowed rows."""
        return mask[self._run] if self._run else (self._rows >= 0) & mask[self._rows]


def vector_parts(snapshot: Snapshot, catalog: Catalog, space: str) -> list[Part]:
    """The decoder-vector parts of a space, in order of dictionary and shard."""
    of_space = [d.dictionary for d in catalog.dictionaries if d.space == space]
    return [part for dictionary in of_space for part in snapshot.parts("decoder_vectors", dictionary)]


def build_decoder_index(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    catalog: Catalog,
    space: str,
    progress: Progress = no_progress,
    recall: float | None = None,
    rebuild: bool = False,
) -> str:
    """Build the index of a space where it is stale or damaged. Returns a line that says what was done, "" for nothing.

    Codes of parts that an older index has are taken over; with `rebuild`, nothing of it is. A build that was killed
    goes on where it stopped.
    """
    parts = vector_parts(snapshot, catalog, space)
    covers = [part.file for part in parts]
    old = snapshot.parts("decoder_index", space)
    wanted = recall or (old[0].about if old else {}).get("recall", vectors.RECALL)
    if not parts or (old and not rebuild and _is_current(directory, old[0], covers, wanted)):
        return ""
    reuse = directory.find_index(old[0]) if old and not rebuild else None
    mapped = [open_vectors(directory, part) for part in parts]
    counts = [part.rows for part in parts]
    about: dict[str, Any] = {"covers": covers, "rows": counts, "dim": mapped[0].shape[1], "format": vectors.FORMAT}

    qualities: list[str] = []

    def write(path: Path) -> int:
        """Write the index to a new path. Returns the number of its rows."""
        rows = vectors.build(
            path,
            mapped,
            names=[part.sha256 for part in parts],
            reuse=reuse,
            work=path.parent / "building",
            recall=wanted,
            progress=progress,
        )
        about.update(recall=wanted, search=vectors.VectorIndex(path, mapped).about)
        qualities.extend(vectors.describe_quality(path))
        return rows

    writer.add_built("decoder_index", space, ".faiss", write, about)
    return (
        f"decoder index of space {space}: {sum(counts):,} vectors, {'; '.join((_quality(about['search']), *qualities))}"
    )


def _is_current(directory: Directory, index: Part, covers: list[str], recall: float) -> bool:
    """Whether an index is whole, of this format, over these files and of this recall."""
    about = index.about
    same = about.get("format") == vectors.FORMAT and about["covers"] == covers and about.get("recall", recall) == recall
    return same and directory.is_intact(index)


def _quality(search: Mapping[str, Any]) -> str:
    """How good a new index is, from what it says about its search."""
    reached = search.get("reached")
    return "exact" if reached is None else f"recall {reached:.3f} measured on {search['queries']} queries"
