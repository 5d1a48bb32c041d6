"""The index of features' digests: builds it, opens it for one snapshot, tells which dictionaries it lacks.

An index is a cache. It is made when it is asked for, since embedding takes some minutes for ten thousand features, and
kept up to date from then on. Each text is embedded once.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute

from featurestore.errors import NotFound, Unavailable
from featurestore.progress import Progress
from featurestore.search import embedders, keyword, label_vectors, vectors
from featurestore.search.decoder_index import Once
from featurestore.search.embedders import Embedder
from featurestore.search.examples.digest import FORM, DigestReader
from featurestore.search.fresh_labels import Found, merge
from featurestore.search.label_vectors import LabelVectors, draw_questions
from featurestore.snapshot.catalog import Catalog, Choice
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables import feature_rows
from featurestore.tables.layout import SHARD_FEATURES
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer
from featurestore.values.dictionary import Dictionary

TABLE = "example_index"
KEY = "examples"  # of the store's only one
LAYOUT = 1  # version of its files, the index of its vectors included
STEP = 4096  # features read at a time
BLOCK = 1024 * feature_rows.BATCH_ROWS  # rows in one piece of memory

SCHEMA = pyarrow.schema([("dictionary", pyarrow.string()), ("feature", pyarrow.int32()), ("label", pyarrow.string())])


class ExampleIndex:
    """The digests of a store's features, searched by meaning: a row for each feature that has any evidence."""

    def __init__(
        self, directory: Directory, snapshot: Snapshot, catalog: Catalog, once: Once, named: Callable[[], str | None]
    ):
        """`named()` is the embedder that the user has named.

        Raises NotFound where the store has no such index of this version, BadStore where it is damaged.
        """
        part = find_part(snapshot)
        if part is None:
            other = "by another version" if snapshot.parts(TABLE, KEY) else "yet"
            raise NotFound(f"what features fire on was not embedded {other}: run `featurestore index --over examples`")
        self._named = named
        self._about = part.about
        self._files = once((part.file, "files"), lambda: _ExampleFiles(directory.open_index(part), part.rows))
        names = [dictionary.dictionary for dictionary in catalog.dictionaries]
        # Rows of what was harvested anew since are no evidence of the features that there are now.
        self.missing = [name for name in names if _state(snapshot, name) != self._about["covers"].get(name, "")]
        sizes = tuple((dictionary.dictionary, dictionary.d_sae) for dictionary in catalog.dictionaries)
        numbering = (sizes, tuple(self.missing))
        self.numbers: numpy.ndarray = once(
            (part.file, numbering), lambda: catalog.leave_out(self._files.numbers(catalog), self.missing)
        )
        self._row_of: Callable[[], numpy.ndarray] = lambda: once(
            (part.file, numbering, "rows"), lambda: _place_rows(self.numbers)
        )

    @property
    def refusal(self) -> str | None:
        """Why the embedder that the index names cannot be used here, or None."""
        try:
            self._open_embedder()
        except Unavailable as exc:
            return str(exc)
        return None

    def by_meaning(self, text: str, k: int, choice: Choice) -> Found:
        """The k allowed features whose digests are nearest in meaning: row numbers and cosines, best first.

        Raises Unavailable where the embedder is missing here, or another one.
        """
        vector, index = self._embed(text), self._files.vectors
        among = choice.once(index, lambda: index.filter((self.numbers >= 0) & choice.mask[self.numbers]))
        found: Found = index.search(vector, k, among)
        return found

    def meaning_of(self, text: str, numbers: Sequence[int]) -> Found:
        """The digests of these features: row numbers and cosines with the text, best first. Raises as `by_meaning`."""
        places, wanted = self._row_of(), numpy.asarray(numbers, numpy.int64)
        rows = places[wanted[wanted < len(places)]]
        rows = rows[rows >= 0]
        if not len(rows):
            return keyword.NOTHING
        cosines = self._files.vectors_of_rows[rows].astype(numpy.float32) @ self._embed(text)
        return merge((rows, cosines), keyword.NOTHING, len(rows))

    def digest(self, row: int) -> str:
        """The text of a row that was embedded."""
        text: str = self._files.rows.row(row, ("label",))["label"]
        return text

    def _embed(self, text: str) -> numpy.ndarray:
        embedder = self._open_embedder()
        vector = embedders.embed_query(embedder, text)
        self._files.check_width(embedder, len(vector))
        return vector

    def _open_embedder(self) -> Embedder:
        setting = embedders.choose(self._about["embedder"], self._named(), embedders.EXAMPLES)
        if not embedders.available(setting):
            raise Unavailable("searching by meaning needs pip install 'featurestore[embed]'")
        embedder = embedders.open_embedder(setting)
        if embedder.id != self._about["embedder_id"]:
            raise Unavailable(
                f"what features fire on was embedded with {self._about['embedder_id']}, but here {setting} is "
                f"{embedder.id}: run `featurestore index --over examples` to embed it again"
            )
        return embedder


class _ExampleFiles:
    """The files of an index of digests."""

    def __init__(self, path: Path, rows: int):
        self._path = path
        self._count = rows
        self.rows = feature_rows.FeatureRows(path / "rows.arrow")

    def numbers(self, catalog: Catalog) -> numpy.ndarray:
        """Catalog numbers of the rows' features, (rows,) int64; -1 where the store no longer has the feature.

        Raises BadStore where the log says another number of rows.
        """
        return label_vectors.number_rows(self.rows, self._path, self._count, catalog)

    @functools.cached_property
    def vectors_of_rows(self) -> numpy.ndarray:
        """The vectors, (rows, d) float16, mapped. Raises BadStore where they are damaged."""
        return label_vectors.map_vectors(self._path / "vectors.npy", self._count)

    @functools.cached_property
    def vectors(self) -> vectors.VectorIndex:
        """The index of the vectors, opened when first used. Raises BadStore where it is damaged."""
        return label_vectors.open_index(self._path, self.vectors_of_rows)

    def check_width(self, embedder: Embedder, wanted: int) -> None:
        """Raise BadStore where the vectors are not as wide as the embedder's."""
        label_vectors.check_width(self._path / "vectors.npy", self.vectors_of_rows, embedder.id, wanted)


def _place_rows(numbers: numpy.ndarray) -> numpy.ndarray:
    """The row of each catalog number, -1 where it has none."""
    places = numpy.full(int(numbers.max(initial=-1)) + 1, -1)
    known = numpy.flatnonzero(numbers >= 0)
    places[numbers[known]] = known
    return places


def find_part(snapshot: Snapshot) -> Part | None:
    """The store's index of digests, None where it has none that this version can search."""
    parts = snapshot.parts(TABLE, KEY)
    return parts[0] if parts and parts[0].about.get("layout") == LAYOUT else None


def _state(snapshot: Snapshot, dictionary: str) -> str:
    """What a dictionary's digests are made of, as a hash; "" where it has neither examples nor features."""
    evidence = snapshot.evidence(dictionary)
    return hashlib.sha256(" ".join(evidence).encode()).hexdigest()[:24] if evidence else ""


def build(
    writer: Writer,
    directory: Directory,
    snapshot: Snapshot,
    catalog: Catalog,
    rows: Rows,
    setting: str | None,
    progress: Progress,
    named: str | None = None,
    rebuild: bool = False,
    wanted: bool = False,
) -> list[str]:
    """Build the index of digests where it is `wanted` or there is one, and it is stale or damaged, or with `rebuild`.

    Returns lines that say what was done. Texts that the old index has embedded are not embedded again, except with
    `rebuild`. `setting` names the embedder; None keeps that of the old index or takes that of the labels. A build that
    was killed goes on where it stopped. An index of which nothing is left is removed. Raises as `open_embedder`.
    """
    old = snapshot.parts(TABLE, KEY)
    names = [dictionary.dictionary for dictionary in catalog.dictionaries]
    covers = {name: state for name in names if (state := _state(snapshot, name))}
    if not covers:
        return _remove(writer, old)
    embedder = open_embedder(snapshot, setting, named, wanted)
    if embedder is None:
        return []
    about: dict[str, Any] = {
        "covers": covers,
        "embedder": embedder.setting,
        "embedder_id": embedder.id,
        "form": FORM,
        "layout": LAYOUT,
    }
    intact = bool(old) and not rebuild and directory.is_intact(old[0])
    if intact and {name: old[0].about.get(name) for name in about} == about:
        return []
    older = directory.find_index(old[0]) if intact else None
    known = old[0].about if older is not None else {}
    table = _read_digests(catalog.dictionaries, snapshot, rows, _Older(older, known, covers), progress)
    if not table.num_rows:
        return ["examples: no feature has any, nor a token that it raises; nothing was embedded", *_remove(writer, old)]
    lines = [f"index of examples: what {table.num_rows:,} features fire on and raise (digests of form {FORM})"]

    def write(path: Path) -> int:
        """Write the index into a new directory. Returns the number of its rows."""
        reuse = older if known.get("embedder_id") == embedder.id else None
        new = _write(path, table, embedder, reuse, progress)
        lines.append(f"embedded {new:,} new texts with {embedder.id}")
        lines.extend(f"index of examples: {quality}" for quality in vectors.describe_quality(path / "index.faiss"))
        return int(table.num_rows)

    writer.add_built(TABLE, KEY, "", write, about)
    return lines


def _remove(writer: Writer, old: Sequence[Part]) -> list[str]:
    """Remove an index of which nothing is left. Returns lines that say so."""
    if not old:
        return []
    writer.remove(TABLE, KEY)
    return ["index of examples: removed, there is nothing left that it is of"]


def open_embedder(snapshot: Snapshot, setting: str | None, named: str | None, wanted: bool) -> Embedder | None:
    """Return the embedder for a new index; None where there is none to make, or what it needs is missing here.

    Raises Unavailable where one is `wanted` and the embedder is missing here, or is one that the store names and the
    user does not.
    """
    old = snapshot.parts(TABLE, KEY)
    if not (wanted or old):
        return None
    try:
        chosen = setting or _choose_setting([*old, *snapshot.parts("label_index")], named)
    except Unavailable:
        if wanted:
            raise
        return None
    if embedders.available(chosen):
        return embedders.open_embedder(chosen)
    if wanted:
        raise Unavailable(f"embedding examples with {chosen} needs pip install 'featurestore[embed]'")
    return None


def _choose_setting(indexes: Sequence[Part], named: str | None) -> str:
    """The setting that the first of these indexes has. Raises Unavailable where the user does not name that one."""
    stated = next((part for part in indexes if part.about.get("embedder")), None)
    if stated is None:
        return embedders.choose(None, named)
    what = embedders.EXAMPLES if stated.table == TABLE else embedders.LABELS
    return embedders.choose(stated.about["embedder"], named, what)


class _Older:
    """The digests of an older index, for dictionaries that have not changed since."""

    def __init__(self, path: Path | None, about: dict[str, Any], covers: dict[str, str]):
        self._same: frozenset[str] = frozenset()
        if path is not None and about.get("form") == FORM and about.get("layout") == LAYOUT:
            before = about["covers"]
            self._same = frozenset(name for name, state in covers.items() if before.get(name) == state)
        if self._same:
            assert path is not None
            self._table = feature_rows.FeatureRows(path / "rows.arrow").table()

    def rows(self, dictionary: str) -> pyarrow.Table | None:
        """The rows of a dictionary, None where they have to be made."""
        if dictionary not in self._same:
            return None
        return self._table.filter(pyarrow.compute.equal(self._table["dictionary"], dictionary))


def _read_digests(
    dictionaries: Sequence[Dictionary], snapshot: Snapshot, rows: Rows, older: _Older, progress: Progress
) -> pyarrow.Table:
    """The digest of each feature that has any evidence, in the order of the catalog."""
    reader = DigestReader(snapshot, rows)
    advance = progress("reading examples", sum(dictionary.d_sae for dictionary in dictionaries))
    tables = [SCHEMA.empty_table()]
    for dictionary in dictionaries:
        name, d_sae = dictionary.dictionary, dictionary.d_sae
        known = older.rows(name)
        if known is not None:
            tables.append(known.cast(SCHEMA))
            advance(d_sae)
            continue
        for start in range(0, d_sae, STEP):
            stop = min(start + STEP, d_sae, (start // SHARD_FEATURES + 1) * SHARD_FEATURES)
            texts = {start + at: text for at, text in enumerate(reader.digests(name, start, stop)) if text}
            columns = [[name] * len(texts), list(texts), list(texts.values())]
            tables.append(
                pyarrow.table([pyarrow.array(*pair) for pair in zip(columns, SCHEMA.types, strict=True)], SCHEMA)
            )
            advance(stop - start)
    table = pyarrow.concat_tables(tables)
    # Rows are read by their places, for which all batches but the last are full.
    blocks = [table.slice(start, BLOCK).combine_chunks() for start in range(0, table.num_rows, BLOCK)]
    return pyarrow.concat_tables(blocks) if blocks else table


def _write(path: Path, table: pyarrow.Table, embedder: Embedder, reuse: Path | None, progress: Progress) -> int:
    """Write the files of an index. Returns the number of texts that had to be embedded."""
    path.mkdir()
    feature_rows.write(path / "rows.arrow", table)
    work = path.parent / "building"
    of_text = LabelVectors(embedder, work / "embedded", "embedding examples")
    if reuse is not None:
        of_text.take_over(reuse, as_written=True)
    new = of_text.embed(table["label"], progress)
    matrix = of_text.write(path, table["label"])
    vectors.build(
        path / "index.faiss", [matrix], work=work / "vectors", texts=lambda: embedder(draw_questions(table["label"]))
    )
    of_text.forget()
    return new
