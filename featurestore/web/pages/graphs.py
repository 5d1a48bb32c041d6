"""The pages of attribution graphs: all of them, and one as layers by positions with the links of a chosen node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from flask import redirect, render_template, request
from flask.typing import ResponseReturnValue

from featurestore.display.tokens import Run, split_characters
from featurestore.errors import BadRequest, FeatureStoreError, NotFound
from featurestore.graphs.nodes import find_places
from featurestore.graphs.view_edit import number_features, read_groups, read_names, read_pins
from featurestore.interface import FeatureStore
from featurestore.values.examples import Example
from featurestore.values.feature import Feature, FeatureId
from featurestore.values.graphs import Graph, GraphNode
from featurestore.web.api.labels import name_writer
from featurestore.web.pages.drawings.graph_drawing import draw_graph, link_node, name_node
from featurestore.web.pages.page import Page
from featurestore.web.requests import read
from featurestore.wire.requests import Nothing, Request

SHARE = 0.8  # of the influence that is shown at first, where the file states none
MOST_LISTED = 30  # links in the lists beside the drawing
EXAMPLES = 4
MOST_GRAPHS = 50  # on the page of a feature


class GraphFields(Request, frozen=True):
    """The fields of a graph's page: the chosen node, and the share of the influence whose nodes are shown."""

    node: str | None = None
    share: float | None = None


class ListedLink(NamedTuple):
    """A link of the chosen node: the node at its other end, what it means, and its weight."""

    node: GraphNode
    label: str
    url: str
    weight: float


def show_graphs(store: FeatureStore) -> ResponseReturnValue:
    """Return the page of all attribution graphs."""
    read(Nothing)
    return render_template("graphs.html", graphs=store.graphs())


def show_graph(store: FeatureStore, slug: str) -> ResponseReturnValue:
    """Return the page of one graph."""
    return _render(store, slug, read(GraphFields))


def change_graph(store: FeatureStore, slug: str) -> ResponseReturnValue:
    """Pin, group or name nodes as the form says; lead back to the graph, or show what was wrong with it."""
    form = dict(request.form.items(multi=True))
    allowed = {"node", "share", "pin", "unpin", "group", "nodes", "ungroup", "name", "named"}
    if len(form) < len(list(request.form.items(multi=True))) or set(form) - allowed:
        raise BadRequest(f"the form has each of these fields once at most: {', '.join(sorted(allowed))}")
    try:
        store.edit_graph(slug, **_parse_edit(form), tool=name_writer(store))
    except (BadRequest, NotFound) as exc:
        return _render(store, slug, GraphFields(node=form.get("node")), exc)
    kept = {name: form[name] for name in ("node", "share") if form.get(name)}
    return redirect(f"/graphs/{quote(slug)}{'?' if kept else ''}{urlencode(kept)}#graph", 303)


def _parse_edit(form: dict[str, str]) -> dict[str, Any]:
    if "pin" in form:
        return {"pin": [form["pin"]]}
    if "unpin" in form:
        return {"unpin": [form["unpin"]]}
    if "ungroup" in form:
        return {"ungroup": [form["ungroup"]]}
    if "named" in form:
        return {"name": {form["named"]: form.get("name", "").strip() or None}}
    return {"group": {form.get("group", "").strip(): form.get("nodes", "").replace(",", " ").split()}}


def _render(
    store: FeatureStore, slug: str, fields: GraphFields, error: FeatureStoreError | None = None
) -> ResponseReturnValue:
    share = fields.share
    if share is not None and not 0 < share <= 1:
        raise BadRequest(f"share: {share} is no share, above 0 and up to 1")
    whole = store.graph(slug)
    share = share or whole.node_threshold or SHARE
    # A graph whose file has no influences, or whose links lead nowhere, is shown whole.
    graph = store.graph(slug, node_threshold=share) if whole.links and share < 1 else whole
    chosen = _choose(store, graph, whole, fields.node)
    names, groups = _read_names(store, whole), read_groups(whole.view)
    before, after = _list_links(graph, chosen, names, slug, share)
    page = store.feature(chosen.id, EXAMPLES) if chosen and chosen.in_store and chosen.id else None
    answer = render_template(
        "graph.html",
        graph=graph,
        whole=whole,
        share=share,
        chosen=chosen,
        label=name_node(chosen, whole, names) if chosen else "",
        before=before,
        after=after,
        page=page,
        examples=_split(page) if page else [],
        groups=groups,
        group_nodes={name: [(id, _name_of(whole, id, names)) for id in ids] for name, ids in groups.items()},
        pins=[(id, _name_of(whole, id, names)) for id in read_pins(whole.view)],
        drawing=draw_graph(graph, chosen, names, groups, set(read_pins(whole.view)), slug, share),
        link=lambda node_id: link_node(slug, node_id, share),
        error=str(error) if error else None,
    )
    return answer, error.status if error else 200


def _read_names(store: FeatureStore, graph: Graph) -> dict[str, str]:
    """Return the names of nodes; the numbers of features are read where a front end may have named some by these."""
    names, ids = read_names(graph.view), {node.node_id for node in graph.nodes}
    if names.keys() <= ids:
        return names
    return read_names(graph.view, number_features(store.graph_file(graph.graph)["nodes"]))


def _choose(store: FeatureStore, graph: Graph, whole: Graph, given: str | None) -> GraphNode | None:
    """Return the node of an id, of its own or of its feature. Raises NotFound."""
    if given is None:
        return None
    for each in (graph, whole):
        if places := find_places(each, given, store.dictionaries()):
            return each.nodes[places[0]]
    raise NotFound(f"{whole.graph} has no node {given!r:.100}")


def _name_of(graph: Graph, node_id: str, names: dict[str, str]) -> str:
    node = next((node for node in graph.nodes if node.node_id == node_id), None)
    return names.get(node_id, "not in the graph") if node is None else name_node(node, graph, names)


def _list_links(
    graph: Graph, chosen: GraphNode | None, names: dict[str, str], slug: str, share: float
) -> tuple[list[ListedLink], list[ListedLink]]:
    """Return the strongest links into the chosen node and out of it."""
    links: tuple[list[ListedLink], list[ListedLink]] = ([], [])
    if chosen is None:
        return links
    for link in sorted(graph.links, key=lambda link: -abs(link.weight)):
        ends = graph.nodes[link.source], graph.nodes[link.target]
        for side, (here, other) in enumerate((ends[::-1], ends)):
            if here is chosen and len(links[side]) < MOST_LISTED:
                name = name_node(other, graph, names)
                links[side].append(ListedLink(other, name, link_node(slug, other.node_id, share), link.weight))
    return links


def _split(page: Feature) -> list[tuple[Example, list[Run]]]:
    top = [example for example in page.examples if example.band == "top"][:EXAMPLES]
    return [
        (example, split_characters(example.tokens, example.activations, page.max_activation, example.peak))
        for example in top
    ]


def list_graphs_of(store: FeatureStore, id: FeatureId) -> Sequence[dict[str, Any]]:
    """Return the graphs that a feature is in, by name: a node of it in each, and its strongest activation there."""
    return [
        {
            "graph": graph.graph,
            "node_id": graph.feature_nodes[0],
            "nodes": len(graph.feature_nodes),
            "activation": graph.feature_activation,
            "prompt": graph.prompt,
        }
        for graph in store.graphs(feature=id)[:MOST_GRAPHS]
    ]


PAGES = (
    Page("/graphs", show_graphs),
    Page("/graphs/<slug>", show_graph, lane="search", may_embed=True),
    Page("/graphs/<slug>", change_graph, method="POST", scope="write", lane="write"),
)
