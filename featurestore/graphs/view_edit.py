"""Edits of what a person pinned, grouped and named in a graph. Knows the fields that front ends save; reads no store.

Front ends save some fields as JSON and some as its text: what is written here has the form that was there before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from featurestore.errors import BadRequest, NotFound
from featurestore.values.feature import id_text
from featurestore.values.graphs import Graph, NodeLike, node_texts


def edit(
    graph: Graph,
    pin: NodeLike | Sequence[NodeLike] = (),
    unpin: NodeLike | Sequence[NodeLike] = (),
    group: Mapping[str, NodeLike | Sequence[NodeLike]] | None = None,
    ungroup: Sequence[str] = (),
    name: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Return the view of a graph after an edit.

    Nodes are given by their `node_id` or by the id of their feature, and then all nodes of that feature are meant.
    `group` gives a supernode of each name these nodes, in place of those that it had; a node is in one supernode only.
    `name` gives nodes a text, None takes it back. Raises NotFound for a node or a supernode that is not there.
    """
    pins, groups, names = read_pins(graph.view), read_groups(graph.view), read_names(graph.view)
    for node_id in _find_nodes(graph, unpin):
        pins = [other for other in pins if other != node_id]
    pins += [node_id for node_id in _find_nodes(graph, pin) if node_id not in pins]
    for title in ungroup:
        if title not in groups:
            known = ", ".join(groups) or "none"
            raise NotFound(f"{graph.graph} has no supernode {title!r:.80}; there are: {known}"[:400])
        del groups[title]
    for title, given in (group or {}).items():
        members = _find_nodes(graph, given)
        if not title.strip() or not members:
            raise BadRequest(f"group: a supernode has a name and nodes, {title!r:.80} has {len(members)} nodes")
        groups = {other: [id for id in ids if id not in members] for other, ids in groups.items() if other != title}
        groups = {other: ids for other, ids in groups.items() if ids} | {title: members}
    for given_node, text in (name or {}).items():
        for node_id in _find_nodes(graph, [given_node]):
            names.pop(node_id, None)
            if text is not None:
                names[node_id] = text
    supernodes = [[title, *ids] for title, ids in groups.items()]
    return graph.view | {
        "pinnedIds": _as_before(graph.view.get("pinnedIds"), pins, ",".join(pins)),
        "supernodes": _as_before(graph.view.get("supernodes"), supernodes),
        "clerps": _as_before(graph.view.get("clerps"), [list(pair) for pair in names.items()]),
    }


def read_pins(view: Mapping[str, Any]) -> list[str]:
    """Return the ids of the pinned nodes."""
    pins = view.get("pinnedIds")
    if isinstance(pins, str):
        return [id for id in pins.split(",") if id]
    return [id for id in pins if isinstance(id, str)] if isinstance(pins, list) else []


def read_groups(view: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the ids of the nodes of each supernode, by its name."""
    groups: dict[str, list[str]] = {}
    for each in _read_list(view.get("supernodes")):
        if isinstance(each, list) and len(each) > 1 and all(isinstance(text, str) for text in each):
            groups.setdefault(each[0], []).extend(each[1:])
    return groups


def read_names(view: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts that a person gave to nodes, by the nodes' ids."""
    pairs = _read_list(view.get("clerps"))
    return {
        pair[0]: pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], str)
    }


def _read_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value or "[]")
        except msgspec.DecodeError:
            return []
    return value if isinstance(value, list) else []


def _as_before(before: Any, value: list[Any], text: str | None = None) -> Any:
    """Return a value as text where its field was text, else as it is."""
    if not isinstance(before, str):
        return value
    return msgspec.json.encode(value).decode() if text is None else text


def _find_nodes(graph: Graph, given: NodeLike | Sequence[NodeLike]) -> list[str]:
    """Return the ids of nodes, each once. Raises NotFound for one that the graph does not have."""
    node_ids: list[str] = []
    for text in node_texts(given):
        id = id_text(text)
        ids = [node.node_id for node in graph.nodes if text == node.node_id or id == node.id]
        if not ids:
            raise NotFound(f"{graph.graph} has no node {text!r:.80}: name a node_id, or a feature's id")
        node_ids += [id for id in ids if id not in node_ids]
    return node_ids
