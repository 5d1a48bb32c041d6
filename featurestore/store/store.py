"""Store: the local implementation of the interface, composed of the rooms below it.

Everything read from one snapshot of the directory is held by a View; when a commit appears, the next question gets
a new one. A view is immutable, so any number of threads share it.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pyarrow

from featurestore.errors import BadRequest
from featurestore.graphs import file_format, graph_store
from featurestore.interface import FeatureStore
from featurestore.maintenance import check, compact, jobs
from featurestore.maintenance.check import Checked
from featurestore.maintenance.jobs import JobRecord
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.search import activating, embedders, label_index, neighbours, token_index
from featurestore.search.decoder_index import build_decoder_index
from featurestore.search.embedders import Embedder
from featurestore.search.label_index import not_covered
from featurestore.sql.engine import gathered
from featurestore.sql.process_pool import Workers
from featurestore.sql.search_functions import BoundStatement, bind
from featurestore.sql.statements import condition
from featurestore.storage.directory import FORMAT, Directory
from featurestore.storage.log import Part, Snapshot
from featurestore.store import labels
from featurestore.store.view import View
from featurestore.tables.best_label import label_rule, stale_features
from featurestore.tables.row_reader import Rows
from featurestore.tables.writer import Writer
from featurestore.values.dictionary import Dictionaries, StoreInfo
from featurestore.values.feature import Feature, FeatureId, Features, GivenLabel, Scores
from featurestore.values.graphs import Graph, GraphAdded, Graphs
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.parameters import Parameters, normalize
from featurestore.values.row_stream import RowStream

# How long a statement in a process of its own may take where its caller names no limit.
ISOLATED_SECONDS = 600.0


class Store(FeatureStore):
    """A store in a directory of this machine or on an object store. Safe to share between threads."""

    def __init__(self, path: str | Path):
        """Raises NotFound, UnsupportedVersion or BadStore when there is no readable store at `path`."""
        self.location = str(path)
        self._directory = Directory(path)
        self._rows = Rows(self._directory)
        self._lock = threading.Lock()
        self._view: View | None = None
        self._workers: Workers | None = None
        self._opened: dict[tuple[Any, ...], Any] = {}

    def isolate_sql(self, processes: int = 4, memory: int = 1_000_000_000) -> None:
        """From now on run SQL that callers write in processes of its own: `processes` at once, each within `memory` bytes.

        For a service: no statement can then take this process down or keep others waiting for long.
        """
        self._workers = Workers(self.location, processes, memory)

    def _sql(self, view: View, bound: BoundStatement, timeout: float | None) -> RowStream:
        if self._workers is None:
            return view.engine.stream(*bound, timeout)
        return self._workers.stream(*bound, timeout or ISOLATED_SECONDS)

    @property
    def _now(self) -> View:
        with self._lock:
            snapshot = self._directory.snapshot(fresh=False)
            if self._view is None or self._view.snapshot is not snapshot:
                if self._view is not None:
                    self._view.retire()
                self._view = View(self._directory, snapshot, self._rows, self._sql, self._once)
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
            label_rule=label_rule(view.snapshot),
            notes=tuple(_notes(view.snapshot)),
        )

    def dictionaries(self) -> Dictionaries:
        return Dictionaries(self._now.catalog.dictionaries)

    def feature(self, id: str, examples: int | None = None) -> Feature:
        _check_examples(examples)
        view = self._now
        return view.pages.page(id, examples)

    def evidence(self, ids: Sequence[str], examples: int | None = None) -> Iterator[Feature]:
        """Pages without their labels, as they are read, in the order of ids within every 32: for those who make labels.

        Reading many is an order of magnitude quicker than `feature` for each, most of all in the order of their ids.
        Raises as `feature` does.
        """
        view = self._now
        yield from view.pages.evidence([view.catalog.feature_id(id) for id in ids], examples)

    def windows(self, places: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, ...]]:
        """The text of the tokens of windows (corpus, document, start, length), as examples have it.

        Raises BadStore when there is no such corpus or document.
        """
        return self._now.pages.windows(places)

    def vector(self, id: str, target: int | None = None) -> numpy.ndarray:
        return self._now.vector(id, target)

    def features(self, ids: Sequence[str], examples: int | None = None) -> Features:
        _check_examples(examples)
        return Features(self.feature(id, examples) for id in ids)

    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        _check_examples(examples)
        view = self._now
        statement = f"SELECT dictionary, feature FROM features WHERE {condition(where)} ORDER BY dictionary, feature"
        with self._sql(view, BoundStatement(statement, {}, {}), None) as found:
            for batch in found:
                for row in batch.to_pylist():
                    yield view.pages.page(f"{row['dictionary']}/{row['feature']}", examples)

    def scores(self, id: str) -> Scores:
        return Scores(self._now.pages.scores(id))

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

    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> pyarrow.Table:
        with self.stream(statement, parameters, timeout) as found:
            return gathered(found, max_rows)

    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        view = self._now
        bound = bind(statement, normalize(parameters), view.searcher.run, self.activating)
        return self._sql(view, bound, timeout)

    def activating(
        self, text: str, dictionary: str | Sequence[str] | None = None, k: int = 10, order: str = "specific"
    ) -> Activating:
        view = self._now
        return activating.activating(view.catalog, view.engine, text, dictionary, k, order)

    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: str | Sequence[str] | None = None,
        k: int = 10,
    ) -> Contrast:
        view = self._now
        return activating.contrast(view.catalog, view.engine, texts, against, dictionary, k)

    def neighbourhood(self, id: str, k: int = 8, within: str | Sequence[str] = ()) -> Neighbourhood:
        view = self._now
        return neighbours.neighbourhood(view.searcher, view.vector, id, k, within)

    def duplicates(
        self,
        dictionary: str,
        against: str | Sequence[str] | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        view = self._now
        return neighbours.duplicates(
            view.catalog, view.pages, view.decoder_index, view.vectors, dictionary, against, cosine, k, progress
        )

    def graphs(self) -> Graphs:
        return self._now.graphs.all()

    def graph(self, slug: str) -> Graph:
        return self._now.graphs.graph(slug)

    def graph_file(self, slug: str) -> dict[str, Any]:
        return self._now.graphs.file(slug)

    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        view, given = self._now, file_format.load(graph)
        by = tool or "featurestore graph add"
        return graph_store.add(self._directory, view.catalog, given, slug, map, replace, by, view.pages)

    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        graph_store.remove(self._directory, slug, tool or "featurestore graph remove")

    def jobs(self) -> Jobs:
        return jobs.jobs(self._directory.storage)

    def job(self, id: str) -> Job:
        return jobs.job(self._directory.storage, id)

    def start_job(self, kind: str) -> Job:
        return jobs.start(self._directory.storage, kind)

    def cancel_job(self, id: str) -> Job:
        return jobs.cancel(self._directory.storage, id)

    def recorded(self, kind: str, about: str = "") -> AbstractContextManager[JobRecord | None]:
        """Keep account of the work inside among the store's jobs: a record to be told of progress, None where none is kept."""
        return jobs.recorded(self._directory.storage, kind, about)

    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        at = datetime.datetime.now(datetime.UTC)
        return labels.add_labels(self._directory, self._now.catalog, given, tool or labels.TOOL, at)

    def vote(self, id: str, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        known = [one.label for one in self.feature(id, examples=0).labels]
        labels.vote(self._directory, self._asked(id), known, label, vote, voter, tool or labels.TOOL)

    def set_label_rule(self, rule: str | None) -> None:
        """Choose best labels by this SQL expression, see `label_rank` in schema.sql; None for the one that comes with us.

        Raises BadRequest when it is none, or asks for what is not known of a label.
        """
        labels.set_rule(self._directory, rule)

    def _asked(self, id: str) -> FeatureId:
        return self._now.catalog.feature_id(id)

    def writer(self, tool: str) -> Writer:
        """A writer to this store; `tool` is recorded as who wrote."""
        return Writer(self._directory, tool)

    def index(
        self,
        embedder: str | None = None,
        progress: Progress = no_progress,
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
            said += label_index.build(writer, view.directory, view.snapshot, view.engine, embedder, progress)
            said += token_index.build(writer, view.directory, view.snapshot, view.catalog, self._rows, progress)
        return said

    def embedder(self, setting: str | None = None) -> Embedder:
        """What turns texts into vectors here: `setting` of embed.py, or that of the store's label index, or the default.

        Raises Unavailable when its package, files or endpoint are not at hand.
        """
        index = self._now.snapshot.parts("label_index")
        return embedders.open_embedder(setting or (index[0].about["embedder"] if index else None) or embedders.DEFAULT)

    def compact(self, progress: Progress = no_progress) -> list[str]:
        """Merge small label parts and copy the best labels beside the features; lines that say what was done."""
        return compact.compact(self._directory, self._rows, "featurestore compact", progress)

    def remove(self, *ids: str) -> list[str]:
        """Remove dictionaries with all that is theirs, in one commit; lines that say what went.

        Raises NotFound, removing nothing, when one is not there.
        """
        return compact.remove(self._directory, self._now.catalog, ids, "featurestore remove")

    def check(self, progress: Progress = no_progress) -> Checked:
        """Read every byte of the store and say what is wrong with it."""
        return check.check(self._directory, progress)

    def repair(self, progress: Progress = no_progress) -> Checked:
        """Check, remove leftovers, make again what can be made from the rest, and check again."""
        said = check.repair(self._directory, check.check(self._directory), "featurestore check --repair")
        if any(line.startswith(tuple(f"removed {name}" for name in check.INDEXES)) for line in said):
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
