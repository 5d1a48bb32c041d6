"""Attribution graphs in a store: written in one commit each, read with the labels of their features, removed."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pyarrow

from featurestore.errors import Conflict, NotFound
from featurestore.graphs import dictionary_names, file_format
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import FEW, Card, FeaturePages
from featurestore.storage.directory import OF_A_GRAPH, Directory
from featurestore.storage.log import Snapshot
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import arrow_schema
from featurestore.tables.writer import Writer
from featurestore.values.feature import FeatureId
from featurestore.values.graphs import Graph, GraphAdded, GraphLink, GraphNode, Graphs, GraphSummary

Row = dict[str, Any]


def add(
    directory: Directory,
    catalog: Catalog,
    given: Mapping[str, Any],
    slug: str | None,
    map: Sequence[str],
    replace: bool,
    tool: str,
    pages: FeaturePages,
) -> GraphAdded:
    """Write a graph, given as the JSON of its file.

    Raises BadRequest for what is no graph, Conflict when there is one of this name and not `replace`.
    """
    file = file_format.understood(given, slug)
    there = directory.snapshot().has("graphs", file.slug)
    if there and not replace:
        raise Conflict(f"the store has a graph {file.slug}: give another slug, or replace it")
    named = dictionary_names.name(file, catalog.dictionaries, map)
    nodes = [
        {name: getattr(node, name) for name in arrow_schema("graph_nodes").names if hasattr(node, name)}
        | {"graph": file.slug, "node": n, "said": msgspec.json.encode(node.said).decode()}
        | {"dictionary": named.of.get((node.site, node.layer or 0)) if node.feature is not None else None}
        for n, node in enumerate(file.nodes)
    ]
    features = sum(node.kind == "feature" for node in file.nodes)
    row = {
        "graph": file.slug,
        "scan": file.metadata.scan,
        "prompt": file.metadata.prompt,
        "prompt_tokens": list(file.metadata.prompt_tokens),
        "schema_version": file.schema_version,
        "node_threshold": file.metadata.node_threshold,
        "nodes": len(nodes),
        "features": features,
        "links": len(file.links),
        "notes": list(file.notes),
        "document": msgspec.json.encode(file.document).decode(),
        "tool": tool,
        "created_at": datetime.datetime.now(datetime.UTC),
    }
    links = pyarrow.table(
        [pyarrow.array([file.slug] * len(file.links), pyarrow.string()), *_columns(file.links)],
        schema=arrow_schema("graph_links"),
    )
    with contextlib.closing(Writer(directory, tool)) as writer:
        if there:
            for table in OF_A_GRAPH:
                writer.remove(table, file.slug)
        writer.add("graphs", pyarrow.Table.from_pylist([row], arrow_schema("graphs")), key=file.slug)
        writer.add("graph_nodes", pyarrow.Table.from_pylist(nodes, arrow_schema("graph_nodes")), key=file.slug)
        writer.add("graph_links", links, key=file.slug)
        commit = writer.commit()
    labels = _labels(catalog, pages, nodes)
    return GraphAdded(
        graph=file.slug,
        nodes=len(nodes),
        features=features,
        in_store=len(labels),
        labelled=sum(label is not None for label in labels.values()),
        links=len(file.links),
        notes=(*file.notes, *named.notes),
        commit=commit,
    )


def _columns(links: Sequence[tuple[int, int, float]]) -> list[pyarrow.Array]:
    types = (pyarrow.int32(), pyarrow.int32(), pyarrow.float64())
    return [pyarrow.array([link[n] for link in links], type_) for n, type_ in enumerate(types)]


def remove(directory: Directory, slug: str, tool: str) -> None:
    """Remove a graph. Raises NotFound, naming those there are."""
    _check_there(directory.snapshot(), slug)
    with contextlib.closing(Writer(directory, tool)) as writer:
        for table in OF_A_GRAPH:
            writer.remove(table, slug)
        writer.commit()


class GraphReader:
    """Reads the graphs of one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot, catalog: Catalog, pages: FeaturePages):
        self._rows = rows
        self._snapshot = snapshot
        self._catalog = catalog
        self._pages = pages

    def all(self) -> Graphs:
        """Every graph, ordered by name."""
        columns = GraphSummary.__struct_fields__
        parts = self._snapshot.parts("graphs")
        return Graphs(msgspec.convert(self._rows.all(part, columns).to_pylist()[0], GraphSummary) for part in parts)

    def graph(self, slug: str) -> Graph:
        """One graph, its features with their labels. Raises NotFound, naming those there are."""
        row, nodes, links = self._read(slug)
        labels = _labels(self._catalog, self._pages, nodes)
        shown = tuple(
            GraphNode(
                **{name: node[name] for name in GraphNode.__struct_fields__ if name in node},
                id=f"{node['dictionary']}/{node['feature']}" if node["dictionary"] else None,
                in_store=n in labels,
                label=labels.get(n),
            )
            for n, node in enumerate(nodes)
        )
        document = msgspec.json.decode(row["document"])
        fields = {name: row[name] for name in Graph.__struct_fields__ if name in row}
        whole = {"metadata": document["metadata"], "nodes": shown, "links": tuple(GraphLink(*link) for link in links)}
        several = {name: tuple(row[name]) for name in ("prompt_tokens", "notes")}
        return Graph(**fields | several | whole)

    def file(self, slug: str) -> dict[str, Any]:
        """A graph as the JSON of its file, its features called as their best labels say. Raises NotFound."""
        row, nodes, links = self._read(slug)
        labels = _labels(self._catalog, self._pages, nodes)
        said = [msgspec.json.decode(node["said"]) for node in nodes]
        named = [node | {"clerp": labels[n]} if labels.get(n) else node for n, node in enumerate(said)]
        return file_format.as_file(msgspec.json.decode(row["document"]), named, links)

    def _read(self, slug: str) -> tuple[Row, list[Row], list[tuple[int, int, float]]]:
        _check_there(self._snapshot, slug)
        row, nodes, links = (self._rows.all(self._snapshot.parts(table, slug)[0]) for table in OF_A_GRAPH)
        columns = [links[name].to_pylist() for name in ("source", "target", "weight")]
        return row.to_pylist()[0], nodes.to_pylist(), list(zip(*columns, strict=True))


def _labels(catalog: Catalog, pages: FeaturePages, nodes: Sequence[Row]) -> dict[int, str | None]:
    """The best label of each node that is a feature of the store, by its number."""
    ids = {n: id for n, node in enumerate(nodes) if (id := _in_store(catalog, node)) is not None}
    wanted = sorted(set(ids.values()))
    cards: dict[FeatureId, Card] = {}
    # A few at a time, from their pages: of 440 features among 200,000 that took a sixth of the time of one scan for all.
    for first in range(0, len(wanted), FEW):
        cards |= pages.cards(wanted[first : first + FEW])
    return {n: cards[id].label for n, id in ids.items()}


def _in_store(catalog: Catalog, node: Row) -> FeatureId | None:
    if node["dictionary"] is None:
        return None
    id = FeatureId(node["dictionary"], node["feature"])
    return id if catalog.holds(id) else None


def _check_there(snapshot: Snapshot, slug: str) -> None:
    if not snapshot.has("graphs", slug):
        keys = snapshot.keys("graphs")
        there = ", ".join(keys[:8]) or "none"
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        raise NotFound(f"no graph '{slug}'; there are: {there}{more}")
