"""View: one snapshot of a store, open for reading. It is immutable, so any number of threads share it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy
import pyarrow

from featurestore.errors import BadRequest
from featurestore.graphs import sql_tables
from featurestore.graphs.graph_store import GraphReader
from featurestore.lists.list_store import ListReader
from featurestore.search.comparison.dictionaries import Comparer
from featurestore.search.decoder_index import DecoderIndex, Once
from featurestore.search.examples.example_index import ExampleIndex, find_part
from featurestore.search.fresh_labels import read_labels
from featurestore.search.label_index import LabelIndex
from featurestore.search.searcher import Searcher
from featurestore.search.token_index import TokenIndex
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.decoder_vectors import DecoderVectors
from featurestore.snapshot.feature_page import FeaturePages
from featurestore.snapshot.shard import Shards
from featurestore.sql.conditions import Selection
from featurestore.sql.engine import Engine
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.row_reader import Rows
from featurestore.values.dictionary import Coverage
from featurestore.values.matrix import Matrix
from featurestore.values.row_stream import RowStream

MOST_BANDS = 40  # that a message names


class View:
    """One snapshot of a store. The SQL engine and the indexes are opened when they are first used."""

    def __init__(
        self,
        directory: Directory,
        snapshot: Snapshot,
        rows: Rows,
        select: Select,
        once: Once,
        named: Callable[[], str | None],
    ):
        """`named()` is the embedder that the user has named."""
        self.directory = directory
        self.snapshot = snapshot
        self._rows = rows
        self._lock = threading.Lock()
        dictionaries = [rows.dictionary(part) for part in snapshot.parts("dictionaries")]
        self.lists = ListReader(rows, snapshot)
        self.catalog = Catalog(
            dictionaries,
            lambda statement: self.engine.table(statement),
            lambda selection, seconds: select(self, selection, seconds).to_arrow(),
            self.lists.ids,
        )
        shards = Shards(snapshot)
        self.pages = FeaturePages(rows, snapshot, shards, self.catalog, lambda: self.engine)
        self._decoder_vectors = DecoderVectors(directory, snapshot, self.catalog, shards)
        self.graphs = GraphReader(rows, snapshot, self.catalog, self.pages, once)
        # Opening an index reads its file, so it is done once per view.
        self.decoder_index = functools.cache(lambda space: DecoderIndex(directory, snapshot, self.catalog, space, once))
        self._label_index = functools.cache(
            lambda: LabelIndex(directory, snapshot, self.catalog, once, self._read_labels, named)
        )
        self._token_index = functools.cache(lambda: TokenIndex(directory, snapshot, self.catalog, once))
        self._example_index = functools.cache(lambda: ExampleIndex(directory, snapshot, self.catalog, once, named))
        self.searcher = Searcher(
            snapshot.commit,
            self.pages,
            self.catalog,
            self.decoder_index,
            self._label_index,
            self._token_index,
            self._example_index,
            find_part(snapshot) is not None,
            self.vector,
        )
        self.comparer = Comparer(self.catalog, self.pages, self.decoder_index, self.matrix)
        self._engine: Engine | None = None

    @functools.cached_property
    def coverage(self) -> tuple[Coverage, ...]:
        """How many features of each dictionary have a label, by dictionary; counted once."""
        shown: dict[str, dict[str, int]] = {}
        rows = self.engine.rows("SELECT dictionary, explainer, labelled FROM label_coverage ORDER BY ALL")
        for dictionary, explainer, labelled in rows:
            shown.setdefault(dictionary, {}).update({explainer: labelled} if explainer else {})
        sizes = {entry.dictionary: entry.d_sae for entry in self.catalog.dictionaries}
        return tuple(
            Coverage(
                dictionary=name,
                features=sizes[name],
                labelled=sum(counts.values()),
                share=sum(counts.values()) / sizes[name],
                explainers=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
            )
            for name, counts in shown.items()
        )

    def check_band(self, band: str | None) -> None:
        """Raise BadRequest, with the bands there are, for one that no example of the store is in; "top" always is."""
        if band in (None, "top") or band in self._bands:
            return
        names = ["top", *(name for name in self._bands if name != "top")]
        more = f" and {len(names) - MOST_BANDS:,} more" if len(names) > MOST_BANDS else ""
        raise BadRequest(f"band: {band!r:.200} is none of this store; there are: {', '.join(names[:MOST_BANDS])}{more}")

    @functools.cached_property
    def _bands(self) -> tuple[str, ...]:
        rows = self.engine.rows(
            "SELECT band, min(band_low) AS low FROM stored.examples GROUP BY band ORDER BY low, band"
        )
        return tuple(name for name, _ in rows)

    def _read_labels(self, parts: Sequence[Part]) -> pyarrow.Table:
        return read_labels(self._rows, self.engine, parts)

    @property
    def engine(self) -> Engine:
        """The SQL engine over this snapshot."""
        with self._lock:
            if self._engine is None or self._engine.broken:
                self._engine = Engine(self.directory, self.snapshot)
            return self._engine

    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        """Return a feature's decoder vector, (d_out,) float32, into layer `target` (default: the first it has)."""
        return self._decoder_vectors.of_feature(id, target)

    def describe_graph(self, function: str, slug: str, values: Mapping[str, Any]) -> pyarrow.Table:
        """Return what a function of SQL gives of a graph. Raises NotFound, and BadRequest for wrong arguments."""
        around = sql_tables.AroundGraph(self.vector, self.catalog.dictionaries)
        return sql_tables.make_table(function, self.graphs.graph(slug), values, around)

    def matrix(self, dictionary: str, target: int | None = None) -> Matrix:
        """All decoder vectors of a dictionary, (d_sae, d_out) float16, into layer `target` (default: the first)."""
        return self._decoder_vectors.matrix(dictionary, target)

    def embed(self, texts: Sequence[str]) -> numpy.ndarray:
        """Return unit vectors of texts by the embedder of the label index, see `LabelIndex.embed_all`."""
        return self._label_index().embed_all(texts)

    def vectors(self, dictionary: str) -> Iterator[numpy.ndarray]:
        """The first decoder vector of each feature of a dictionary in order, (features, d_out) float16, part by
        part."""
        return self._decoder_vectors.of_dictionary(dictionary)

    def retire(self) -> None:
        """Close the engine and the indexes. Threads that still use this view keep what they hold, or open it again.

        Without this they would stay open until the garbage collector runs, since a view is part of reference cycles.
        """
        with self._lock:
            self._engine = None
        for opened in (self.decoder_index, self._label_index, self._token_index, self._example_index):
            opened.cache_clear()

    def close(self) -> None:
        """Close the SQL engine."""
        with self._lock:
            if self._engine is not None:
                self._engine.close()


# Chooses features by a condition that a caller wrote, within some seconds.
Select = Callable[[View, Selection, float | None], RowStream]
