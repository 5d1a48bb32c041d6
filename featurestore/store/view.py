"""View: one snapshot of a store, opened for reading. It is immutable, so any number of threads share it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator

import numpy

from featurestore.graphs.graph_store import GraphReader
from featurestore.search.decoder_index import DecoderIndex, Once
from featurestore.search.label_index import LabelIndex
from featurestore.search.searcher import Searcher
from featurestore.search.token_index import TokenIndex
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.decoder_vectors import DecoderVectors
from featurestore.snapshot.feature_page import FeaturePages
from featurestore.snapshot.shard import Shards
from featurestore.sql.engine import Engine
from featurestore.sql.search_functions import BoundStatement
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.tables.row_reader import Rows
from featurestore.values.row_stream import RowStream


class View:
    """What is dear to open is opened when first asked for."""

    def __init__(self, directory: Directory, snapshot: Snapshot, rows: Rows, sql: Sql, once: Once):
        self.directory = directory
        self.snapshot = snapshot
        self._lock = threading.Lock()
        dictionaries = [rows.dictionary(part) for part in snapshot.parts("dictionaries")]
        self.catalog = Catalog(
            dictionaries,
            lambda statement: self.engine.table(statement),
            lambda statement, seconds: sql(self, BoundStatement(statement, {}, {}), seconds).read_all(),
        )
        shards = Shards(snapshot)
        self.pages = FeaturePages(rows, snapshot, shards, self.catalog, lambda: self.engine)
        self._decoder_vectors = DecoderVectors(directory, snapshot, self.catalog, shards)
        self.graphs = GraphReader(rows, snapshot, self.catalog, self.pages)
        # Opening an index reads its file: once for each view.
        self.decoder_index = functools.cache(lambda space: DecoderIndex(directory, snapshot, self.catalog, space, once))
        self._label_index = functools.cache(lambda: LabelIndex(directory, snapshot, self.catalog, once))
        self._token_index = functools.cache(lambda: TokenIndex(directory, snapshot, self.catalog, once))
        self.searcher = Searcher(
            snapshot.commit,
            self.pages,
            self.catalog,
            self.decoder_index,
            self._label_index,
            self._token_index,
            self.vector,
        )
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.directory, self.snapshot)
            return self._engine

    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        return self._decoder_vectors.of_feature(id, target)

    def vectors(self, dictionary: str) -> Iterator[numpy.ndarray]:
        """The first decoder vector of each feature of a dictionary in order, (features, d_out) float16, part by part."""
        return self._decoder_vectors.of_dictionary(dictionary)

    def retire(self) -> None:
        """Let go of what is dear. Who still uses the view keeps what it holds, or opens it again.

        A view is part of cycles, so it lies about until the collector comes, and with it all it has opened.
        """
        with self._lock:
            self._engine = None
        for opened in (self.decoder_index, self._label_index, self._token_index):
            opened.cache_clear()

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()


# Runs a statement that a caller wrote, within some seconds.
Sql = Callable[[View, BoundStatement, float | None], RowStream]
