"""An attribution graph as a drawing: layers as rows, positions of the prompt as columns, and the strongest links."""

from __future__ import annotations

import itertools
from typing import NamedTuple
from urllib.parse import quote, urlencode

from featurestore.display.text import shorten
from featurestore.values.graphs import Graph, GraphLink, GraphNode

MOST_NODES = 600  # drawn at once, the most influential
MOST_LINKS = 120  # drawn of a chosen node, or of the graph where none is chosen
COLUMN, ROW, SIDE, TOP = 80, 36, 64, 26  # pixels: of a position, a layer, and the margins
NEXT = 15  # pixels between nodes of one layer and position
GROUPS = 8  # supernodes are told apart by so many outlines


class DrawnNode(NamedTuple):
    """A node at its place; `group` is the number of its supernode from 1, 0 without one."""

    node: GraphNode
    x: float
    y: float
    title: str
    url: str
    group: int
    pinned: bool
    role: str  # chosen, linked, or ""


class DrawnLink(NamedTuple):
    """A link as a line. `share` is its weight relative to the largest that is drawn, `side` where it stands."""

    x1: float
    y1: float
    x2: float
    y2: float
    share: float
    side: str  # from (it leads to the chosen node), to, or ""
    sign: str
    title: str


class Mark(NamedTuple):
    """The name of a layer or of a token of the prompt, at its place."""

    x: float
    y: float
    text: str


class GraphDrawing(NamedTuple):
    """What is drawn, in an area of `width` by `height`; `hidden` nodes are left out beside those that were pruned."""

    width: float
    height: float
    nodes: list[DrawnNode]
    links: list[DrawnLink]
    rows: list[Mark]
    columns: list[Mark]
    hidden: int


def draw_graph(
    graph: Graph,
    chosen: GraphNode | None,
    names: dict[str, str],
    groups: dict[str, list[str]],
    pins: set[str],
    slug: str,
    share: float,
) -> GraphDrawing:
    """Return the nodes with their layer as row, the lowest at the bottom, and their position as column."""
    shown = _take_strongest(graph, chosen)
    rows = sorted({_row_of(graph.nodes[n]) for n in shown}, reverse=True)
    cells: dict[tuple[int, int], list[int]] = {}
    for n in shown:
        cells.setdefault((_row_of(graph.nodes[n]), graph.nodes[n].position), []).append(n)
    positions = sorted({position for _, position in cells})
    widths = {p: max(COLUMN, NEXT * (1 + max(len(cells.get((row, p), ())) for row in rows))) for p in positions}
    lefts = dict(zip(positions, itertools.accumulate(widths.values(), initial=SIDE), strict=False))
    tops = {row: TOP + ROW * (place + 0.5) for place, row in enumerate(rows)}
    points: dict[int, tuple[float, float]] = {}
    for (row, position), members in cells.items():
        first = lefts[position] + widths[position] / 2 - NEXT * (len(members) - 1) / 2
        points |= {n: (round(first + NEXT * place, 1), tops[row]) for place, n in enumerate(members)}
    numbers = {id: number for number, ids in enumerate(groups.values(), 1) for id in ids}
    links = _draw_links(graph, chosen, points, names)
    linked = {end for link in graph.links for end in _ends_at(graph, link, chosen)} if chosen else set()
    nodes = []
    for n, (x, y) in points.items():
        node = graph.nodes[n]
        role = "chosen" if node is chosen else "linked" if n in linked else ""
        group = (numbers.get(node.node_id, 0) - 1) % GROUPS + 1 if node.node_id in numbers else 0
        url = link_node(slug, node.node_id, share)
        nodes.append(DrawnNode(node, x, y, _describe(node, graph, names), url, group, node.node_id in pins, role))
    width = SIDE + sum(widths.values())
    height = TOP + ROW * len(rows) + 30
    return GraphDrawing(
        width,
        height,
        nodes,
        links,
        [Mark(SIDE - 10, tops[row] + 4, _name_row(row, graph)) for row in rows],
        [
            Mark(
                lefts[p] + widths[p] / 2,
                height - 8,
                shorten(graph.prompt_tokens[p], 12) if p < len(graph.prompt_tokens) else "",
            )
            for p in positions
        ],
        len(graph.nodes) - len(shown),
    )


def _take_strongest(graph: Graph, chosen: GraphNode | None) -> list[int]:
    """Return the places of the nodes to draw, in order: with the chosen one and its strongest links, 600 at most."""
    if len(graph.nodes) <= MOST_NODES:
        return list(range(len(graph.nodes)))
    # Influence is cumulative: the strongest node has the smallest. Logits have none.
    order = sorted(range(len(graph.nodes)), key=lambda n: (graph.nodes[n].influence or 0.0, n))
    wanted: dict[int, None] = {}
    if chosen is not None:
        wanted = {n: None for n, node in enumerate(graph.nodes) if node is chosen}
        for link in sorted(graph.links, key=lambda link: -abs(link.weight)):
            wanted |= dict.fromkeys(_ends_at(graph, link, chosen))
            if len(wanted) > MOST_LINKS:
                break
    return sorted(list(dict.fromkeys([*wanted, *order]))[:MOST_NODES])


def _ends_at(graph: Graph, link: GraphLink, chosen: GraphNode | None) -> tuple[int, ...]:
    """Return the other end of a link of the chosen node; nothing for another link."""
    if chosen is None:
        return ()
    if graph.nodes[link.source] is chosen:
        return (link.target,)
    return (link.source,) if graph.nodes[link.target] is chosen else ()


def _draw_links(
    graph: Graph, chosen: GraphNode | None, points: dict[int, tuple[float, float]], names: dict[str, str]
) -> list[DrawnLink]:
    links = [
        link
        for link in graph.links
        if link.source in points and link.target in points and (chosen is None or _ends_at(graph, link, chosen))
    ]
    strongest = sorted(links, key=lambda link: -abs(link.weight))[:MOST_LINKS]
    most = max((abs(link.weight) for link in strongest), default=0.0) or 1.0
    drawn = []
    for link in reversed(strongest):
        ends = [name_node(graph.nodes[n], graph, names) for n in (link.source, link.target)]
        side = "" if chosen is None else "from" if graph.nodes[link.target] is chosen else "to"
        sign = "minus" if link.weight < 0 else "plus"
        title = f"{shorten(ends[0], 60)} → {shorten(ends[1], 60)}: {link.weight:+.3g}"
        (x1, y1), (x2, y2) = points[link.source], points[link.target]
        drawn.append(DrawnLink(x1, y1, x2, y2, round(abs(link.weight) / most, 3), side, sign, title))
    return drawn


def _row_of(node: GraphNode) -> int:
    """Return the row of a node: tokens below all layers."""
    return -1 if node.kind == "token" or node.layer is None else node.layer


def _name_row(row: int, graph: Graph) -> str:
    logits = {_row_of(node) for node in graph.nodes if node.kind == "logit"}
    return "tokens" if row < 0 else "logits" if row in logits else f"layer {row}"


def _describe(node: GraphNode, graph: Graph, names: dict[str, str]) -> str:
    parts = [name_node(node, graph, names), node.id or node.node_id]
    parts += [f"activation {node.activation:.3g}"] if node.activation is not None else []
    parts += [f"probability {node.token_prob:.2f}"] if node.kind == "logit" and node.token_prob is not None else []
    return " · ".join(parts)


def name_node(node: GraphNode, graph: Graph, names: dict[str, str]) -> str:
    """Return what a node means: as a person named it, its feature's label, or what the file says of it."""
    token = graph.prompt_tokens[node.position] if node.position < len(graph.prompt_tokens) else f"#{node.position}"
    kinds = {"token": f"token {token!r}", "error": f"error at layer {node.layer}", "logit": "a next token"}
    return names.get(node.node_id) or node.label or node.clerp or kinds.get(node.kind, "no label")


def link_node(slug: str, node_id: str, share: float) -> str:
    return f"/graphs/{quote(slug)}?{urlencode({'node': node_id, 'share': f'{share:g}'})}#graph"
