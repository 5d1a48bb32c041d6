"""The index of a store's labels, by meaning and by words: builds it, opens it for one snapshot, tells when it is stale.

An index is a cache. Newer labels are searched beside it while they are few; of many it says how many it lacks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyarrow

from featurestore.errors import Unavailable
from featurestore.progress import Progress
from featurestore.search import embedders, keyword, label_vectors, vectors
from featurestore.search.decoder_index import Once
from featurestore.search.embedders import Embedder
from featurestore.search.fresh_labels import FEW, Found, FreshLabels, ReadLabels, merge
from featurestore.search.label_vectors import LabelVectors, draw_questions
from featurestore.search.words import rarity
from featurestore.search.words.word_query import Words
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.sql.engine import Engine
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables import feature_rows
from featurestore.tables.best_label import label_state
from featurestore.tables.writer import Writer

TABLE = "label_index"
KEY = "labels"  # of the store's only label index
LAYOUT = 5  # version of its files, the index of its vectors included
AS_WRITTEN = 4  # the first layout whose texts were embedded as they are written, quotation marks and all

LABELS = "SELECT dictionary, feature, label, explainer FROM labels ORDER BY dictionary, feature, explainer"


class LabelIndex:
    """The labels of a store, searchable by meaning and by words."""

    def __init__(
        self,
        directory: Directory,
        snapshot: Snapshot,
        catalog: Catalog,
        once: Once,
        read: ReadLabels,
        named: Callable[[], str | None] = lambda: None,
    ):
        """`read` gives the labels of the features that parts of labels are about; `named()` is the embedder that the
        user has named.

        Raises Unavailable where the store has no label index of this layout and too many labels to do without,
        BadStore where it is damaged.
        """
        self._named = named
        parts = snapshot.parts(TABLE, KEY)
        newer = not_covered(snapshot, parts[0]) if parts else snapshot.parts("labels")
        count = sum(part.rows for part in newer)
        if not snapshot.keys("labels") or (not parts and not 0 < count <= FEW):
            raise Unavailable("the store's labels are not indexed yet: run `featurestore index`")
        if parts and parts[0].about.get("layout") != LAYOUT:
            raise Unavailable("the store's labels were indexed by another version: run `featurestore index`")
        about = parts[0].about if parts else {}
        default = embedders.DEFAULT if embedders.available(embedders.DEFAULT) else None
        self.embedder_setting: str | None = about["embedder"] if parts else named() or default
        self._embedder_id: str | None = about.get("embedder_id")
        self.missing = count if count > FEW else 0
        self._files: _LabelFiles | None = None
        self._in_order: Callable[[], tuple[numpy.ndarray, numpy.ndarray | None]] | None = None
        self.numbers: numpy.ndarray = numpy.empty(0, numpy.int64)
        if parts:
            part = parts[0]
            files = once((part.file, "files"), lambda: _LabelFiles(directory.open_index(part), part.rows))
            numbering = tuple((dictionary.dictionary, dictionary.d_sae) for dictionary in catalog.dictionaries)
            of_rows = once((part.file, numbering), lambda: files.numbers(catalog))
            self._files, self.numbers = files, of_rows
            order = (part.file, numbering, "order")
            self._in_order = lambda: once(order, lambda: _sort(of_rows))
        self._indexed = len(self.numbers)
        self._fresh = FreshLabels(read(newer), catalog) if 0 < count <= FEW else None
        if parts:
            self.numbers = catalog.leave_out(self.numbers, self._find_gone(snapshot, parts[0], catalog))
        if self._fresh is not None:
            replaced = numpy.isin(self.numbers, self._fresh.changed)
            self.numbers = numpy.concatenate([numpy.where(replaced, -1, self.numbers), self._fresh.numbers])

    def _find_gone(self, snapshot: Snapshot, index: Part, catalog: Catalog) -> list[str]:
        """Dictionaries of which no label of the index is left, or all are searched beside it.

        Where more labels are newer than can be searched beside the index, nothing tells those that took the place of
        others from those that were merged with others.
        """
        commit = index.about.get("commit", 0)
        kept = {part.key for part in snapshot.parts("labels") if self._fresh is None or part.commit <= commit}
        names = (dictionary.dictionary for dictionary in catalog.dictionaries)
        return [name for name in names if name in index.about["covers"] and name not in kept]

    @property
    def refusal(self) -> str | None:
        """Why the embedder that the index names is not used, or None."""
        return embedders.find_refusal(self.embedder_setting, self._named())

    @property
    def semantic(self) -> bool:
        """Whether the labels have been embedded."""
        return self.embedder_setting is not None

    def by_meaning(self, words: str, k: int, choice: Choice) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features nearest in meaning: row numbers and cosines, best first.

        Raises Unavailable where the labels were not embedded, or the embedder is missing here or another one.
        """
        vector, matches = self._embed(words), keyword.NOTHING
        if self._files is not None:
            index = self._files.vectors
            among = choice.once(index, lambda: index.filter(self._among(choice)))
            matches = index.search(vector, k, among)
        if self._fresh is None:
            return matches
        embedder = embedders.open_embedder(embedders.choose(self.embedder_setting, self._named()))
        return self._merge(matches, self._fresh.by_meaning(embedder, vector, k, choice.mask), k)

    def embed_all(self, texts: Sequence[str]) -> numpy.ndarray:
        """Return unit vectors of texts, (n, d) float32; those of indexed labels are not computed again.

        Raises Unavailable where the labels were not embedded, or the embedder is missing here or another one.
        """
        embedder = self._open_embedder()
        if not texts:
            return embedder(["nothing"])[:0]
        known = {} if self._files is None else self._files.places()
        new = [text for text in dict.fromkeys(texts) if text not in known]
        places = {text: at for at, text in enumerate(new)}
        computed = embedder(new) if new else numpy.zeros((0, 0), numpy.float32)
        if new and self._files is not None:
            self._files.check_width(embedder, computed.shape[1])
        rows = [computed[places[text]] if text in places else self._vector_of_label(known[text]) for text in texts]
        return numpy.array(rows, numpy.float32)

    def _vector_of_label(self, row: int) -> numpy.ndarray:
        assert self._files is not None
        vector: numpy.ndarray = self._files.vectors_of_labels[row]
        return vector

    def _embed(self, words: str) -> numpy.ndarray:
        embedder = self._open_embedder()
        vector = embedders.embed_query(embedder, words)
        if self._files is not None:
            self._files.check_width(embedder, len(vector))
        return vector

    def _open_embedder(self) -> embedders.Embedder:
        if self.embedder_setting is None:
            raise Unavailable(
                "the labels were indexed without an embedder: pip install 'featurestore[embed]' and run "
                "`featurestore index`, or search by words (mode keyword)"
            )
        setting = embedders.choose(self.embedder_setting, self._named())
        embedder = embedders.open_embedder(setting)
        if self._files is not None and embedder.id != self._embedder_id:
            raise Unavailable(
                f"the labels were embedded with {self._embedder_id}, "
                f"but here {setting} is {embedder.id}: run `featurestore index` to embed them again"
            )
        return embedder

    def by_words(self, words: Words, k: int, choice: Choice) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The k labels of allowed features that match best by words: row numbers and BM25 scores, best first."""
        keywords, matches = None if self._files is None else self._files.keywords, keyword.NOTHING
        if keywords is not None:
            among = choice.once(keywords, lambda: keyword.Allowed(self._among(choice)))
            matches = keywords.search(words, k, among)
        if self._fresh is None:
            return matches
        return self._merge(matches, self._fresh.by_words(keywords, words, k, choice.mask), k)

    def meaning_of(self, words: str, numbers: Sequence[int]) -> tuple[numpy.ndarray, numpy.ndarray]:
        """All labels of these features: row numbers and cosines with the text, best first. Raises as `by_meaning`."""
        vector, rows = self._embed(words), self._rows_of(numbers)
        indexed, fresh = rows[rows < self._indexed], rows[rows >= self._indexed] - self._indexed
        matches = keyword.NOTHING
        if len(indexed):
            assert self._files is not None
            cosines = self._files.vectors_of_labels[indexed].astype(numpy.float32) @ vector.astype(numpy.float32)
            matches = merge((indexed, cosines), keyword.NOTHING, len(indexed))
        if self._fresh is None or not len(fresh):
            return matches
        embedder = embedders.open_embedder(embedders.choose(self.embedder_setting, self._named()))
        return self._merge(matches, self._fresh.meaning_of(embedder, vector, fresh), len(rows))

    def words_of(self, words: Words, numbers: Sequence[int]) -> tuple[numpy.ndarray, numpy.ndarray]:
        """The labels of these features that have one of the words: row numbers and BM25 scores, best first."""
        rows = self._rows_of(numbers)
        indexed, fresh = rows[rows < self._indexed], rows[rows >= self._indexed] - self._indexed
        keywords, matches = None if self._files is None else self._files.keywords, keyword.NOTHING
        if keywords is not None and len(indexed):
            matches = keywords.search_among(words, indexed)
        if self._fresh is None or not len(fresh):
            return matches
        return self._merge(matches, self._fresh.words_of(keywords, words, fresh), len(rows))

    def _rows_of(self, numbers: Sequence[int]) -> numpy.ndarray:
        """The rows of these features' labels."""
        wanted = numpy.asarray(numbers, numpy.int64)
        fresh = numpy.flatnonzero(numpy.isin(self.numbers[self._indexed :], wanted)) + self._indexed
        if self._files is None:
            return fresh
        assert self._in_order is not None
        in_order, order = self._in_order()
        low, high = (numpy.searchsorted(in_order, wanted, side=side) for side in ("left", "right"))
        rows = numpy.concatenate([numpy.arange(*run) for run in zip(low, high, strict=True)] or [fresh])
        rows = rows if order is None else order[rows]
        return numpy.concatenate([rows[self.numbers[rows] >= 0], fresh])

    def count_labelled(self, choice: Choice) -> int:
        """How many of the allowed features have a label."""
        labelled = numpy.zeros(len(choice.mask), bool)
        labelled[self.numbers[self.numbers >= 0]] = True
        return choice.once(self, lambda: int(numpy.count_nonzero(labelled & choice.mask)))

    def _merge(self, indexed: Found, fresh: Found, k: int) -> Found:
        """The k best of both; fresh rows are numbered after the index's."""
        return merge(indexed, (fresh[0] + self._indexed, fresh[1]), k)

    def full_score(self, words: Words) -> float:
        """The score of a label of average length with all words."""
        if self._files is not None:
            return rarity.full_score(self._files.keywords.rarity(words))
        return rarity.full_score(self._fresh.rarity(words)) if self._fresh is not None else 0.0

    def label(self, row: int) -> tuple[str, str]:
        """A row's label and its explainer."""
        if self._fresh is not None and row >= self._indexed:
            return self._fresh.labels[row - self._indexed], self._fresh.explainers[row - self._indexed]
        assert self._files is not None
        values = self._files.rows.row(row, ("label", "explainer"))
        return values["label"], values["explainer"]

    def _among(self, choice: Choice) -> numpy.ndarray:
        numbers = self.numbers[: self._indexed]
        return choice.once(self._files, lambda: (numbers >= 0) & choice.mask[numbers])


class _LabelFiles:
    """The files of a label index."""

    def __init__(self, path: Path, rows: int):
        self._path = path
        self._count = rows
        self.rows = feature_rows.FeatureRows(path / "rows.arrow")

    def numbers(self, catalog: Catalog) -> numpy.ndarray:
        """Catalog numbers of the labels' features, (rows,) int64; -1 where the store no longer has the feature."""
        return label_vectors.number_rows(self.rows, self._path, self._count, catalog)

    def places(self) -> dict[str, int]:
        """Return the row of each label's text."""
        return {text: row for row, text in enumerate(self.rows.table(("label",))["label"].to_pylist())}

    @functools.cached_property
    def vectors_of_labels(self) -> numpy.ndarray:
        """The labels' vectors, (rows, d) float16, mapped. Raises BadStore where they are damaged."""
        return label_vectors.map_vectors(self._path / "vectors.npy", self._count)

    def check_width(self, embedder: Embedder, wanted: int) -> None:
        """Raise BadStore where the vectors are not as wide as the embedder's."""
        label_vectors.check_width(self._path / "vectors.npy", self.vectors_of_labels, embedder.id, wanted)

    @functools.cached_property
    def vectors(self) -> vectors.VectorIndex:
        """The index of the labels' vectors, opened when first used. Raises BadStore where it is damaged."""
        return label_vectors.open_index(self._path, self.vectors_of_labels)

    @functools.cached_property
    def keywords(self) -> keyword.KeywordIndex:
        """The index of the labels' words, opened when first used. Raises BadStore where it is damaged."""
        return keyword.KeywordIndex(self._path / "keyword", self._count)


def _sort(numbers: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray | None]:
    """The numbers in ascending order, and the row of each; None for the rows where they are in order already."""
    if (numbers[1:] >= numbers[:-1]).all():
        return numbers, None
    order = numpy.argsort(numbers, kind="stable")
    return numbers[order], order


def not_covered(snapshot: Snapshot, index: Part) -> list[Part]:
    """The label parts that came after a label index was built."""
    return [part for part in snapshot.parts("labels") if part.commit > index.about.get("commit", 0)]


def build(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    engine: Engine,
    setting: str | None,
    progress: Progress,
    named: str | None = None,
    rebuild: bool = False,
) -> list[str]:
    """Build the label index where it is stale or damaged, or with `rebuild`. Returns lines that say what was done.

    Texts that the old index has embedded are not embedded again, except with `rebuild`. `setting` names the embedder;
    None keeps that of the old index where the user has `named` one or it is the default. A build that was killed goes
    on where it stopped. An index of which no label is left is removed. Raises Unavailable where the old index names
    another embedder and the user none.
    """
    covers = _covers(snapshot)
    old = snapshot.parts(TABLE, KEY)
    if old and not covers:
        writer.remove(TABLE, KEY)
        return ["label index: removed, no label is left"]
    intact = bool(old) and not rebuild and directory.is_intact(old[0])
    known = old[0].about if intact else {}
    wanted: str | None = choose_setting(directory, snapshot, setting, named, rebuild)
    if wanted is None:
        return []
    if not embedders.available(wanted):
        if known.get("covers") == covers and known.get("layout") == LAYOUT:
            return []
        wanted = None
    embedder = embedders.open_embedder(wanted) if wanted else None
    embedder_id = embedder.id if embedder else None
    about: dict[str, Any] = {"covers": covers, "embedder": wanted, "embedder_id": embedder_id, "layout": LAYOUT}
    if not covers or {name: known.get(name) for name in about} == about:
        return []
    about["commit"] = snapshot.commit
    rows = engine.table(LABELS)
    lines = [f"label index: {rows.num_rows:,} labels"]
    reuse = None
    if embedder and intact and old[0].about["embedder_id"] == embedder_id:
        old_files = directory.find_index(old[0])
        if old_files is not None:
            reuse = _Reuse(old_files, old[0].about.get("layout", 0) >= AS_WRITTEN)

    def write(path: Path) -> int:
        """Write the index into a new directory. Returns the number of its rows."""
        _write_words(path, rows)
        if embedder is None:
            lines.append("not embedded, so found by words only: pip install 'featurestore[embed]' and run again")
        else:
            new = _write_vectors(path, rows["label"], embedder, reuse, progress)
            lines.append(f"embedded {new:,} new texts with {embedder.id}")
            lines.extend(f"label index: {quality}" for quality in vectors.describe_quality(path / "index.faiss"))
        return int(rows.num_rows)

    writer.add_built(TABLE, KEY, "", write, about)
    return lines


def choose_setting(
    directory: Directory, snapshot: Snapshot, setting: str | None, named: str | None, rebuild: bool = False
) -> str | None:
    """Return the setting of the embedder for a new label index; None where the old one is as it should be, or no label
    is left of it.

    Raises Unavailable where the old index names an embedder, the user none, and labels have to be embedded.
    """
    if setting:
        return setting
    old = snapshot.parts(TABLE, KEY)
    if not old:
        return named or embedders.DEFAULT
    if not _covers(snapshot):
        return None
    about = old[0].about
    stated = about["embedder"]
    current = about.get("covers") == _covers(snapshot) and about.get("layout") == LAYOUT and directory.is_intact(old[0])
    if current and not rebuild and embedders.find_refusal(stated, named):
        return None
    return embedders.choose(stated, named)


def _covers(snapshot: Snapshot) -> dict[str, str]:
    return {key: label_state(snapshot, key) for key in snapshot.keys("labels")}


class _Reuse(NamedTuple):
    """An older index whose vectors are used, and whether its texts were embedded as they are written."""

    path: Path
    as_written: bool


def _write_words(path: Path, rows: pyarrow.Table) -> None:
    """Write the rows of a label index and their words into a new directory."""
    path.mkdir()
    feature_rows.write(path / "rows.arrow", rows)
    batches = rows["label"].iterchunks()
    keyword.build(path / "keyword", ({"text": label} for batch in batches for label in batch.to_pylist()))


def _write_vectors(
    path: Path,
    labels: pyarrow.ChunkedArray,
    embedder: Embedder,
    reuse: _Reuse | None,
    progress: Progress,
) -> int:
    """Write the vectors of a label index and their index. Returns the number of texts that had to be embedded."""
    work = path.parent / "building"
    of_text = LabelVectors(embedder, work / "embedded")
    if reuse is not None:
        of_text.take_over(*reuse)
    new = of_text.embed(labels, progress)
    matrix = of_text.write(path, labels)
    vectors.build(path / "index.faiss", [matrix], work=work / "vectors", texts=lambda: embedder(draw_questions(labels)))
    of_text.forget()
    return new
