"""Attribution graphs in a store: written in one commit each, read with the labels of their features, removed."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy
import pyarrow

from featurestore.errors import BadRequest, BadStore, Conflict, NotFound
from featurestore.graphs import dictionary_names, file_format, view_edit
from featurestore.graphs.dictionary_names import DictionaryNames
from featurestore.graphs.file_format import GraphFile
from featurestore.notes import NoteCode
from featurestore.snapshot.catalog import Catalog
from featurestore.snapshot.feature_page import FEW, Card, FeaturePages
from featurestore.storage.border import OF_A_GRAPH
from featurestore.storage.directory import Directory
from featurestore.storage.log import Snapshot
from featurestore.storage.log_files import Part
from featurestore.tables.row_reader import Rows
from featurestore.tables.schema import arrow_schema
from featurestore.tables.writer import Writer
from featurestore.values.dictionary_name import find_alike
from featurestore.values.feature import FeatureId
from featurestore.values.graphs import Graph, GraphAdded, GraphLink, GraphNode, Graphs, GraphSummary

Row = dict[str, Any]
SUMMARY_COLUMNS = tuple(name for name in GraphSummary.__struct_fields__ if not name.startswith("feature_"))
MOST_VIEW = 1_000_000  # bytes of what a person keeps of a graph


def add(
    directory: Directory,
    catalog: Catalog,
    content: Mapping[str, Any],
    slug: str | None,
    map: Sequence[str],
    replace: bool,
    tool: str,
    pages: FeaturePages,
) -> GraphAdded:
    """Write a graph, given as the JSON of its file.

    `map` names dictionaries, see dictionary_names. Raises BadRequest for JSON that is no graph, Conflict when the store
    has a graph of this name and `replace` is false.
    """
    file = file_format.parse(content, slug)
    exists = directory.snapshot().has("graphs", file.slug)
    if exists and not replace:
        raise Conflict(f"the store has a graph {file.slug}: give another slug, or replace it")
    alike = None if exists else find_alike(file.slug, directory.snapshot().keys("graphs"))
    if alike:
        raise Conflict(f"the store has a graph {alike}, which differs from {file.slug} by capitals alone: give a slug")
    names = dictionary_names.name(file, catalog.dictionaries, map)
    nodes, row = _node_rows(file, names), _graph_row(file, tool)
    with contextlib.closing(Writer(directory, tool)) as writer:
        if exists:
            for table in OF_A_GRAPH:
                writer.remove(table, file.slug)
        writer.add("graphs", pyarrow.Table.from_pylist([row], arrow_schema("graphs")), key=file.slug)
        writer.add("graph_nodes", pyarrow.Table.from_pylist(nodes, arrow_schema("graph_nodes")), key=file.slug)
        writer.add("graph_links", _link_table(file), key=file.slug)
        commit = writer.commit()
    labels = _labels(catalog, pages, nodes)
    return GraphAdded(
        graph=file.slug,
        nodes=len(nodes),
        features=row["features"],
        in_store=len(labels),
        labelled=sum(label is not None for label in labels.values()),
        links=len(file.links),
        notes=(*file.notes, *names.notes.sentences),
        note_codes=(*file.note_codes, *names.notes.codes),
        commit=commit,
    )


def _node_rows(file: GraphFile, names: DictionaryNames) -> list[Row]:
    """Rows of stored.graph_nodes."""
    columns = arrow_schema("graph_nodes").names
    return [
        {name: getattr(node, name) for name in columns if hasattr(node, name)}
        | {"graph": file.slug, "node": n, "said": msgspec.json.encode(node.said).decode()}
        | {"dictionary": names.by_place.get((node.site, node.layer or 0)) if node.feature is not None else None}
        for n, node in enumerate(file.nodes)
    ]


def _graph_row(file: GraphFile, tool: str) -> Row:
    """The row of stored.graphs."""
    return {
        "graph": file.slug,
        "scan": file.metadata.scan,
        "prompt": file.metadata.prompt,
        "prompt_tokens": list(file.metadata.prompt_tokens),
        "schema_version": file.schema_version,
        "node_threshold": file.metadata.node_threshold,
        "nodes": len(file.nodes),
        "features": sum(node.kind == "feature" for node in file.nodes),
        "links": len(file.links),
        "notes": list(file.notes),
        "note_codes": msgspec.json.encode(file.note_codes).decode(),
        "document": msgspec.json.encode(file.document).decode(),
        "tool": tool,
        "created_at": datetime.datetime.now(datetime.UTC),
    }


def _link_table(file: GraphFile) -> pyarrow.Table:
    """Rows of stored.graph_links."""
    types = (pyarrow.int32(), pyarrow.int32(), pyarrow.float64())
    columns = [pyarrow.array([link[n] for link in file.links], type_) for n, type_ in enumerate(types)]
    slugs = pyarrow.array([file.slug] * len(file.links), pyarrow.string())
    return pyarrow.table([slugs, *columns], schema=arrow_schema("graph_links"))


def save(directory: Directory, reader: GraphReader, slug: str, view: Mapping[str, Any], tool: str) -> None:
    """Replace what a person pinned, grouped and named in a graph. Raises NotFound, BadRequest for a view too large."""
    row = reader.row(slug)
    encoded = msgspec.json.encode(dict(view))
    if len(encoded) > MOST_VIEW:
        raise BadRequest(f"view: it has {len(encoded):,} bytes; {MOST_VIEW:,} at most are kept")
    document = msgspec.json.decode(row["document"]) | {"qParams": msgspec.json.decode(encoded)}
    changed = row | {"document": msgspec.json.encode(document).decode()}
    with contextlib.closing(Writer(directory, tool)) as writer:
        writer.remove("graphs", slug)
        writer.add("graphs", pyarrow.Table.from_pylist([changed], arrow_schema("graphs")), key=slug)
        writer.commit()


def remove(directory: Directory, slug: str, tool: str) -> None:
    """Remove a graph. Raises NotFound, naming those the store has."""
    _check_exists(directory.snapshot(), slug)
    with contextlib.closing(Writer(directory, tool)) as writer:
        for table in OF_A_GRAPH:
            writer.remove(table, slug)
        writer.commit()


class _FeatureRows(NamedTuple):
    """Features of a dictionary in a graph, (n,), and the rows of their nodes, (n,)."""

    features: numpy.ndarray
    rows: numpy.ndarray


class GraphReader:
    """Reads the graphs of one snapshot."""

    def __init__(self, rows: Rows, snapshot: Snapshot, catalog: Catalog, pages: FeaturePages, once: Callable[..., Any]):
        """`once` keeps which features a graph has, for as long as the store has the graph."""
        self._rows = rows
        self._once = once
        self._snapshot = snapshot
        self._catalog = catalog
        self._pages = pages

    def all(self) -> Graphs:
        """Every graph, ordered by name."""
        return Graphs(self._summary(part) for part in self._snapshot.parts("graphs"))

    def of_feature(self, id: FeatureId) -> Graphs:
        """The graphs that a feature is a node of, ordered by name, with its nodes. Reads no SQL, since pages ask."""
        nodes_of = {}
        for part in self._snapshot.parts("graph_nodes"):
            of_dictionary = self._features(part).get(id.dictionary)
            if of_dictionary is not None and (of_dictionary.features == id.feature).any():
                row_numbers = of_dictionary.rows[of_dictionary.features == id.feature]
                nodes_of[part.key] = self._rows.all(part, ("node_id", "activation")).take(row_numbers).to_pylist()
        return Graphs(
            msgspec.structs.replace(
                self._summary(part),
                feature_nodes=tuple(node["node_id"] for node in nodes),
                feature_activation=max((a for node in nodes if (a := node["activation"]) is not None), default=None),
            )
            for part in self._snapshot.parts("graphs")
            if (nodes := nodes_of.get(part.key))
        )

    def _summary(self, part: Part) -> GraphSummary:
        try:
            row = self._rows.one(part, SUMMARY_COLUMNS)
            return msgspec.convert(row | {"note_codes": _read_codes(row)}, GraphSummary)
        except msgspec.ValidationError as exc:
            raise BadStore(f"{part.file} does not hold a graph: {exc}") from None

    def _features(self, part: Part) -> dict[str, _FeatureRows]:
        """The rows of features in a part of graph_nodes, by dictionary."""

        def read() -> dict[str, _FeatureRows]:
            rows = self._rows.all(part, ("dictionary", "feature"))
            features = rows["feature"].fill_null(-1).to_numpy()
            places: dict[str, list[int]] = {}
            for n, dictionary in enumerate(rows["dictionary"].to_pylist()):
                if dictionary is not None:
                    places.setdefault(dictionary, []).append(n)
            return {name: _FeatureRows(features[of_name], numpy.array(of_name)) for name, of_name in places.items()}

        of_dictionaries: dict[str, _FeatureRows] = self._once((part.file, "features"), read)
        return of_dictionaries

    def graph(self, slug: str) -> Graph:
        """One graph, its features with their labels. Raises NotFound, naming those the store has."""
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
        whole = {
            "metadata": document["metadata"],
            "view": document.get("qParams") or {},
            "nodes": shown,
            "links": tuple(GraphLink(*link) for link in links),
        }
        several = {name: tuple(row[name]) for name in ("prompt_tokens", "notes")}
        return Graph(**fields | several | whole | {"note_codes": _read_codes(row)})

    def file(self, slug: str) -> dict[str, Any]:
        """A graph as the JSON of its file; `clerp` of its features is their best label. Raises NotFound."""
        row, nodes, links = self._read(slug)
        labels = _labels(self._catalog, self._pages, nodes)
        raw_nodes = [msgspec.json.decode(node["said"]) for node in nodes]
        shown = [raw | {"clerp": labels[n]} if labels.get(n) else raw for n, raw in enumerate(raw_nodes)]
        return file_format.as_file(msgspec.json.decode(row["document"]), shown, links)

    def numbers(self, slug: str) -> view_edit.Numbers:
        """What the file of a graph calls the features of its nodes, by the nodes' ids. Raises NotFound."""
        _, nodes, _ = self._read(slug)
        return view_edit.number_features(msgspec.json.decode(node["said"]) for node in nodes)

    def row(self, slug: str) -> Row:
        """The row of stored.graphs. Raises NotFound."""
        _check_exists(self._snapshot, slug)
        return self._rows.one(self._snapshot.parts("graphs", slug)[0])

    def _read(self, slug: str) -> tuple[Row, list[Row], list[tuple[int, int, float]]]:
        _check_exists(self._snapshot, slug)
        graph_part, *parts = (self._snapshot.parts(table, slug)[0] for table in OF_A_GRAPH)
        nodes, links = (self._rows.all(part) for part in parts)
        columns = [links[name].to_pylist() for name in ("source", "target", "weight")]
        return self._rows.one(graph_part), nodes.to_pylist(), list(zip(*columns, strict=True))


def _read_codes(row: Row) -> tuple[NoteCode, ...]:
    """The notes of a graph for programs; none of a graph that an earlier version wrote. Raises BadStore."""
    try:
        return msgspec.json.decode(row["note_codes"] or "[]", type=tuple[NoteCode, ...])
    except msgspec.DecodeError as exc:
        raise BadStore(f"graph {row['graph']}: note_codes cannot be read: {exc}") from None


def _labels(catalog: Catalog, pages: FeaturePages, nodes: Sequence[Row]) -> dict[int, str | None]:
    """The best label of each node that is a feature of the store, by its number."""
    ids = {n: id for n, node in enumerate(nodes) if (id := _in_store(catalog, node)) is not None}
    wanted = sorted(set(ids.values()))
    cards: dict[FeatureId, Card] = {}
    # A few at a time, from their pages: for 440 features among 200,000 that took a sixth of the time of one scan for
    # all.
    for first in range(0, len(wanted), FEW):
        cards |= pages.cards(wanted[first : first + FEW])
    return {n: cards[id].label for n, id in ids.items()}


def _in_store(catalog: Catalog, node: Row) -> FeatureId | None:
    if node["dictionary"] is None:
        return None
    id = FeatureId(node["dictionary"], node["feature"])
    return id if catalog.holds(id) else None


def _check_exists(snapshot: Snapshot, slug: str) -> None:
    if not snapshot.has("graphs", slug):
        keys = snapshot.keys("graphs")
        known = ", ".join(keys[:8]) or "none"
        more = f" and {len(keys) - 8} more" if len(keys) > 8 else ""
        raise NotFound(f"no graph '{slug}'; there are: {known}{more}")
