"""The indexes of a store: built from its vectors and labels as parts, opened for one snapshot, and known when stale.

Indexes are caches. One that misses newer vectors is completed by an exact scan; one that misses newer labels says so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from featurestore import embed, text, vectors
from featurestore.catalog import Catalog
from featurestore.errors import BadStore, Unavailable
from featurestore.labelling import label_state
from featurestore.log import Part, Snapshot
from featurestore.parts import Directory
from featurestore.sql import Engine
from featurestore.writer import SHARD_FEATURES, Writer

LABELS = "labels"  # the key of the one label index

# once(key, make) gives what was made for this key before, or makes it; key[0] is the file of the part it is of.
Once = Callable[[tuple[Any, ...], Callable[[], Any]], Any]


class DecoderIndex:
    """The decoder vectors of one space, searchable by the numbers of the catalog."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, space: str, once: Once):
        self._catalog = catalog
        self._directory = directory
        self._parts = vector_parts(snapshot, catalog, space)
        live = {part.file: part for part in self._parts}
        covered: list[str] = []
        self._index = None
        index = snapshot.parts("decoder_index", space)
        if index:
            covered = index[0].about["covers"]
            there = tuple(file for file in covered if file in live)
            self._index = once(
                (index[0].file, there),
                lambda: vectors.VectorIndex(
                    directory.local(index[0]), [self._open(live[file]) if file in live else None for file in covered]
                ),
            )
        # A dictionary that was removed leaves rows in an older index: number -1, never allowed.
        self._rows = numpy.concatenate(
            [
                self._numbers(live[file]) if file in live else numpy.full(rows, -1)
                for file, rows in zip(covered, index[0].about["rows"] if index else [], strict=True)
            ]
            or [numpy.empty(0, numpy.int64)]
        )
        # Where the rows are numbered as in the catalog, what is allowed of them is a view, not a copy of millions.
        first = int(self._rows[0]) if len(self._rows) else 0
        run = slice(first, first + len(self._rows))
        self._run = run if first >= 0 and (self._rows == numpy.arange(run.start, run.stop)).all() else None
        self._uncovered = [part for part in self._parts if part.file not in covered]

    @property
    def dim(self) -> int:
        """Width of the space's vectors; 0 when it has none."""
        return self._open(self._parts[0]).shape[1] if self._parts else 0

    def _numbers(self, part: Part) -> numpy.ndarray:
        features = numpy.arange(part.rows) + part.shard * SHARD_FEATURES
        return self._catalog.numbers([part.key] * part.rows, features)

    def _open(self, part: Part) -> numpy.ndarray:
        return open_vectors(self._directory, part)

    def search(self, vector: numpy.ndarray, k: int, allowed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k allowed features of largest cosine to `vector`: catalog numbers and cosines, best first."""
        numbers, scores = [numpy.empty(0, numpy.int64)], [numpy.empty(0, numpy.float32)]
        if self._index is not None:
            among = allowed[self._run] if self._run else (self._rows >= 0) & allowed[self._rows]
            rows, found = self._index.search(vector, k, among)
            numbers.append(self._rows[rows])
            scores.append(found)
        direction = vectors.unit(vector[None])[0]
        for part in self._uncovered:
            of_part = self._numbers(part)
            some = numpy.flatnonzero(allowed[of_part])
            numbers.append(of_part[some])
            scores.append(vectors.unit(self._open(part)[some]) @ direction)
        all_numbers, all_scores = numpy.concatenate(numbers), numpy.concatenate(scores)
        order = numpy.lexsort((all_numbers, -all_scores))[:k]
        return all_numbers[order], all_scores[order]


class LabelIndex:
    """The labels of a store, searchable by meaning and by words."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, once: Once):
        found = snapshot.parts("label_index", LABELS)
        if not found:
            raise Unavailable("the store's labels are not indexed yet: run `featurestore index`")
        self._part = found[0]
        self.embedder_setting: str | None = self._part.about["embedder"]
        self._embedder_id: str | None = self._part.about["embedder_id"]
        newer = not_covered(snapshot, self._part)
        self.missing = sum(part.rows for part in newer)
        self._files: _LabelFiles = once(
            (self._part.file, "files"), lambda: _LabelFiles(directory.local(self._part), self._part.rows)
        )
        named = tuple((one.dictionary, one.d_sae) for one in catalog.dictionaries)
        rows = self._files.rows
        self.numbers: numpy.ndarray = once(
            (self._part.file, named), lambda: catalog.numbers(rows["dictionary"], rows["feature"].to_numpy())
        )

    @property
    def semantic(self) -> bool:
        """Whether the labels have been embedded."""
        return self._embedder_id is not None

    def by_meaning(self, words: str, k: int, allowed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features nearest in meaning: row numbers and cosines, best first."""
        if self.embedder_setting is None:
            raise Unavailable(
                "the labels were indexed without an embedder: pip install 'featurestore[embed]' and run "
                "`featurestore index`, or search by words (mode keyword)"
            )
        embedder = embed.open_embedder(self.embedder_setting)
        if embedder.id != self._embedder_id:
            raise Unavailable(
                f"the labels were embedded with {self._embedder_id}, but here {self.embedder_setting} is {embedder.id}: "
                "run `featurestore index` to embed them again"
            )
        return self._files.vectors.search(embedder([words])[0], k, self._among(allowed))

    def by_words(self, words: str, k: int, allowed: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features that match best by words: row numbers and BM25 scores, best first."""
        return self._files.keywords.search(words, k, self._among(allowed))

    def _among(self, allowed: numpy.ndarray) -> numpy.ndarray:
        return (self.numbers >= 0) & allowed[self.numbers]


class _LabelFiles:
    """The files of a label index."""

    def __init__(self, path: Path, rows: int):
        self._path = path
        self._count = rows
        try:
            self.rows = pyarrow.parquet.read_table(path / "rows.parquet", columns=["dictionary", "feature"])
        except (OSError, pyarrow.ArrowInvalid) as exc:
            raise BadStore(f"{path}/rows.parquet cannot be read; run `featurestore index` ({exc})") from None

    @functools.cached_property
    def vectors(self) -> vectors.VectorIndex:
        file = self._path / "vectors.npy"
        try:
            mapped = numpy.load(file, mmap_mode="r")
        except (OSError, ValueError) as exc:
            raise BadStore(f"{file} cannot be read; run `featurestore index` ({exc})") from None
        return vectors.VectorIndex(self._path / "index.faiss", [mapped])

    @functools.cached_property
    def keywords(self) -> text.KeywordIndex:
        return text.KeywordIndex(self._path / "keyword", self._count)


def not_covered(snapshot: Snapshot, index: Part) -> list[Part]:
    """Label parts that came after a label index was built."""
    return [part for part in snapshot.parts("labels") if part.commit > index.about["commit"]]


def vector_parts(snapshot: Snapshot, catalog: Catalog, space: str) -> list[Part]:
    """The decoder-vector parts of a space, in order of dictionary and shard."""
    of_space = [d.dictionary for d in catalog.dictionaries if d.space == space]
    return [part for dictionary in of_space for part in snapshot.parts("decoder_vectors", dictionary)]


def open_vectors(directory: Directory, part: Part) -> numpy.ndarray:
    """A part's vectors, (rows, d_out) float16, memory-mapped."""
    file = directory.local(part)
    try:
        mapped = numpy.load(file, mmap_mode="r")
    except (OSError, ValueError) as exc:
        raise BadStore(f"{file} cannot be read: {exc}") from None
    if len(mapped) != part.rows:
        raise BadStore(f"{file} has {len(mapped)} vectors, not {part.rows}")
    return mapped


def build_decoder_index(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    catalog: Catalog,
    space: str,
    progress: vectors.Progress | None = None,
    recall: float | None = None,
) -> str:
    """Build the index of a space where it is stale; a line that says what was done, empty if nothing was.

    What an older index knows of parts that are still there is taken over; a build that was killed goes on.
    """
    parts = vector_parts(snapshot, catalog, space)
    covers = [part.file for part in parts]
    old = snapshot.parts("decoder_index", space)
    known = old[0].about if old else {}
    wanted = recall or known.get("recall", vectors.RECALL)
    if not parts or (known.get("covers") == covers and known.get("recall", wanted) == wanted):
        return ""
    mapped = [open_vectors(directory, part) for part in parts]
    about: dict[str, Any] = {"covers": covers, "rows": [part.rows for part in parts], "dim": mapped[0].shape[1]}

    def build(path: Path) -> int:
        rows = vectors.build(
            path,
            mapped,
            names=[part.sha256 for part in parts],
            reuse=directory.local(old[0]) if old else None,
            work=path.parent / "building",
            recall=wanted,
            progress=progress,
        )
        about.update(recall=wanted, search=vectors.VectorIndex(path, mapped).about)
        return rows

    writer.add_built("decoder_index", space, ".faiss", build, about)
    reached = about["search"].get("reached")
    found = "exact" if reached is None else f"recall {reached:.3f} measured on {about['search']['queries']} queries"
    return f"decoder index of space {space}: {sum(part.rows for part in parts):,} vectors, {found}"


def build_label_index(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    engine: Engine,
    setting: str | None,
    progress: Callable[[str, int], Callable[[int], None]],
) -> list[str]:
    """Build the label index where it is stale, embedding only texts the old one has not; lines that say what was done.

    `setting` names the embedder; None keeps the old one's, or takes the default.
    """
    covers = {key: label_state(snapshot, key) for key in snapshot.keys("labels")}
    old = snapshot.parts("label_index", LABELS)
    wanted = setting or (old[0].about["embedder"] if old else None) or embed.DEFAULT
    if not embed.available(wanted):
        if old and old[0].about["covers"] == covers:
            return []
        wanted = None
    embedder = embed.open_embedder(wanted) if wanted else None
    about = {
        "covers": covers,
        "embedder": wanted,
        "embedder_id": embedder.id if embedder else None,
    }
    if not covers or (old and {name: old[0].about.get(name) for name in about} == about):
        return []
    about["commit"] = snapshot.commit
    rows = engine.table(
        "SELECT dictionary, feature, label, explainer FROM labels ORDER BY dictionary, feature, explainer"
    )
    known = _known_vectors(directory, old, about)
    said = [f"label index: {rows.num_rows:,} labels"]

    def build(path: Path) -> int:
        path.mkdir()
        pyarrow.parquet.write_table(rows, path / "rows.parquet")
        labels = rows["label"].to_pylist()
        text.build(path / "keyword", labels)
        if embedder is None:
            said.append("not embedded, so found by words only: pip install 'featurestore[embed]' and run again")
            return len(labels)
        new = sorted(set(labels) - known.keys())
        advance = progress("embedding labels", len(new))
        known.update(zip(new, embedder(new, advance), strict=True))
        matrix = numpy.stack([known[label] for label in labels]).astype(numpy.float16)
        numpy.save(path / "vectors.npy", matrix)
        vectors.build(path / "index.faiss", [matrix])
        said.append(f"embedded {len(new):,} new texts with {embedder.id}")
        return len(labels)

    writer.add_built("label_index", LABELS, "", build, about)
    return said


def _known_vectors(directory: Directory, old: list[Part], about: dict[str, Any]) -> dict[str, numpy.ndarray]:
    if not old or about["embedder_id"] is None or old[0].about["embedder_id"] != about["embedder_id"]:
        return {}
    path = directory.local(old[0])
    try:
        labels = pyarrow.parquet.read_table(path / "rows.parquet")["label"].to_pylist()
        return dict(zip(labels, numpy.load(path / "vectors.npy"), strict=True))
    except (OSError, ValueError, pyarrow.ArrowInvalid):
        return {}  # the old index is a damaged cache: embed everything again
