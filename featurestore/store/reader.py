"""StoreReader: the answers of a local store to the questions of the interface."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy

from featurestore.errors import BadRequest, NotFound
from featurestore.graphs import analysis
from featurestore.ids import DictionariesLike, DictionaryLike, FeaturesLike, dictionary_text, dictionary_texts
from featurestore.maintenance import job_files, live_files
from featurestore.maintenance.live_files import TableFiles
from featurestore.notes import Notes
from featurestore.progress import Progress, no_progress
from featurestore.query import Query
from featurestore.search import activating, embedders, neighbours
from featurestore.search.comparison.features import compare_features
from featurestore.search.embedders import Embedder
from featurestore.search.fresh_labels import FEW
from featurestore.search.label_index import not_covered
from featurestore.sql.conditions import Selection
from featurestore.sql.engine import collect
from featurestore.sql.search_functions import bind, plan_searches
from featurestore.storage.directory import FORMAT
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.store.connection import CONDITION_SECONDS, StoreConnection
from featurestore.tables.best_label import label_rule, stale_features
from featurestore.tables.structural import structural_rule
from featurestore.values.comparisons import Comparison, are_dictionaries, name_compared
from featurestore.values.dictionary import Coverage, Dictionaries, Dictionary, StoreInfo
from featurestore.values.examples import Examples
from featurestore.values.feature import (
    Feature,
    FeatureLike,
    Features,
    LabelChange,
    Scores,
    id_text,
    id_texts,
)
from featurestore.values.graphs import Graph, Graphs
from featurestore.values.hits import Activating, Contrast, Duplicates, Hits, Neighbourhood
from featurestore.values.jobs import Job, Jobs
from featurestore.values.lists import FeatureList, FeatureLists
from featurestore.values.matrix import Matrix, check_vectors
from featurestore.values.parameters import Parameters, normalize
from featurestore.values.row_stream import RowStream, RowTable
from featurestore.weights import read_weights


class StoreReader(StoreConnection):
    """A store that answers questions; each from one snapshot."""

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
            **_notes(view.snapshot).fields(),
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
        view = self._current_view
        pages = view.pages
        of_features = (pages.examples(id, examples) for id in id_texts(ids))
        found = Examples(example for rows in of_features for example in rows if band in (None, example.band))
        if not found:  # only then may the band be a mistake: to know all bands, every example is read
            view.check_band(band)
        return found

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

    def count(self, where: str) -> int:
        """Return the number of features of a condition, which is kept until the store changes. Raises as `select`."""
        mask = self._current_view.catalog.choice(Query(where=where, all=True)).mask
        return int(numpy.count_nonzero(mask))

    def scores(self, id: FeatureLike) -> Scores:
        return Scores(self._current_view.pages.scores(id_text(id)), id_text(id))

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

    def lists(self) -> FeatureLists:
        return self._current_view.lists.all()

    def feature_list(self, name: str) -> FeatureList:
        view = self._current_view
        return view.lists.feature_list(name, view.catalog, view.pages)

    def jobs(self) -> Jobs:
        return job_files.read_jobs(self._directory.storage)

    def job(self, id: str) -> Job:
        return job_files.read_job(self._directory.storage, id)

    def label_history(self, id: FeatureLike) -> tuple[LabelChange, ...]:
        return self._current_view.pages.label_history(id_text(id))

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


def _check_examples(examples: int | None) -> None:
    if examples is not None and (not isinstance(examples, int) or examples < 0):
        raise BadRequest(f"examples: {examples!r} is not a number of examples, 0 or more")


def _notes(snapshot: Snapshot) -> Notes:
    """Returns what the store's owner should do, such as building an index."""
    notes = Notes()
    index = snapshot.parts("label_index")
    newer = sum(part.rows for part in (not_covered(snapshot, index[0]) if index else snapshot.parts("labels")))
    if newer > FEW:
        are = "newer than the index" if index else "not indexed yet"
        notes.add("labels_not_indexed", f"{newer:,} labels are {are}: run `featurestore index`", labels=newer)
    stale = stale_features(snapshot)
    if stale:
        count = sum(part.rows for part in stale)
        sentence = f"the best labels of {count:,} features are looked up each time: run `featurestore compact`"
        notes.add("best_labels_not_copied", sentence, features=count)
    return notes
