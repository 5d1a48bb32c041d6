"""Edits of what a person pinned, grouped and named in a graph. Knows the fields that front ends save; reads no store.

Front ends save some fields as JSON and some as its text: what is written here has the form that was there before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from featurestore.errors import BadRequest, NotFound
from featurestore.graphs.analysis import NodeGroup
from featurestore.graphs.file_format import KINDS
from featurestore.graphs.nodes import find_places
from featurestore.values.dictionary import Dictionary
from featurestore.values.graphs import Graph, NodeLike, node_texts

Numbers = Mapping[str, str]  # what the file calls the features of nodes, as text, by the nodes' ids


def edit(
    graph: Graph,
    pin: NodeLike | Sequence[NodeLike] = (),
    unpin: NodeLike | Sequence[NodeLike] = (),
    group: Mapping[str, NodeLike | Sequence[NodeLike]] | None = None,
    ungroup: Sequence[str] = (),
    name: Mapping[str, str | None] | None = None,
    dictionaries: Sequence[Dictionary] = (),
    numbers: Numbers | None = None,
) -> dict[str, Any]:
    """Return the view of a graph after an edit.

    Nodes are given by their `node_id` or by the id of their feature, and then all nodes of that feature are meant.
    `group` gives a supernode of each name these nodes, in place of those that it had; a node is in one supernode only.
    `name` gives nodes a text, None takes it back. `dictionaries` are the store's, for their names on Neuronpedia;
    `numbers` is what `number_features` returns. Raises NotFound for a node or a supernode that is not there.
    """
    pins, groups = read_pins(graph.view), read_groups(graph.view)
    for node_id in _find_nodes(graph, unpin, dictionaries):
        pins = [other for other in pins if other != node_id]
    pins += [node_id for node_id in _find_nodes(graph, pin, dictionaries) if node_id not in pins]
    for title in ungroup:
        if title not in groups:
            known = ", ".join(groups) or "none"
            raise NotFound(f"{graph.graph} has no supernode {title!r:.80}; there are: {known}"[:400])
        del groups[title]
    for title, given in (group or {}).items():
        members = _find_nodes(graph, given, dictionaries)
        if not title.strip() or not members:
            raise BadRequest(f"group: a supernode has a name and nodes, {title!r:.80} has {len(members)} nodes")
        groups = {other: [id for id in ids if id not in members] for other, ids in groups.items() if other != title}
        groups = {other: ids for other, ids in groups.items() if ids} | {title: members}
    named = {
        node_id: text
        for given_node, text in (name or {}).items()
        for node_id in _find_nodes(graph, [given_node], dictionaries)
    }
    supernodes = [[title, *ids] for title, ids in groups.items()]
    return name_nodes(graph.view, named, numbers or {}) | {
        "pinnedIds": _as_before(graph.view.get("pinnedIds"), pins, ",".join(pins)),
        "supernodes": _as_before(graph.view.get("supernodes"), supernodes),
    }


def name_nodes(view: Mapping[str, Any], named: Mapping[str, str | None], numbers: Numbers) -> dict[str, Any]:
    """Return a view in which nodes, by their ids, have these names; None takes a name back.

    Where a front end named features by their numbers, so does this: all nodes of a feature then have its name.
    """
    if not named:
        return dict(view)
    names = read_names(view, numbers)
    by_number = any(key in numbers.values() for key, _ in _list_pairs(view))
    for node_id, text in named.items():
        number = numbers.get(node_id) if by_number else None
        for other in (other for other in numbers if numbers[other] == number) if number else (node_id,):
            names.pop(other, None)
            if text is not None:
                names[other] = text
    pairs = _pair_names(names, numbers if by_number else {})
    return dict(view) | {"clerps": _as_before(view.get("clerps"), pairs)}


def choose_groups(
    view: Mapping[str, Any], proposed: Sequence[NodeGroup], only: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Return the nodes of new supernodes by name, of proposed groups: all, or those of the names in `only`.

    Nodes that are in a supernode already stay in it, and what is then alone is left out. Groups of the same name are
    numbered. Raises NotFound for a name that no proposed group has.
    """
    for title in only:
        if title not in {group.name for group in proposed}:
            known = ", ".join(dict.fromkeys(group.name for group in proposed)) or "none"
            raise NotFound(f"no proposed group is called {title!r:.80}; there are: {known}"[:400])
    before = read_groups(view)
    grouped = {node_id for node_ids in before.values() for node_id in node_ids}
    chosen: dict[str, list[str]] = {}
    for group in proposed:
        node_ids = [node_id for node_id in group.nodes if node_id not in grouped]
        if (only and group.name not in only) or len(node_ids) < 2:
            continue
        number, title = 2, group.name
        while title in before or title in chosen:
            number, title = number + 1, f"{group.name} ({number})"
        chosen[title] = node_ids
    return chosen


def keep_names(
    before: Mapping[str, Any], view: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a view that a front end saves, with the names that nodes had before beside those that it gives.

    circuit-tracer's page sends the names alone that were given in this browser. `nodes` are as in the file.
    """
    numbers, node_ids = number_features(nodes), {node["node_id"] for node in nodes}
    names, earlier = read_names(view, numbers), read_names(before, numbers)
    kept = {node_id: text for node_id, text in earlier.items() if node_id in node_ids and node_id not in names}
    if not kept:
        return dict(view)
    pairs = [*map(list, _list_pairs(view)), *_pair_names(kept, numbers)]
    text = view.get("clerps")
    return dict(view) | {"clerps": _as_before("" if text is None else text, pairs)}


def number_features(nodes: Iterable[Mapping[str, Any]]) -> Numbers:
    """Return what a file calls the feature of each node that is one, as text, by the node's id.

    `nodes` are as in the file.
    """
    features = (node for node in nodes if KINDS.get(node.get("feature_type") or "") == "feature")
    return {node["node_id"]: str(node["feature"]) for node in features if node.get("feature") is not None}


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


def read_names(view: Mapping[str, Any], numbers: Numbers | None = None) -> dict[str, str]:
    """Return the texts that a person gave to nodes, by the nodes' ids.

    Front ends name a node by its id, or its feature by the number that the file gives it, which needs `numbers`, as
    `number_features` returns them. A number names all nodes of its feature that have no name of their own.
    """
    nodes_of = _group_nodes(numbers or {})
    pairs = _list_pairs(view)
    own = {key: text for key, text in pairs if key not in nodes_of}
    return {node_id: text for key, text in pairs for node_id in nodes_of.get(key, ())} | own


def _group_nodes(numbers: Numbers) -> dict[str, list[str]]:
    """Return the ids of the nodes of each feature, by the number that the file gives it."""
    nodes_of: dict[str, list[str]] = {}
    for node_id, number in numbers.items():
        nodes_of.setdefault(number, []).append(node_id)
    return nodes_of


def _pair_names(names: Mapping[str, str], numbers: Numbers) -> list[list[str]]:
    """Return what is named, and its name: a feature's number where all its nodes have one name, else the nodes."""
    nodes_of = _group_nodes(numbers)
    pairs: dict[str, str] = {}
    for node_id, text in names.items():
        number = numbers.get(node_id)
        is_one = number is not None and all(names.get(other) == text for other in nodes_of[number])
        pairs[number if is_one and number is not None else node_id] = text
    return [list(pair) for pair in pairs.items()]


def _list_pairs(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs of `clerps`: what is named, a node's id or a feature's number as text, and its name."""
    return [
        (str(pair[0]), pair[1])
        for pair in _read_list(view.get("clerps"))
        if isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int) and isinstance(pair[1], str)
    ]


def _read_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value or "[]")
        except (msgspec.DecodeError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _as_before(before: Any, value: list[Any], text: str | None = None) -> Any:
    """Return a value as text where its field was text, else as it is."""
    if not isinstance(before, str):
        return value
    return msgspec.json.encode(value).decode() if text is None else text


def _find_nodes(graph: Graph, given: NodeLike | Sequence[NodeLike], dictionaries: Sequence[Dictionary]) -> list[str]:
    """Return the ids of nodes, each once. Raises NotFound for one that the graph does not have."""
    node_ids: dict[str, None] = {}
    for text in node_texts(given):
        places = find_places(graph, text, dictionaries)
        if not places:
            raise NotFound(f"{graph.graph} has no node {text!r:.80}: name a node_id, or a feature's id")
        node_ids |= dict.fromkeys(graph.nodes[place].node_id for place in places)
    return list(node_ids)
