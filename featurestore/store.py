"""Store: the local implementation of the interface, composed of the rooms below it.

Everything read from one snapshot of the directory is held by a `_View`; when a commit appears, the next question gets
a new one. A view is immutable, so any number of threads share it.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow

from featurestore import check, lifecycle
from featurestore.catalog import Catalog
from featurestore.check import Checked
from featurestore.errors import BadRequest, BadStore, Unavailable
from featurestore.functions import bind
from featurestore.indexes import (
    DecoderIndex,
    LabelIndex,
    Once,
    build_decoder_index,
    build_label_index,
    not_covered,
    open_vectors,
)
from featurestore.interface import FeatureStore
from featurestore.labelling import stale_features
from featurestore.log import Part, Snapshot
from featurestore.page import Pages
from featurestore.parts import FORMAT, Directory
from featurestore.query import Query
from featurestore.records import Activating, ActiveFeature, Dictionary, Feature, Hits, StoreInfo
from featurestore.rows import Rows, shard_part
from featurestore.search import Searcher
from featurestore.sql import Engine, gathered
from featurestore.stream import RowStream
from featurestore.workers import Workers
from featurestore.writer import SHARD_FEATURES, Writer

ORDERS = ("specific", "activation")
# How long a statement in a process of its own may take where its caller names no limit.
ISOLATED_SECONDS = 600.0


# progress(description, total) gives a function that is called with each number of steps done.
Progress = Callable[[str, int], Callable[[int], None]]


def _no_progress(description: str, total: int) -> Callable[[int], None]:
    return lambda done: None


class _View:
    """One snapshot, opened for reading; what is dear to open is opened when first asked for."""

    def __init__(self, directory: Directory, snapshot: Snapshot, rows: Rows, sql: Sql, once: Once):
        self.directory = directory
        self.snapshot = snapshot
        self._lock = threading.Lock()
        dictionaries = [rows.dictionary(part) for part in snapshot.parts("dictionaries")]
        self.catalog = Catalog(
            dictionaries,
            lambda statement: self.engine.table(statement),
            lambda statement, seconds: sql(self, statement, {}, seconds).read_all(),
        )
        self.pages = Pages(rows, snapshot, self.catalog, lambda: self.engine)
        # Opening an index reads its file: once for each view.
        self._decoder_index = functools.cache(
            lambda space: DecoderIndex(directory, snapshot, self.catalog, space, once)
        )
        self._label_index = functools.cache(lambda: LabelIndex(directory, snapshot, self.catalog, once))
        self.searcher = Searcher(self.pages, self.catalog, self._decoder_index, self._label_index, self.vector)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = Engine(self.directory, self.snapshot)
            return self._engine

    def vector(self, id: str) -> numpy.ndarray:
        asked = self.catalog.feature_id(id)
        part = shard_part(self.snapshot, "decoder_vectors", asked.dictionary, asked.feature)
        if part is None:
            raise BadStore(f"the store has no decoder vectors of {asked.dictionary}")
        return open_vectors(self.directory, part)[asked.feature % SHARD_FEATURES].astype(numpy.float32)

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.close()


# How a statement that somebody else wrote is run: with the tables it may name, within some seconds.
Sql = Callable[[_View, str, Mapping[str, pyarrow.Table], float | None], RowStream]


class Store(FeatureStore):
    """A store in a directory of this machine or on an object store. Safe to share between threads."""

    def __init__(self, path: str | Path):
        """Raises NotFound, UnsupportedVersion or BadStore when there is no readable store at `path`."""
        self.location = str(path)
        self._directory = Directory(path)
        self._rows = Rows(self._directory)
        self._lock = threading.Lock()
        self._view: _View | None = None
        self._workers: Workers | None = None
        self._opened: dict[tuple[Any, ...], Any] = {}

    def isolate_sql(self, processes: int = 4, memory: int = 1_000_000_000) -> None:
        """From now on run SQL that callers write in processes of its own: `processes` at once, each within `memory` bytes.

        For a service: no statement can then take this process down or keep others waiting for long.
        """
        self._workers = Workers(self.location, processes, memory)

    def _sql(
        self, view: _View, statement: str, tables: Mapping[str, pyarrow.Table], timeout: float | None
    ) -> RowStream:
        if self._workers is None:
            return view.engine.stream(statement, tables, timeout)
        return self._workers.stream(statement, tables, timeout or ISOLATED_SECONDS)

    @property
    def _now(self) -> _View:
        with self._lock:
            snapshot = self._directory.snapshot(fresh=False)
            if self._view is None or self._view.snapshot is not snapshot:
                # The old view is left to the threads that still use it.
                self._view = _View(self._directory, snapshot, self._rows, self._sql, self._once)
                live = {part.file for part in snapshot.all()}
                self._opened = {key: value for key, value in self._opened.items() if key[0] in live}
            return self._view

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """An index's files are opened once, not at every commit of somebody else."""
        found = self._opened.get(key)
        if found is None:
            found = self._opened[key] = make()
        return found

    @property
    def version(self) -> str:
        """Text that changes whenever anything in the store does."""
        return f"{self._directory.created_at}-{self._now.snapshot.commit}"

    def info(self) -> StoreInfo:
        view = self._now
        parts: dict[str, list[Part]] = {}
        for part in sorted(view.snapshot.all(), key=lambda part: part.table):
            parts.setdefault(part.table, []).append(part)
        index = view.snapshot.parts("label_index")
        rows = {table: sum(part.rows for part in those) for table, those in parts.items()}
        return StoreInfo(
            location=self.location,
            format=FORMAT,
            commit=view.snapshot.commit,
            created_at=self._directory.created_at,
            changed_at=view.snapshot.at,
            dictionaries=len(view.catalog.dictionaries),
            features=view.catalog.size,
            labels=rows.get("labels", 0),
            rows=rows,
            bytes={table: sum(part.bytes for part in those) for table, those in parts.items()},
            parts={table: len(those) for table, those in parts.items()},
            embedder=index[0].about["embedder_id"] if index else None,
            notes=tuple(_notes(view.snapshot)),
        )

    def dictionaries(self) -> list[Dictionary]:
        return list(self._now.catalog.dictionaries)

    def feature(self, id: str, examples: int | None = None) -> Feature:
        _check_examples(examples)
        view = self._now
        return view.pages.page(id, examples)

    def vector(self, id: str) -> numpy.ndarray:
        return self._now.vector(id)

    def features(self, ids: Sequence[str], examples: int | None = None) -> list[Feature]:
        _check_examples(examples)
        return [self.feature(id, examples) for id in ids]

    def vectors(self, ids: Sequence[str]) -> numpy.ndarray:
        view = self._now
        found = [view.vector(id) for id in ids]
        widths = sorted({len(row) for row in found})
        if len(widths) > 1:
            raise BadRequest(
                f"ids: their vectors have several widths ({', '.join(map(str, widths))}): ask for each alone"
            )
        return numpy.stack(found) if found else numpy.zeros((0, 0), dtype=numpy.float32)

    def run(self, query: Query) -> Hits:
        return self._now.searcher.run(query)

    def sql(self, statement: str, max_rows: int | None = None, timeout: float | None = None) -> pyarrow.Table:
        with self.stream(statement, timeout) as found:
            return gathered(found, max_rows)

    def stream(self, statement: str, timeout: float | None = None) -> RowStream:
        view = self._now
        bound, tables = bind(statement, view.searcher.run, self.activating)
        return self._sql(view, bound, tables, timeout)

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
        progress: Progress = _no_progress,
        recall: float | None = None,
    ) -> list[str]:
        """Build the indexes that are missing or stale; lines that say what was done.

        `recall` is the share of the true nearest vectors that a search of a large space should find (default: as before,
        or 0.95); what was reached on held-out queries is among the lines.
        `embedder` is a setting of embed.py; None keeps the store's. `progress(description, total)` gives a function
        that is called with each number of texts done. Raises Unavailable when the embedder is not at hand.
        """
        view = self._now
        said: list[str] = []
        with self.writer("featurestore index") as writer:
            for space in sorted({d.space for d in view.catalog.dictionaries}):
                line = build_decoder_index(writer, view.directory, view.snapshot, view.catalog, space, progress, recall)
                said += [line] if line else []
            said += build_label_index(writer, view.directory, view.snapshot, view.engine, embedder, progress)
        return said

    def compact(self, progress: Progress = _no_progress) -> list[str]:
        """Merge small label parts and copy the best labels beside the features; lines that say what was done."""
        return lifecycle.compact(self._directory, self._rows, "featurestore compact", progress)

    def remove(self, *ids: str) -> list[str]:
        """Remove dictionaries with all that is theirs, in one commit; lines that say what went.

        Raises NotFound, removing nothing, when one is not there.
        """
        return lifecycle.remove(self._directory, self._now.catalog, ids, "featurestore remove")

    def check(self, progress: Progress = _no_progress) -> Checked:
        """Read every byte of the store and say what is wrong with it."""
        return check.check(self._directory, progress)

    def repair(self, progress: Progress = _no_progress) -> Checked:
        """Check, remove leftovers, make again what can be made from the rest, and check again."""
        said = check.repair(self._directory, check.check(self._directory), "featurestore check --repair")
        if any(line.startswith("removed decoder_index") or line.startswith("removed label_index") for line in said):
            said += self.index(progress=progress)
        return msgspec.structs.replace(check.check(self._directory, progress), repaired=tuple(said))

    def close(self) -> None:
        with self._lock:
            if self._view is not None:
                self._view.close()
                self._view = None
            self._opened = {}
            if self._workers is not None:
                self._workers.close()


def _check_examples(examples: int | None) -> None:
    if examples is not None and examples < 0:
        raise BadRequest(f"examples: {examples} is not a number of examples")


def _notes(snapshot: Snapshot) -> Iterator[str]:
    """What the owner might want to do."""
    index = snapshot.parts("label_index")
    if snapshot.parts("labels") and not index:
        yield "the labels are not indexed yet: run `featurestore index`"
    elif index and not_covered(snapshot, index[0]):
        yield "some labels are newer than the index: run `featurestore index`"
    stale = stale_features(snapshot)
    if stale:
        count = sum(part.rows for part in stale)
        yield f"the best labels of {count:,} features are looked up each time: run `featurestore compact`"


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
