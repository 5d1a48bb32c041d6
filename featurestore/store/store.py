"""Store: the local implementation of the interface, with what only a store's owner can do."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import msgspec

from featurestore.errors import BadRequest, Unavailable
from featurestore.graphs import file_format, graph_store, view_edit
from featurestore.ids import FeaturesLike
from featurestore.lists import list_store
from featurestore.maintenance import check, compact, feature_maps, jobs, repair
from featurestore.maintenance.findings import Checked
from featurestore.maintenance.job_records import JobRecord, keep_record
from featurestore.progress import Progress, no_progress
from featurestore.search import label_index, token_index
from featurestore.search.decoder_index import build_decoder_index
from featurestore.search.examples import example_index
from featurestore.store import labels
from featurestore.store.reader import StoreReader
from featurestore.tables.structural import STRUCTURAL_TABLE
from featurestore.tables.writer import Writer
from featurestore.values.feature import (
    FeatureLike,
    GivenLabel,
    id_texts,
)
from featurestore.values.graphs import GraphAdded, NodeLike
from featurestore.values.jobs import Job
from featurestore.values.lists import FeatureList, ListedFeature, convert_features


class Store(StoreReader):
    """A store in a directory of this machine or on an object store. Safe to share between threads."""

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
        current = self._current_view
        graph, numbers = current.graphs.graph(slug), current.graphs.numbers(slug)
        dictionaries = current.catalog.dictionaries
        view = view_edit.edit(graph, pin, unpin, group, ungroup, name, dictionaries, numbers)
        self.save_graph(slug, view, tool or "featurestore graph edit")
        return view

    def remove_graph(self, slug: str, tool: str | None = None) -> None:
        graph_store.remove(self._directory, slug, tool or "featurestore graph remove")

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
        over: Literal["examples"] | None = None,
    ) -> list[str]:
        """Build the indexes that are missing, stale or damaged; returns one line per thing done.

        With `rebuild` all are built, and nothing of the old ones is read.

        `over="examples"` also embeds what each feature fires on and raises, so that features without a label are found
        by meaning. That index is kept up to date from then on.

        `map` makes a two-dimensional map of each dictionary too, and needs openTSNE (`featurestore[map]`).

        `recall` is the share of the true nearest vectors that a search of a large space should find (default: as
        before, or 0.95); one of the lines has the recall that was reached on held-out queries. `embedder` is a model
        directory, a hub name or openai:MODEL@BASE_URL; None keeps the store's. `progress(description, total)` begins a
        stage and returns a function that is called with each number of steps done. Raises Unavailable when the
        embedder's package, files or endpoint are missing, BadRequest for another `over`.
        """
        if over not in (None, "examples"):
            raise BadRequest(f"over: {over!r:.200} is not one of: examples (labels and tokens are always indexed)")
        self._named = embedder or self._named
        view = self._current_view
        # Known before the vectors are indexed, which may take hours.
        label_index.choose_setting(self._directory, view.snapshot, embedder, self._named, rebuild)
        example_index.open_embedder(view.snapshot, embedder, self._named, over is not None)
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
            lines += example_index.build(
                writer,
                view.directory,
                view.snapshot,
                view.catalog,
                self._rows,
                embedder,
                progress,
                self._named,
                rebuild,
                over is not None,
            )
            lines += token_index.build(
                writer, view.directory, view.snapshot, view.catalog, self._rows, progress, rebuild
            )
            if map:
                lines += feature_maps.build_maps(writer, view.snapshot, view.vectors, progress)
        return lines

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
            # What is made only where it is asked for was asked for before.
            had_examples = any(file.startswith(f"{example_index.TABLE}/") for file in repairs.removed_indexes)
            lines += self.index(progress=progress)
            if had_examples:
                try:
                    lines += self.index(progress=progress, over="examples")
                except Unavailable as exc:  # the rest is built all the same
                    lines.append(f"the index of examples was not built again: {exc}")
        return msgspec.structs.replace(check.check(self._directory, progress), repaired=tuple(lines))
