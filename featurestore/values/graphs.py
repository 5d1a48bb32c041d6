"""Attribution graphs: which features, tokens and errors a model's next token came from. Frozen values."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from featurestore.display import notebook
from featurestore.errors import BadRequest
from featurestore.notes import NoteCode
from featurestore.values import tables
from featurestore.values.feature import FeatureLike, id_text, is_feature
from featurestore.values.kinds import NodeKind
from featurestore.values.tables import Listing, Tabular

if TYPE_CHECKING:
    import pyarrow


class GraphSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A graph without its nodes and links, which are only counted; fields as in schema.sql, stored.graphs.

    Where the graphs of one feature were asked for, `feature_nodes` are the ids of the nodes that are this feature, and
    `feature_activation` is its strongest activation in them, None where the file states none. `note_codes` are the
    notes for programs, in the same order; a graph that an earlier version wrote has none.
    """

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
    feature_nodes: tuple[str, ...] = ()
    feature_activation: float | None = None
    note_codes: tuple[NoteCode, ...] = ()


class Graphs(Listing[GraphSummary]):
    """The graphs of a store, ordered by name: a list that can be a table too."""

    def __init__(self, values: Iterable[GraphSummary] = ()):
        super().__init__(GraphSummary, values)

    def _repr_html_(self) -> str:
        columns = ("graph", "prompt", "nodes", "features", "links", "made with")
        rows = [
            (notebook.render_code(graph.graph), graph.prompt, graph.nodes, graph.features, graph.links, graph.scan)
            for graph in self
        ]
        return notebook.render_table(columns, rows)


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """One node; fields as in schema.sql, stored.graph_nodes.

    `id` is the id of the feature, None where its dictionary is not known or the node is no feature. `in_store` says
    whether the store has this feature; `label` is then its best label.
    """

    id: str | None
    label: str | None
    node_id: str
    kind: NodeKind
    feature_type: str
    layer: int | None
    position: int
    in_store: bool
    clerp: str
    dictionary: str | None
    feature: int | None
    token: int | None
    activation: float | None
    influence: float | None
    token_prob: float | None
    is_target: bool


NodeLike = FeatureLike | GraphNode


def node_texts(given: NodeLike | Sequence[NodeLike]) -> list[str]:
    """Return what names nodes of a graph: the `node_id` of a node, the id of a feature, a text as it is."""
    several = (given,) if isinstance(given, GraphNode) or is_feature(given) else given
    try:
        return [_node_text(each) for each in cast("Sequence[NodeLike]", several)]
    except TypeError:
        raise BadRequest(f"nodes: {given!r:.100} is neither a node nor several; name one by its node_id") from None


def _node_text(given: NodeLike) -> str:
    if isinstance(given, GraphNode):
        return given.node_id
    return given if isinstance(given, str) else id_text(given)


class GraphLink(msgspec.Struct, frozen=True):
    """The direct effect of one node on another; `source` and `target` are places in the graph's `nodes`, from 0."""

    source: int
    target: int
    weight: float


class Graph(Tabular, msgspec.Struct, frozen=True, kw_only=True):
    """A graph with its nodes and links. Its table has a row for each node; `links_to_arrow` gives the links.

    `metadata` is what the program that made the graph wrote about it; `notes` say what was odd in its file. `view` is
    what a person pinned (`pinnedIds`), grouped (`supernodes`) and named (`clerps`) in a front end.
    """

    graph: str
    scan: str
    prompt: str
    prompt_tokens: tuple[str, ...]
    schema_version: int
    node_threshold: float | None
    metadata: dict[str, Any]
    view: dict[str, Any]
    nodes: tuple[GraphNode, ...]
    links: tuple[GraphLink, ...]
    notes: tuple[str, ...]
    tool: str
    created_at: datetime.datetime
    note_codes: tuple[NoteCode, ...] = ()

    def _list_rows(self) -> tuple[type[msgspec.Struct], Sequence[msgspec.Struct]]:
        return GraphNode, self.nodes

    def links_to_arrow(self) -> pyarrow.Table:
        """Return the links as a pyarrow.Table, a row each: source, target, weight."""
        return tables.table(GraphLink, self.links)

    def __repr__(self) -> str:
        known = sum(node.in_store for node in self.nodes)
        nodes = f"{len(self.nodes):,} nodes, {known:,} of them features of the store"
        return f"<Graph {self.graph}: {nodes}, {len(self.links):,} links>"

    def _repr_html_(self) -> str:
        columns = ("node", "kind", "on", "feature", "label", "activation", "influence")
        rows = [
            (
                notebook.render_code(node.node_id),
                node.kind,
                self.prompt_tokens[node.position] if node.position < len(self.prompt_tokens) else node.position,
                node.id and notebook.render_code(node.id),
                node.label or node.clerp or None,
                node.activation,
                node.influence,
            )
            for node in self.nodes
        ]
        return notebook.render_table(columns, rows, notes=self.notes)


class GraphAdded(msgspec.Struct, frozen=True, kw_only=True):
    """A graph that was written: counts of its nodes, of those that are features, are in the store and have a label.

    `notes` say what was odd in its file and what is missing; `commit` is the number of the commit that added it.
    """

    graph: str
    nodes: int
    features: int
    in_store: int
    labelled: int
    links: int
    notes: tuple[str, ...]
    commit: int
    note_codes: tuple[NoteCode, ...] = ()
