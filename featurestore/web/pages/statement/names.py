"""What a statement may name: views with their columns, and searches with their arguments; completion reads the same."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from featurestore.sql.search_functions import ACTIVE, ARGUMENTS, HITS, NAMES
from featurestore.tables.schema import Column, columns

RESERVED = ("all", "where")  # words of SQL: as names they are quoted
FIRST_ARGUMENTS = {"nearest": "id, ids or vector"}
PART = ("node_threshold", "edge_threshold")
# What is computed of a graph: the arguments beside its name, and the columns.
OF_A_GRAPH: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "pruned_nodes": (PART, ["graph", "node", "node_id", "reached"]),
    "pruned_links": (PART, ["graph", "source", "target", "weight", "share"]),
    "graph_paths": (("k", "start"), ["graph", "path", "step", "node", "path_influence"]),
    "graph_groups": (("cosine",), ["graph", "name", "node_id"]),
}
SUMMARIES = {
    "search": "Features whose labels match a text, by meaning and by words.",
    "semantic": "Features whose labels mean what a text means.",
    "keyword": "Features whose labels have the words of a text.",
    "nearest": "Features whose decoder vectors are near to a feature's, or to a vector.",
    "activating": "Features that fire on a text, which the model runs on.",
    "pruned_nodes": "The nodes that a graph keeps when it is pruned.",
    "pruned_links": "The links that a graph keeps when it is pruned.",
    "graph_paths": "The paths of most influence to a graph's output.",
    "graph_groups": "Groups of a graph's nodes whose directions are nearly the same.",
}


class ViewName(NamedTuple):
    """A view, and its columns."""

    name: str
    columns: list[ColumnName]


class ColumnName(NamedTuple):
    """A column: its type in few characters, what it means, and the names of the fields of a struct."""

    name: str
    type: str
    comment: str
    fields: tuple[str, ...] = ()


class SearchName(NamedTuple):
    """A search that a statement may select from: its first argument, the others by name, and its columns."""

    name: str
    summary: str
    first: str
    arguments: tuple[str, ...]
    columns: list[str]


def list_views() -> list[ViewName]:
    """Return each view with its columns and their comments in schema.sql."""
    # A column that a view takes from another table has the comment that it has there.
    comments = {column.column: column.comment for column in columns() if column.relation in ("dictionaries", "labels")}
    return [
        ViewName(view, [_name_column(column, comments.get(column.column)) for column in group])
        for view, group in itertools.groupby(columns(), key=lambda column: column.relation)
    ]


def _name_column(column: Column, comment: str | None) -> ColumnName:
    inner = re.fullmatch(r"STRUCT\((.*)\)(\[\])?", column.type)
    if inner is None:
        return ColumnName(column.column, column.type, column.comment or comment or "")
    fields = tuple(part.split()[0].strip('"') for part in inner[1].split(", "))
    return ColumnName(column.column, f"STRUCT{inner[2] or ''}", column.comment or comment or "", fields)


def list_searches() -> list[SearchName]:
    """Return each search, and what is computed of a graph, that a statement may select from."""
    searches = []
    for name in NAMES:
        of_graph = OF_A_GRAPH.get(name)
        if of_graph is not None:
            searches.append(SearchName(name, SUMMARIES[name], "graph", *of_graph))
        elif name in ARGUMENTS:
            arguments = tuple(f'"{argument}"' if argument in RESERVED else argument for argument in ARGUMENTS[name])
            columns = (ACTIVE if name == "activating" else HITS).names
            searches.append(SearchName(name, SUMMARIES[name], FIRST_ARGUMENTS.get(name, "text"), arguments, columns))
    return searches
