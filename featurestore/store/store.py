"""Store: the local implementation of the interface, composed of the folders below it.

A View holds everything that is read from one snapshot of the directory. After a commit the next question gets a new
view. A view is immutable, so any number of threads share it.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import numpy

from featurestore.errors import BadRequest, NotFound, Unavailable
from featurestore.graphs import analysis, file_format, graph_store, view_edit
from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike, dictionary_text, dictionary_texts
from featurestore.interface import FeatureStore
from featurestore.lists import list_store
from featurestore.maintenance import check, compact, feature_maps, job_files, jobs, live_files, repair
from featurestore.maintenance.findings import Checked
from featurestore.maintenance.job_records import JobRecord, keep_record
from featurestore.maintenance.live_files import TableFiles
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.search import activating, embedders, label_index, neighbours, token_index
from featurestore.search.comparison.features import compare_features
from featurestore.search.decoder_index import build_decoder_index
from featurestore.search.embedders import Embedder
from featurestore.search.fresh_labels import FEW
from featurestore.search.label_index import not_covered
from featurestore.sql.conditions import Selection, may_have_subquery
from featurestore.sql.engine import collect
from featurestore.sql.process_pool import Workers
from featurestore.sql.search_functions import BoundStatement, bind, plan_searches
from featurestore.storage.directory import FORMAT, Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.storage.user_files import holds_data, is_remembered
from featurestore.store import labels
from featurestore.store.view import View
from featurestore.tables.best_label import label_rule, stale_features
from featurestore.tables.row_reader import Rows
from featurestore.tables.structural import STRUCTURAL_TABLE, structural_rule
from featurestore.tables.writer import Writer
from featurestore.values.comparisons import Comparison, are_dictionaries, name_compared
from featurestore.values.dictionary import Coverage, Dictionaries, Dictionary, StoreInfo
from featurestore.values.examples import Examples
from featurestore.values.feature import (
    Feature,
    FeatureLike,
    Features,
    GivenLabel,
    LabelChange,
    Scores,
    id_text,
    id_texts,
)
from featurestore.values.graphs import Graph, GraphAdded, Graphs, NodeLike
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.lists import FeatureList, FeatureLists, ListedFeature, convert_features
from featurestore.values.matrix import Matrix, check_vectors
from featurestore.values.parameters import Parameters, normalize
from featurestore.values.row_stream import RowStream, RowTable
from featurestore.weights import allows_locations, read_weights

# How long a statement in a process of its own may take where its caller names no limit.
ISOLATED_SECONDS = 600.0
# The same for a condition without subqueries, which reads one view once. Few run at once, and few wait for them.
CONDITION_SECONDS = 10.0
CONDITION_PROCESSES = 2


_stores: weakref.WeakSet[Store] = weakref.WeakSet()
# What the parent of a forked process had open. DuckDB would wait for threads, or crash on them, if it were freed here.
_of_parent: list[dict[str, Any]] = []


def _leave_parents() -> None:
    # The parent's garbage that waits for its collector may hold connections too: it is never collected in the child.
    gc.freeze()
    for store in list(_stores):
        store._leave_parent()


os.register_at_fork(after_in_child=_leave_parents)


class Store(FeatureStore):
    """A store in a directory of this machine or on an object store. Safe to share between threads."""

    def __init__(self, path: str | Path, embedder: str | None = None, allow_store_locations: bool = False):
        """`embedder` is one to use where the store's label index names another than the default.

        Without it that of $FEATURESTORE_EMBEDDER is used. With `allow_store_locations`, or
        $FEATURESTORE_ALLOW_STORE_LOCATIONS, models and weights are opened where the store says that they are, also
        where this user has never harvested from. Raises NotFound, UnsupportedVersion or BadStore when there is
        no readable store at `path`.
        """
        self._named = embedder or os.environ.get(embedders.VARIABLE) or None
        self._allows_locations = allow_store_locations or allows_locations()
        self.location = str(path)
        self._forked = False
        self._directory = Directory(path)
        self._rows = Rows(self._directory)
        self._lock = threading.Lock()
        self._view: View | None = None
        self._workers: Workers | None = None
        self._condition_workers: Workers | None = None
        self._opened: dict[tuple[Any, ...], Any] = {}
        _stores.add(self)

    @functools.cached_property
    def _directory(self) -> Directory:
        # Set when a store is opened, and opened again in a process that was forked from the one that did.
        if self._forked and "://" in self.location:
            raise Unavailable(
                f"{self.location} was opened before this process was forked, and connections of an object store do not "
                "live on in a fork: open it in a process that is spawned, as multiprocessing's 'spawn' and Ray do"
            )
        return Directory(self.location)

    @functools.cached_property
    def _rows(self) -> Rows:
        return Rows(self._directory)

    def _leave_parent(self) -> None:
        """Forget what was opened before a fork: DuckDB's threads, locks and pipes are those of the parent alone."""
        _of_parent.append(dict(self.__dict__))
        for name in ("_directory", "_rows"):
            self.__dict__.pop(name, None)
        self._forked, self._lock, self._view, self._opened = True, threading.Lock(), None, {}
        if self._workers is not None:
            self.isolate_sql(self._workers.count, self._workers.memory)

    def __reduce__(self) -> tuple[Any, ...]:
        """A store is pickled as its location, and opened again where it is unpickled."""
        location = self.location if "://" in self.location else os.path.abspath(self.location)
        return type(self), (location, self._named, self._allows_locations)

    def _may_open(self, location: str) -> bool:
        """Return whether a model or weights that the store names may be opened.

        Data files of this machine are opened for who works on it. A service asks for strangers: what its owner has
        named, or has allowed, is opened alone.
        """
        is_served = self._workers is not None
        return self._allows_locations or is_remembered(location) or (not is_served and holds_data(location))

    def isolate_sql(self, processes: int = 4, memory: int = 1_000_000_000) -> None:
        """Run the SQL that callers write in separate processes from now on: `processes` of them, each of `memory`
        bytes.

        A service does so: no statement can then end the service's process, or keep others waiting for long.
        """
        self._workers = Workers(self.location, processes, memory)
        count = min(processes, CONDITION_PROCESSES)
        self._condition_workers = Workers(self.location, count, memory, what="conditions", waiting=2 * count)

    def _run_sql(self, view: View, bound: BoundStatement, timeout: float | None) -> RowStream:
        if self._workers is None:
            return view.engine.stream(*bound, timeout)
        return self._workers.stream(*bound, timeout or ISOLATED_SECONDS)

    def _select(self, view: View, selection: Selection, timeout: float | None) -> RowStream:
        """Choose features by a condition, beside SQL: neither waits for the other. One with subqueries is SQL."""
        if self._workers is None or self._condition_workers is None:
            return view.engine.select(selection, timeout)
        if selection.subqueries and may_have_subquery(selection.where):
            return self._workers.select(selection, timeout or ISOLATED_SECONDS)
        plain = msgspec.structs.replace(selection, subqueries=False)
        return self._condition_workers.select(plain, min(timeout or CONDITION_SECONDS, CONDITION_SECONDS))

    @property
    def _current_view(self) -> View:
        with self._lock:
            snapshot = self._directory.snapshot(fresh=False)
            if self._view is None or self._view.snapshot is not snapshot:
                if self._view is not None:
                    self._view.retire()
                self._view = View(
                    self._directory, snapshot, self._rows, self._select, self._open_once, lambda: self._named
                )
                live = {part.file for part in snapshot.all()}
                self._opened = {key: value for key, value in self._opened.items() if key[0] in live}
            return self._view

    def _open_once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        """Open an index's files once, and not again after every commit."""
        value = self._opened.get(key)
        if value is None:
            value = self._opened[key] = make()
        return value

    @property
    def version(self) -> str:
        """A text that changes with every commit."""
        return f"{self._directory.created_at}-{self._current_view.snapshot.commit}"

    def info(self) -> StoreInfo:
        view = self._current_view
        parts_of_table: dict[str, list[Part]] = {}
        for part in sorted(view.snapshot.all(), key=lambda part: part.table):
            parts_of_table.setdefault(part.table, []).append(part)
        index = view.snapshot.parts("label_index")
        rows = {table: sum(part.rows for part in parts) for table, parts in parts_of_table.items()}
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
            bytes={table: sum(part.bytes for part in parts) for table, parts in parts_of_table.items()},
            parts={table: len(parts) for table, parts in parts_of_table.items()},
            embedder=index[0].about["embedder_id"] if index else None,
            label_rule=label_rule(view.snapshot),
            structural_rule=structural_rule(view.snapshot),
            notes=tuple(_notes(view.snapshot)),
        )

    def coverage(self) -> tuple[Coverage, ...]:
        return self._current_view.coverage

    def dictionaries(self) -> Dictionaries:
        return Dictionaries(self._current_view.catalog.dictionaries)

    def feature(self, id: FeatureLike, examples: int | None = None) -> Feature:
        _check_examples(examples)
        view = self._current_view
        page = view.pages.page(id_text(id), examples)
        if page.label is not None:
            return page
        return msgspec.structs.replace(page, labelled_neighbours=neighbours.find_labelled(view.searcher, page))

    def evidence(self, ids: Sequence[FeatureLike], examples: int | None = None) -> Iterator[Feature]:
        """Yield features without their labels, for explainers and judges; in the order of `ids`, 32 at a time.

        Ten times as fast as `feature` for each of many ids, and fastest when the ids are sorted. Raises as `feature`
        does.
        """
        view = self._current_view
        yield from view.pages.evidence([view.catalog.feature_id(id) for id in ids], examples)

    def windows(self, places: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, ...]]:
        """Return the texts of the tokens of each window (corpus, document, start, length), as in examples.

        Raises BadStore when there is no such corpus or document.
        """
        return self._current_view.pages.windows(places)

    def vector(self, id: FeatureLike, target: int | None = None) -> numpy.ndarray:
        return self._current_view.vector(id_text(id), target)

    def features(self, ids: FeaturesLike, examples: int | None = None) -> Features:
        _check_examples(examples)
        pages = self._current_view.pages
        return Features(pages.page(id, examples) for id in id_texts(ids))

    def examples(self, ids: FeaturesLike, examples: int | None = None, band: str | None = None) -> Examples:
        _check_examples(examples)
        pages = self._current_view.pages
        of_features = (pages.examples(id, examples) for id in id_texts(ids))
        return Examples(example for rows in of_features for example in rows if band in (None, example.band))

    def features_where(self, where: str = "true", examples: int | None = None) -> Iterator[Feature]:
        _check_examples(examples)
        view = self._current_view
        with self._select(view, Selection.of(where, ordered=True), None) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    yield view.pages.page(f"{row['dictionary']}/{row['feature']}", examples)

    def select(self, where: str, limit: int, after: tuple[str, int] | None = None) -> list[str]:
        """Return the ids of the first `limit` features of a condition that come after a dictionary's feature.

        Raises BadRequest for a condition that is not one, Unavailable when it takes too long.
        """
        selection = Selection.of(where, after=after, limit=limit)
        rows = self._select(self._current_view, selection, CONDITION_SECONDS).read_all().to_pylist()
        return [f"{row['dictionary']}/{row['feature']}" for row in rows]

    def scores(self, id: FeatureLike) -> Scores:
        return Scores(self._current_view.pages.scores(id_text(id)))

    def matrix(self, dictionary: DictionaryLike, encoder: bool = False, target: int | None = None) -> Matrix:
        """Return the vectors of a whole dictionary in the parts that they are kept in; as `vectors` says."""
        check_vectors(None, dictionary, encoder, target)
        view = self._current_view
        stored = view.catalog.dictionary(dictionary)
        if not encoder:
            return view.matrix(stored.dictionary, target)
        W_enc = read_weights(stored, self._may_open).W_enc
        return Matrix([W_enc.detach().float().cpu().numpy().T])

    def vectors(
        self,
        ids: FeaturesLike | None = None,
        dictionary: DictionaryLike | None = None,
        encoder: bool = False,
        target: int | None = None,
    ) -> numpy.ndarray:
        if (named := check_vectors(ids, dictionary, encoder, target)) is not None:
            return self.matrix(named, encoder, target).to_numpy()
        view = self._current_view
        rows = [view.vector(id) for id in ([] if ids is None else id_texts(ids))]
        widths = sorted({len(row) for row in rows})
        if len(widths) > 1:
            raise BadRequest(
                f"ids: their vectors have several widths ({', '.join(map(str, widths))}): ask for each alone"
            )
        return numpy.stack(rows) if rows else numpy.zeros((0, 0), dtype=numpy.float32)

    def embed(self, texts: Sequence[str]) -> numpy.ndarray:
        """Return unit vectors of texts, (n, d) float32, by the embedder of the store's label index.

        Those of labels are taken from the index. Raises Unavailable where the labels were not indexed with an
        embedder, or it is not here.
        """
        return self._current_view.embed(texts)

    def run(self, query: Query) -> Hits:
        return self._current_view.searcher.run(query)

    def sql(
        self,
        statement: str,
        parameters: Parameters | None = None,
        max_rows: int | None = None,
        timeout: float | None = None,
    ) -> RowTable:
        with self.stream(statement, parameters, timeout) as rows:
            return RowTable(collect(rows, max_rows))

    def stream(self, statement: str, parameters: Parameters | None = None, timeout: float | None = None) -> RowStream:
        view = self._current_view
        make_plan = plan_searches if self._workers is None else self._workers.plan
        bound = bind(
            statement, normalize(parameters), view.searcher.run, self.activating, view.describe_graph, make_plan
        )
        return self._run_sql(view, bound, timeout)

    def activating(
        self,
        text: str,
        dictionary: DictionariesLike | None = None,
        k: int = 10,
        order: str = "specific",
        features: FeaturesLike | None = None,
        token: int | None = None,
    ) -> Activating:
        view = self._current_view
        if features is not None:
            return activating.activating_of(view.catalog, view.engine, text, dictionary, features, self._may_open)
        return activating.activating(view.catalog, view.engine, text, dictionary, k, order, token, self._may_open)

    def contrast(
        self,
        texts: Sequence[str],
        against: Sequence[str],
        dictionary: DictionariesLike | None = None,
        k: int = 10,
    ) -> Contrast:
        view = self._current_view
        return activating.contrast(view.catalog, view.engine, texts, against, dictionary, k, self._may_open)

    def neighbourhood(self, id: FeatureLike, k: int = 8, within: DictionariesLike | None = None) -> Neighbourhood:
        view = self._current_view
        return neighbours.neighbourhood(view.searcher, view.vector, id_text(id), k, within)

    def duplicates(
        self,
        dictionary: DictionaryLike,
        against: DictionariesLike | None = None,
        cosine: float = 0.9,
        k: int = 100,
        progress: Progress = no_progress,
    ) -> Duplicates:
        view = self._current_view
        return neighbours.duplicates(
            view.catalog,
            view.pages,
            view.decoder_index,
            view.vectors,
            dictionary_text(dictionary),
            None if against is None else dictionary_texts(against),
            cosine,
            k,
            progress,
        )

    def compare(
        self,
        *ids: FeatureLike | Dictionary | Sequence[FeatureLike | Dictionary],
        k: int = 20,
        cosine: float | Sequence[float] = (0.5, 0.7, 0.9),
        examples: int = 5,
        progress: Progress = no_progress,
    ) -> Comparison:
        view, named = self._current_view, name_compared(ids)
        if not are_dictionaries(named):
            return compare_features(view.catalog, view.pages, view.vector, named, examples)
        return view.comparer.compare(named, cosine, k, progress)

    def graphs(self, feature: FeatureLike | None = None) -> Graphs:
        view = self._current_view
        if feature is None:
            return view.graphs.all()
        id = view.catalog.parse(feature)
        with contextlib.suppress(NotFound):  # a graph may have features that the store lacks
            id = view.catalog.feature_id(id)
        return view.graphs.of_feature(id)

    def graph(self, slug: str, node_threshold: float | None = None, edge_threshold: float | None = None) -> Graph:
        graph = self._current_view.graphs.graph(slug)
        if node_threshold is None and edge_threshold is None:
            return graph
        return analysis.prune(graph, node_threshold, edge_threshold)

    def graph_file(self, slug: str) -> dict[str, Any]:
        return self._current_view.graphs.file(slug)

    def add_graph(
        self,
        graph: str | Path | Mapping[str, Any],
        slug: str | None = None,
        map: Sequence[str] = (),
        replace: bool = False,
        tool: str | None = None,
    ) -> GraphAdded:
        view, content = self._current_view, file_format.load(graph)
        tool = tool or "featurestore graph add"
        return graph_store.add(self._directory, view.catalog, content, slug, map, replace, tool, view.pages)

    def save_graph(self, slug: str, view: Mapping[str, Any], tool: str | None = None) -> None:
        graphs = self._current_view.graphs
        graph_store.save(self._directory, graphs, slug, view, tool or "featurestore graph save")

    def edit_graph(
        self,
        slug: str,
        pin: NodeLike | Sequence[NodeLike] = (),
        unpin: NodeLike | Sequence[NodeLike] = (),
        group: Mapping[str, NodeLike | Sequence[NodeLike]] | None = None,
        ungroup: Sequence[str] = (),
        name: Mapping[str, str | None] | None = None,
        tool: str | None = None,
    ) -> dict[str, Any]:
        view = view_edit.edit(self.graph(slug), pin, unpin, group, ungroup, name)
        self.save_graph(slug, view, tool or "featurestore graph edit")
        return view

    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        graph_store.remove(self._directory, slug, tool or "featurestore graph remove")

    def lists(self) -> FeatureLists:
        return self._current_view.lists.all()

    def feature_list(self, name: str) -> FeatureList:
        view = self._current_view
        return view.lists.feature_list(name, view.catalog, view.pages)

    def save_list(
        self,
        name: str,
        features: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        note: str | None = None,
        replace: bool = False,
        keep_missing: bool = False,
        tool: str | None = None,
    ) -> FeatureList:
        listed, catalog = convert_features(features), self._current_view.catalog
        list_store.save(self._directory, catalog, name, listed, note, replace, keep_missing, tool or list_store.TOOL)
        return self.feature_list(name)

    def change_list(
        self,
        name: str,
        add: FeatureLike | Sequence[FeatureLike | ListedFeature] = (),
        remove: FeaturesLike = (),
        note: str | None = None,
        tool: str | None = None,
    ) -> FeatureList:
        listed, ids, catalog = convert_features(add), id_texts(remove), self._current_view.catalog
        list_store.change(self._directory, catalog, name, listed, ids, note, tool or list_store.TOOL)
        return self.feature_list(name)

    def remove_list(self, name: str, tool: str | None = None) -> None:
        list_store.remove(self._directory, name, tool or list_store.TOOL)

    def jobs(self) -> Jobs:
        return job_files.read_jobs(self._directory.storage)

    def job(self, id: str) -> Job:
        return job_files.read_job(self._directory.storage, id)

    def start_job(self, kind: str) -> Job:
        return jobs.start(self._directory.storage, kind)

    def cancel_job(self, id: str) -> Job:
        return jobs.cancel(self._directory.storage, id)

    def keep_record(self, kind: str, about: str = "") -> AbstractContextManager[JobRecord | None]:
        """Record the work inside among the store's jobs. Gives None where no record can be kept, as on object
        stores."""
        return keep_record(self._directory.storage, kind, about)

    def add_labels(self, given: Sequence[GivenLabel], tool: str | None = None) -> int:
        at = datetime.datetime.now(datetime.UTC)
        return labels.add_labels(self._directory, self._current_view.catalog, given, tool or labels.TOOL, at)

    def remove_label(self, id: FeatureLike, explainer: str = "human", tool: str | None = None) -> None:
        labels.remove_label(self._directory, self.feature(id, examples=0), explainer, tool or labels.TOOL)

    def label_history(self, id: FeatureLike) -> tuple[LabelChange, ...]:
        return self._current_view.pages.label_history(id_text(id))

    def vote(self, id: FeatureLike, label: str, vote: int, voter: str = "human", tool: str | None = None) -> None:
        known = [label.label for label in self.feature(id, examples=0).labels]
        feature = self._current_view.catalog.feature_id(id)
        labels.vote(self._directory, feature, known, label, vote, voter, tool or labels.TOOL)

    def set_label_rule(self, rule: str | None) -> None:
        """Choose best labels by this SQL expression (see `label_rank` in schema.sql); None restores the default rule.

        Raises BadRequest when it is not an expression over the columns of labels.
        """
        labels.set_rule(self._directory, rule)

    def set_structural_rule(self, rule: str | None) -> None:
        """Say by this SQL expression which features are structural (see `structural_rule` in schema.sql).

        None restores the default rule. Raises BadRequest when it is not an expression over the columns of features that
        a rule may use, or not one that is true or false.
        """
        labels.set_rule(self._directory, rule, STRUCTURAL_TABLE)

    def writer(self, tool: str) -> Writer:
        """Return a writer to this store; `tool` is recorded as what wrote."""
        return Writer(self._directory, tool)

    def index(
        self,
        embedder: str | None = None,
        progress: Progress = no_progress,
        recall: float | None = None,
        map: bool = False,
        rebuild: bool = False,
    ) -> list[str]:
        """Build the indexes that are missing, stale or damaged; returns one line per thing done.

        With `rebuild` all are built, and nothing of the old ones is read.

        `map` makes a two-dimensional map of each dictionary too, and needs openTSNE (`featurestore[map]`).

        `recall` is the share of the true nearest vectors that a search of a large space should find (default: as
        before, or 0.95); one of the lines has the recall that was reached on held-out queries. `embedder` is a model
        directory, a hub name or openai:MODEL@BASE_URL; None keeps the store's. `progress(description, total)` begins a
        stage and returns a function that is called with each number of steps done. Raises Unavailable when the
        embedder's package, files or endpoint are missing.
        """
        self._named = embedder or self._named
        view = self._current_view
        # Known before the vectors are indexed, which may take hours.
        label_index.choose_setting(self._directory, view.snapshot, embedder, self._named, rebuild)
        lines: list[str] = []
        with self.writer("featurestore index") as writer:
            for space in sorted({d.space for d in view.catalog.dictionaries if d.space is not None}):
                line = build_decoder_index(
                    writer, view.directory, view.snapshot, view.catalog, space, progress, recall, rebuild
                )
                lines += [line] if line else []
            lines += label_index.build(
                writer, view.directory, view.snapshot, view.engine, embedder, progress, self._named, rebuild
            )
            lines += token_index.build(
                writer, view.directory, view.snapshot, view.catalog, self._rows, progress, rebuild
            )
            if map:
                lines += feature_maps.build_maps(writer, view.snapshot, view.vectors, progress)
        return lines

    def embedder(self, setting: str | None = None) -> Embedder:
        """Return the embedder named by `setting`, or that of the store's label index, or the default one.

        An embedder of the label index that is not the default one is opened only when the user has named it. Raises
        Unavailable then, and when its package, files or endpoint are missing.
        """
        index = self._current_view.snapshot.parts("label_index")
        stated = index[0].about["embedder"] if index else None
        return embedders.open_embedder(setting or embedders.choose(stated, self._named))

    def files(self, table: str | None = None) -> TableFiles:
        """Return the Parquet files of each stored table, or of one, as they are now: engines read them without us.

        Raises BadRequest when there is no such table.
        """
        return live_files.list_files(self._directory, table)

    def compact(self, progress: Progress = no_progress) -> list[str]:
        """Merge small label parts and copy the best labels beside the features; returns one line per thing done."""
        return compact.compact(self._directory, self._rows, "featurestore compact", progress)

    def remove(self, *ids: str) -> list[str]:
        """Remove dictionaries with all their rows and indexes in one commit; returns one line per removed dictionary.

        Raises NotFound, and removes nothing, when one of them does not exist.
        """
        return compact.remove(self._directory, self._current_view.catalog, ids, "featurestore remove")

    def check(self, progress: Progress = no_progress) -> Checked:
        """Read every byte of the store and return what is wrong with it."""
        return check.check(self._directory, progress)

    def repair(self, progress: Progress = no_progress) -> Checked:
        """Check, delete leftovers, build again what can be built from the rest, and check again."""
        repairs = repair.repair(self._directory, check.check(self._directory), "featurestore check --repair")
        lines = repairs.lines()
        if repairs.removed_indexes:
            lines += self.index(progress=progress)
        return msgspec.structs.replace(check.check(self._directory, progress), repaired=tuple(lines))

    def close(self) -> None:
        with self._lock:
            if self._view is not None:
                self._view.close()
                self._view = None
            self._opened = {}
            for workers in (self._workers, self._condition_workers):
                if workers is not None:
                    workers.close()


def _check_examples(examples: int | None) -> None:
    if examples is not None and examples < 0:
        raise BadRequest(f"examples: {examples} is not a number of examples")


def _notes(snapshot: Snapshot) -> Iterator[str]:
    """Yield what the store's owner should do, such as building an index."""
    index = snapshot.parts("label_index")
    newer = sum(part.rows for part in (not_covered(snapshot, index[0]) if index else snapshot.parts("labels")))
    if newer > FEW:
        are = "newer than the index" if index else "not indexed yet"
        yield f"{newer:,} labels are {are}: run `featurestore index`"
    stale = stale_features(snapshot)
    if stale:
        count = sum(part.rows for part in stale)
        yield f"the best labels of {count:,} features are looked up each time: run `featurestore compact`"
