"""The labels of a store, indexed by meaning and by words: built as a part, opened for one snapshot, and known when stale.

An index is a cache. One that misses newer labels says so.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy

from featurestore.errors import BadStore, Unavailable
from featurestore.progress import Progress
from featurestore.search import embedders, keyword, vectors
from featurestore.search.decoder_index import Once
from featurestore.search.label_vectors import LabelVectors
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.sql.engine import Engine
from featurestore.storage import numpy_files
from featurestore.storage.directory import Directory
from featurestore.storage.log import Part, Snapshot
from featurestore.tables import feature_rows
from featurestore.tables.best_label import label_state
from featurestore.tables.writer import Writer

TABLE = "label_index"
KEY = "labels"  # of the one label index
LAYOUT = 3  # of its files, those of its vectors' index among them
KEPT_TEXTS = 256  # whose vectors are kept: a page, the next one and other filters ask for the same text


class LabelIndex:
    """The labels of a store, searchable by meaning and by words."""

    def __init__(self, directory: Directory, snapshot: Snapshot, catalog: Catalog, once: Once):
        found = snapshot.parts(TABLE, KEY)
        if not found:
            raise Unavailable("the store's labels are not indexed yet: run `featurestore index`")
        self._part = found[0]
        if self._part.about.get("layout") != LAYOUT:
            raise Unavailable("the store's labels were indexed by another version: run `featurestore index`")
        self.embedder_setting: str | None = self._part.about["embedder"]
        self._embedder_id: str | None = self._part.about["embedder_id"]
        newer = not_covered(snapshot, self._part)
        self.missing = sum(part.rows for part in newer)
        self._files: _LabelFiles = once(
            (self._part.file, "files"), lambda: _LabelFiles(directory.local(self._part), self._part.rows)
        )
        self._embedded = functools.lru_cache(KEPT_TEXTS)(self._embed)
        named = tuple((one.dictionary, one.d_sae) for one in catalog.dictionaries)
        self.numbers: numpy.ndarray = once((self._part.file, named), lambda: self._files.numbers(catalog))

    @property
    def semantic(self) -> bool:
        """Whether the labels have been embedded."""
        return self._embedder_id is not None

    def by_meaning(self, words: str, k: int, choice: Choice) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features nearest in meaning: row numbers and cosines, best first."""
        index = self._files.vectors
        among = choice.once(index, lambda: index.filter(self._among(choice)))
        return index.search(self._embedded(words), k, among)

    def _embed(self, words: str) -> numpy.ndarray:
        if self.embedder_setting is None:
            raise Unavailable(
                "the labels were indexed without an embedder: pip install 'featurestore[embed]' and run "
                "`featurestore index`, or search by words (mode keyword)"
            )
        embedder = embedders.open_embedder(self.embedder_setting)
        if embedder.id != self._embedder_id:
            raise Unavailable(
                f"the labels were embedded with {self._embedder_id}, but here {self.embedder_setting} is {embedder.id}: "
                "run `featurestore index` to embed them again"
            )
        return embedder([words])[0]

    def by_words(self, words: keyword.Words, k: int, choice: Choice) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features that match best by words: row numbers and BM25 scores, best first."""
        keywords = self._files.keywords
        among = choice.once(keywords, lambda: keyword.Allowed(self._among(choice)))
        return keywords.search(words, k, among)

    def label(self, row: int) -> tuple[str, str]:
        """A label and its explainer."""
        found = self._files.rows.row(row, ("label", "explainer"))
        return found["label"], found["explainer"]

    def _among(self, choice: Choice) -> numpy.ndarray:
        return choice.once(self._files, lambda: (self.numbers >= 0) & choice.mask[self.numbers])


class _LabelFiles:
    """The files of a label index."""

    def __init__(self, path: Path, rows: int):
        self._path = path
        self._count = rows
        self.rows = feature_rows.FeatureRows(path / "rows.arrow")

    def numbers(self, catalog: Catalog) -> numpy.ndarray:
        """Catalog numbers of the labels' features, -1 where they are gone."""
        rows = self.rows.table(("dictionary", "feature"))
        return catalog.numbers(rows["dictionary"], rows["feature"].to_numpy())

    @functools.cached_property
    def vectors(self) -> vectors.VectorIndex:
        file = self._path / "vectors.npy"
        try:
            mapped = numpy_files.mapped(file)
        except (OSError, ValueError) as exc:
            raise BadStore(f"{file} cannot be read; run `featurestore index` ({exc})") from None
        return vectors.VectorIndex(self._path / "index.faiss", [mapped])

    @functools.cached_property
    def keywords(self) -> keyword.KeywordIndex:
        return keyword.KeywordIndex(self._path / "keyword", self._count)


def not_covered(snapshot: Snapshot, index: Part) -> list[Part]:
    """Label parts that came after a label index was built."""
    return [part for part in snapshot.parts("labels") if part.commit > index.about["commit"]]


def build(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    engine: Engine,
    setting: str | None,
    progress: Progress,
) -> list[str]:
    """Build the label index where it is stale or damaged, embedding only texts the old one has not; lines that say what was done.

    `setting` names the embedder; None keeps the old one's, or takes the default. A build that was killed goes on.
    """
    covers = {key: label_state(snapshot, key) for key in snapshot.keys("labels")}
    old = snapshot.parts(TABLE, KEY)
    wanted = setting or (old[0].about["embedder"] if old else None) or embedders.DEFAULT
    whole = bool(old) and directory.is_whole(old[0])
    if not embedders.available(wanted):
        if whole and old[0].about["covers"] == covers and old[0].about.get("layout") == LAYOUT:
            return []
        wanted = None
    embedder = embedders.open_embedder(wanted) if wanted else None
    about: dict[str, Any] = {
        "covers": covers,
        "embedder": wanted,
        "embedder_id": embedder.id if embedder else None,
        "layout": LAYOUT,
    }
    if not covers or (whole and {name: old[0].about.get(name) for name in about} == about):
        return []
    about["commit"] = snapshot.commit
    rows = engine.table(
        "SELECT dictionary, feature, label, explainer FROM labels ORDER BY dictionary, feature, explainer"
    )
    said = [f"label index: {rows.num_rows:,} labels"]

    def build(path: Path) -> int:
        path.mkdir()
        feature_rows.write(path / "rows.arrow", rows)
        labels = rows["label"]
        keyword.build(
            path / "keyword", ({"text": label} for batch in labels.iterchunks() for label in batch.to_pylist())
        )
        if embedder is None:
            said.append("not embedded, so found by words only: pip install 'featurestore[embed]' and run again")
            return rows.num_rows
        known = LabelVectors(embedder, path.parent / "building" / "embedded")
        if old and old[0].about["embedder_id"] == embedder.id:
            known.take_over(directory.local(old[0]))
        new = known.embed(labels, progress)
        matrix = known.write(path, labels)
        vectors.build(path / "index.faiss", [matrix], work=path.parent / "building" / "vectors")
        known.forget()
        said.append(f"embedded {new:,} new texts with {embedder.id}")
        return rows.num_rows

    writer.add_built(TABLE, KEY, "", build, about)
    return said
