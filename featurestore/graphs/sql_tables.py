"""What SQL's functions of graphs give: parts, paths and groups of one graph as tables, of `graph_nodes`' numbers.

Knows the analysis of graphs and Arrow; knows no SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy
import pyarrow

from featurestore.errors import BadRequest
from featurestore.graphs import analysis
from featurestore.values.dictionary import Dictionary
from featurestore.values.graphs import Graph

MOST_PATHS = 100

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]
Fields = TypeVar("Fields")


class _PartArguments(msgspec.Struct, forbid_unknown_fields=True):
    """The thresholds of a part; those that circuit-tracer takes, unless given."""

    node_threshold: Share = 0.8
    edge_threshold: Share = 0.98


class _PathArguments(msgspec.Struct, forbid_unknown_fields=True):
    """How many paths, and from which node."""

    k: Annotated[int, msgspec.Meta(ge=1, le=MOST_PATHS)] = 10
    start: str | None = None


class _GroupArguments(msgspec.Struct, forbid_unknown_fields=True):
    """From which cosine on two directions are the same."""

    cosine: Annotated[float, msgspec.Meta(ge=-1, le=1)] = 0.8


class AroundGraph(NamedTuple):
    """What the store knows beyond a graph: decoder vectors of features by id, and its dictionaries."""

    vector_of: Callable[[str], numpy.ndarray]
    dictionaries: Sequence[Dictionary] = ()


def make_table(function: str, graph: Graph, values: Mapping[str, Any], around: AroundGraph) -> pyarrow.Table:
    """Return the rows that a function of SQL gives of a graph.

    Raises BadRequest, naming the argument, for `values` that the function does not take.
    """
    return TABLES[function](function, graph, values, around)


def _read(function: str, values: Mapping[str, Any], fields: type[Fields]) -> Fields:
    """Return the arguments beside the graph's name; null stands for one that is not given. Raises BadRequest."""
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return msgspec.convert(given, fields)
    except msgspec.ValidationError as exc:
        what, _, where = str(exc).partition(" - at `$.")
        subject = f"{where.rstrip('`')}: " if where else ""
        raise BadRequest(f"SQL: {function}(...): {subject}{what[0].lower()}{what[1:]}") from None


def _list_pruned_nodes(function: str, graph: Graph, values: Mapping[str, Any], around: AroundGraph) -> pyarrow.Table:
    fields = _read(function, values, _PartArguments)
    part = analysis.choose_part(graph, fields.node_threshold, fields.edge_threshold)
    places = numpy.flatnonzero(part.nodes)
    reached = analysis.measure_nodes(graph)[places]
    ids = [graph.nodes[place].node_id for place in places]
    return _make(graph, node=pyarrow.array(places, pyarrow.int32()), node_id=ids, reached=reached)


def _list_pruned_links(function: str, graph: Graph, values: Mapping[str, Any], around: AroundGraph) -> pyarrow.Table:
    fields = _read(function, values, _PartArguments)
    part = analysis.choose_part(graph, fields.node_threshold, fields.edge_threshold)
    places = numpy.flatnonzero(part.links)
    links = [graph.links[place] for place in places]
    return _make(
        graph,
        source=pyarrow.array([link.source for link in links], pyarrow.int32()),
        target=pyarrow.array([link.target for link in links], pyarrow.int32()),
        weight=pyarrow.array([link.weight for link in links], pyarrow.float64()),
        share=analysis.measure_links(graph)[places],
    )


def _list_paths(function: str, graph: Graph, values: Mapping[str, Any], around: AroundGraph) -> pyarrow.Table:
    fields = _read(function, values, _PathArguments)
    ways = analysis.find_paths(graph, fields.k, fields.start, around.dictionaries)
    steps = [(number, step, place) for number, way in enumerate(ways, 1) for step, place in enumerate(way.nodes)]
    columns = [pyarrow.array([row[n] for row in steps], pyarrow.int32()) for n in range(3)]
    influence = pyarrow.array([ways[number - 1].influence for number, _, _ in steps], pyarrow.float64())
    return _make(graph, path=columns[0], step=columns[1], node=columns[2], path_influence=influence)


def _list_groups(function: str, graph: Graph, values: Mapping[str, Any], around: AroundGraph) -> pyarrow.Table:
    fields = _read(function, values, _GroupArguments)
    groups = analysis.propose_groups(graph, analysis.read_vectors(graph, around.vector_of), fields.cosine)
    rows = [(group.name, node_id) for group in groups for node_id in group.nodes]
    names = pyarrow.array([name for name, _ in rows], pyarrow.string())
    return _make(graph, name=names, node_id=pyarrow.array([id for _, id in rows], pyarrow.string()))


def _make(graph: Graph, **columns: Any) -> pyarrow.Table:
    count = len(next(iter(columns.values())))
    return pyarrow.table({"graph": pyarrow.array([graph.graph] * count, pyarrow.string()), **columns})


TABLES: dict[str, Callable[[str, Graph, Mapping[str, Any], AroundGraph], pyarrow.Table]] = {
    "pruned_nodes": _list_pruned_nodes,
    "pruned_links": _list_pruned_links,
    "graph_paths": _list_paths,
    "graph_groups": _list_groups,
}
