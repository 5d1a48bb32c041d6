"""Store: the local implementation of the interface, composed of the rooms below it.

Everything read from one snapshot of the directory is held by a `_View`; when a commit appears, the next question gets
a new one. A view is immutable, so any number of threads share it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy
import pyarrow

from featurestore.catalog import Catalog
from featurestore.errors import BadRequest, BadStore, Unavailable
from featurestore.indexes import DecoderIndex, LabelIndex, build_decoder_index, build_label_index, open_vectors
from featurestore.interface import FeatureStore
from featurestore.page import feature_page
from featurestore.parts import FORMAT, Directory, Snapshot
from featurestore.query import Query
from featurestore.records import Activating, ActiveFeature, Dictionary, Feature, Hits, StoreInfo
from featurestore.search import Searcher
from featurestore.sql import Engine
from featurestore.writer import SHARD_FEATURES, Writer

ORDERS = ("specific", "activation")


def _no_progress(description: str, total: int) -> Callable[[int], None]:
    return lambda done: None


class _View:
    """One snapshot, opened for reading."""

    def __init__(self, directory: Directory, snapshot: Snapshot):
        self.directory = directory
        self.snapshot = snapshot
        self.engine = Engine(directory, snapshot)
        self.catalog = Catalog(self.engine)
        # Opening an index reads its file: once for each view, when first asked for.
        self._decoder_index = functools.cache(lambda space: DecoderIndex(directory, snapshot, self.catalog, space))
        self._label_index = functools.cache(lambda: LabelIndex(directory, snapshot, self.catalog))
        self.searcher = Searcher(self.engine, self.catalog, self._decoder_index, self._label_index, self.vector)

    def vector(self, id: str) -> numpy.ndarray:
        asked = self.catalog.feature_id(id)
        shard, row = divmod(asked.feature, SHARD_FEATURES)
        for part in self.snapshot.parts("decoder_vectors", asked.dictionary):
            if part.shard == shard:
                return open_vectors(self.directory, part)[row].astype(numpy.float32)
        raise BadStore(f"the store has no decoder vectors of {asked.dictionary}")


class Store(FeatureStore):
    """A store in a directory of this machine. Safe to share between threads."""

    def __init__(self, path: str | Path):
        """Raises NotFound, UnsupportedVersion or BadStore when there is no readable store at `path`."""
        self.location = str(path)
        self._directory = Directory(path)
        self._lock = threading.Lock()
        self._view: _View | None = None

    @property
    def _now(self) -> _View:
        with self._lock:
            snapshot = self._directory.snapshot()
            if self._view is None or self._view.snapshot is not snapshot:
                # The old view is left to the threads that still use it.
                self._view = _View(self._directory, snapshot)
            return self._view

    def info(self) -> StoreInfo:
        view = self._now
        rows: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for part in sorted(view.snapshot.all(), key=lambda part: part.table):
            rows[part.table] = rows.get(part.table, 0) + part.rows
            sizes[part.table] = sizes.get(part.table, 0) + part.bytes
        index = view.snapshot.parts("label_index")
        notes = []
        if index and any(part.file not in index[0].about["covers"] for part in view.snapshot.parts("labels")):
            notes.append("some labels are newer than the index: run `featurestore index`")
        if rows.get("labels") and not index:
            notes.append("the labels are not indexed yet: run `featurestore index`")
        return StoreInfo(
            location=self.location,
            format=FORMAT,
            commit=view.snapshot.commit,
            dictionaries=len(view.catalog.dictionaries),
            features=view.catalog.size,
            labels=rows.get("labels", 0),
            rows=rows,
            bytes=sizes,
            embedder=index[0].about["embedder_id"] if index else None,
            notes=tuple(notes),
        )

    def dictionaries(self) -> list[Dictionary]:
        return list(self._now.catalog.dictionaries)

    def feature(self, id: str, examples: int | None = None) -> Feature:
        if examples is not None and examples < 0:
            raise BadRequest(f"examples: {examples} is not a number of examples")
        view = self._now
        return feature_page(view.directory, view.snapshot, view.engine, view.catalog, id, examples)

    def vector(self, id: str) -> numpy.ndarray:
        return self._now.vector(id)

    def run(self, query: Query) -> Hits:
        return self._now.searcher.run(query)

    def sql(self, statement: str, max_rows: int | None = None, timeout: float | None = None) -> pyarrow.Table:
        return self._now.engine.select(statement, max_rows, timeout)

    def activating(
        self, text: str, dictionary: str | Sequence[str] | None = None, k: int = 10, order: str = "specific"
    ) -> Activating:
        view = self._now
        if not text.strip():
            raise BadRequest("text: nothing to run the model on, the text is empty")
        if order not in ORDERS:
            raise BadRequest(f"order: '{order}' is not one of {', '.join(ORDERS)}")
        if not 1 <= k <= 1000:
            raise BadRequest(f"k: {k} is not between 1 and 1,000")
        chosen = _one_model(view.catalog, dictionary)
        tokens, active = _activations()(chosen, text)
        found = _ranked(view, active, len(tokens), order)
        said = (
            "activation"
            if order == "activation"
            else "activation over the feature's maximum; dense features and those seen rarely count less"
        )
        notes = (f"{len(found):,} features fire; ordered by {said}",)
        return Activating(text=text, tokens=tuple(tokens), features=tuple(found[:k]), notes=notes)

    def writer(self, tool: str) -> Writer:
        """A writer to this store; `tool` is recorded as who wrote."""
        return Writer(self._directory, tool)

    def index(
        self,
        embedder: str | None = None,
        progress: Callable[[str, int], Callable[[int], None]] = _no_progress,
    ) -> list[str]:
        """Build the indexes that are missing or stale; lines that say what was done.

        `embedder` is a setting of embed.py; None keeps the store's. `progress(description, total)` gives a function
        that is called with each number of texts done. Raises Unavailable when the embedder is not at hand.
        """
        view = self._now
        said: list[str] = []
        with self.writer("featurestore index") as writer:
            for space in sorted({d.space for d in view.catalog.dictionaries}):
                line = build_decoder_index(writer, view.directory, view.snapshot, view.catalog, space)
                said += [line] if line else []
            said += build_label_index(writer, view.directory, view.snapshot, view.engine, embedder, progress)
        return said

    def close(self) -> None:
        with self._lock:
            if self._view is not None:
                self._view.engine.close()
                self._view = None


def _one_model(catalog: Catalog, asked: str | Sequence[str] | None) -> list[Dictionary]:
    names = [asked] if isinstance(asked, str) else list(asked or [])
    chosen = [catalog.dictionary(name) for name in names] or catalog.dictionaries
    models = sorted({dictionary.model for dictionary in chosen})
    if not chosen:
        raise BadRequest("the store has no dictionary yet: harvest one first")
    if len(models) > 1:
        raise BadRequest(f"dictionary: say which; the store has dictionaries of several models: {', '.join(models)}")
    return chosen


def _activations() -> Any:
    found = list(entry_points(group="featurestore.activating"))
    if not found:
        raise Unavailable("running a model needs the harvest extra: pip install 'featurestore[harvest]'")
    return found[0].load()


def _specific(activation: float, largest: float, density: float, active: int) -> float:
    """How much a text is what a feature is for: the share of its largest activation, weighed by how telling a firing is.

    A dense feature fires anyway; of one that fired on few tokens the largest activation is hardly known; one that never
    fired in the corpus has nothing to compare with and comes last.
    """
    if not active or not largest:
        return 0.0
    return activation / largest * math.log(1 / (density + 1e-3)) * active / (active + 10)


def _ranked(view: _View, active: dict[str, Any], tokens: int, order: str) -> list[ActiveFeature]:
    """The features of sparse activations {dictionary: (feature, token, value)}, hardest first."""
    ranked: list[tuple[float, ActiveFeature]] = []
    for dictionary, (features, positions, values) in active.items():
        fired = numpy.unique(features)
        rows = view.engine.rows(
            "SELECT feature, label, density, max_activation, active_tokens FROM features "
            "WHERE dictionary = ? AND feature IN (SELECT unnest(?))",
            [dictionary, fired.tolist()],
        )
        for feature, label, density, largest, seen in rows:
            mine = features == feature
            dense = numpy.zeros(tokens, dtype=numpy.float32)
            dense[positions[mine]] = values[mine]
            token = int(numpy.abs(dense).argmax())
            activation = float(dense[token])
            score = abs(activation)
            if order == "specific":
                score = _specific(score, abs(largest or 0.0), density or 0.0, seen or 0)
            ranked.append(
                (
                    float(score),
                    ActiveFeature(
                        id=f"{dictionary}/{feature}",
                        dictionary=dictionary,
                        feature=feature,
                        label=label,
                        density=density,
                        max_activation=largest,
                        activation=activation,
                        token=token,
                        activations=tuple(float(x) for x in dense),
                    ),
                )
            )
    ranked.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [feature for _, feature in ranked]
