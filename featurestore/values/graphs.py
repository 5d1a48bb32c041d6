"""Attribution graphs: which features, tokens and errors led a model to its next token. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from featurestore.display import notebook
from featurestore.values import tables
from featurestore.values.tables import Listing, Tabular

if TYPE_CHECKING:
    import pyarrow


class GraphSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A graph without its nodes and links, of which it has so many; fields as in schema.sql, stored.graphs."""

    graph: str
    scan: str
    prompt: str
    schema_version: int
    nodes: int
    features: int
    links: int
    notes: tuple[str, ...]
    tool: str
    created_at: datetime.datetime


class Graphs(Listing[GraphSummary]):
    """The graphs of a store, as a list that can be a table too."""

    def __init__(self, values: Iterable[GraphSummary] = ()):
        super().__init__(GraphSummary, values)

    def _repr_html_(self) -> str:
        columns = ("graph", "prompt", "nodes", "features", "links", "made with")
        rows = [(notebook.code(one.graph), one.prompt, one.nodes, one.features, one.links, one.scan) for one in self]
        return notebook.table(columns, rows)


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node; fields as in schema.sql, stored.graph_nodes.

    `id` is a feature's, where its dictionary is known; `label` is the best one of a feature that is `in_store`.
    """

    node_id: str
    kind: str
    feature_type: str
    layer: int | None
    position: int
    id: str | None
    in_store: bool
    label: str | None
    clerp: str
    dictionary: str | None
    feature: int | None
    token: int | None
    activation: float | None
    influence: float | None
    token_prob: float | None
    is_target: bool


class GraphLink(msgspec.Struct, frozen=True):
    """The direct effect of one node on another; both are numbers of nodes, from 0."""

    source: int
    target: int
    weight: float


class Graph(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """A graph with its nodes and links. As a table it is its nodes; `links_to_arrow` has the links.

    `metadata` is what its maker says of it; `notes` say what reading its file found odd.
    """

    graph: str
    scan: str
    prompt: str
    prompt_tokens: tuple[str, ...]
    schema_version: int
    node_threshold: float | None
    metadata: dict[str, Any]
    nodes: tuple[GraphNode, ...]
    links: tuple[GraphLink, ...]
    notes: tuple[str, ...]
    tool: str
    created_at: datetime.datetime

    def _tabled(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return GraphNode, self.nodes

    def links_to_arrow(self) -> pyarrow.Table:
        """The links, a row each, as a pyarrow.Table."""
        return tables.table(GraphLink, self.links)

    def __repr__(self) -> str:
        known = sum(node.in_store for node in self.nodes)
        return f"<Graph {self.graph}: {len(self.nodes):,} nodes, {known:,} of them features of the store, {len(self.links):,} links>"

    def _repr_html_(self) -> str:
        columns = ("node", "kind", "on", "feature", "label", "activation", "influence")
        rows = [
            (
                notebook.code(one.node_id),
                one.kind,
                self.prompt_tokens[one.position] if one.position < len(self.prompt_tokens) else one.position,
                one.id and notebook.code(one.id),
                one.label or one.clerp or None,
                one.activation,
                one.influence,
            )
            for one in self.nodes
        ]
        return notebook.table(columns, rows, notes=self.notes)


class GraphAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that was written: how many nodes it has, how many of them are features, are in the store, have a label.

    `notes` say what was odd in its file and what is missing; `commit` is the number of the commit that has it.
    """

    graph: str
    nodes: int
    features: int
    in_store: int
    labelled: int
    links: int
    notes: tuple[str, ...]
    commit: int
