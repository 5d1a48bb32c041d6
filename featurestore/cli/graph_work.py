"""The commands that work with attribution graphs: annotate files, find graphs, paths, groups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import msgspec

import featurestore
from featurestore.extension.commands import json_option, store_option
from featurestore.extension.output import print_json_lines, print_table

MOST_ABOUT = 500  # features about a text that are looked for in graphs
ABOUT = """
SELECT graph, features: count(DISTINCT dictionary || '/' || feature), nodes: count(*), best: max(score),
       labels: list(DISTINCT label)[:3]
FROM semantic($text, k := $most) JOIN graph_nodes USING (dictionary, feature) JOIN features USING (dictionary, feature)
GROUP BY graph ORDER BY best DESC, features DESC, graph LIMIT $k
"""

COMMON = """
SELECT dictionary || '/' || feature AS id, graphs: count(DISTINCT graph), nodes: count(*),
       activation: max(n.activation), label
FROM graph_nodes n LEFT JOIN features USING (dictionary, feature)
WHERE n.kind = 'feature' AND dictionary IS NOT NULL
GROUP BY ALL ORDER BY graphs DESC, nodes DESC, id LIMIT $k
"""


@click.command()
@click.argument("path", type=click.Path())
@click.option("--output", "-o", type=click.Path(), help="Write here: a file, or a directory.")
@click.option("--in-place", is_flag=True, help="Replace each file by its annotated form.")
@click.option("--overwrite", is_flag=True, help="Replace words that nodes have already.")
@click.option("--pages", metavar="URL", help="Link nodes to the features' pages of this service.")
@click.option(
    "--map", "map_", multiple=True, metavar="DICTIONARIES", help="Dictionaries of the nodes, as for `graph add`."
)
@store_option
@json_option
def annotate(
    path: str,
    output: str | None,
    in_place: bool,
    overwrite: bool,
    pages: str | None,
    map_: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Write the store's labels into attribution graphs: the file at PATH, or every JSON file of a directory.

    Labels go into `clerp`, where the tools show them. Words that a person wrote there, and names that a person gave in
    a front end, stay unless --overwrite is given. Nothing is fetched, and the store is not changed. Files of a
    directory that hold no graph are named and left.

    Example: featurestore graph annotate dallas.json --output dallas-labelled.json --pages http://127.0.0.1:8000
    """
    from featurestore.graphs.annotation import annotate as annotate_content
    from featurestore.graphs.file_format import load

    if in_place == (output is not None):
        raise featurestore.BadRequest("say where to write: --output PATH or --in-place")
    source = Path(path)
    files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if not files:
        raise featurestore.NotFound(f"{path} has no JSON files")
    rows: list[dict[str, Any]] = []
    with featurestore.connect(store) as opened:
        pages = pages or (store if store.startswith(("http://", "https://")) else None)
        for file in files:
            try:
                result = annotate_content(opened, load(file), map_, pages, overwrite)
            except featurestore.BadRequest as exc:
                if not source.is_dir() or str(exc).startswith("map:"):
                    raise
                click.echo(f"left as it is: {file.name}: {exc}", err=True)
                continue
            into = output is not None and (source.is_dir() or Path(output).is_dir())
            target = file if output is None else Path(output) / file.name if into else Path(output)
            _write(target, result.document)
            counts = {"features": result.features, "labelled": result.labelled, "kept": result.kept}
            rows.append({"file": str(target), **counts})
            for note in result.notes:
                click.echo(f"{file.name}: {note}", err=True)
    print_json_lines(rows) if as_json else print_table(rows)


def _write(target: Path, document: Any) -> None:
    """Write a file in one step, so that no reader sees half of it. Raises Unavailable where that is not possible."""
    staged = target.with_name(f"{target.name}.{os.getpid()}.new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(msgspec.json.encode(document))
        staged.replace(target)
    except OSError as exc:
        staged.unlink(missing_ok=True)
        raise featurestore.Unavailable(f"cannot write {target}: {exc.strerror}") from None


@click.command()
@click.argument("text")
@click.option("-k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of graphs.")
@store_option
@json_option
def search(text: str, k: int, store: str, as_json: bool) -> None:
    """Find the graphs that contain features about TEXT, by the meaning of their labels, the nearest first.

    Example: featurestore graph search "closing brackets" --store demo.features
    """
    with featurestore.connect(store) as opened:
        rows = opened.sql(ABOUT, {"text": text, "most": MOST_ABOUT, "k": k}).to_pylist()
    if as_json:
        print_json_lines(rows)
        return
    print_table([row | {"labels": "; ".join(label for label in row["labels"] if label)} for row in rows])


@click.command()
@click.option("-k", "k", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Number of features.")
@store_option
@json_option
def features(k: int, store: str, as_json: bool) -> None:
    """Show the features that are used in most of the graphs, with their largest activation in any of them.

    Example: featurestore graph features --store demo.features
    """
    with featurestore.connect(store) as opened:
        rows = opened.sql(COMMON, {"k": k}).to_pylist()
    print_json_lines(rows) if as_json else print_table(rows)


@click.command()
@click.argument("slug")
@click.option("--from", "start", metavar="NODE", help="Only paths from this node, given by its id or its feature's.")
@click.option("-k", "k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of paths.")
@store_option
@json_option
def paths(slug: str, start: str | None, k: int, store: str, as_json: bool) -> None:
    """Show the paths of most influence through a graph, from tokens to logits.

    A step's influence is its link's weight as a share of all links into the same node; that of a path is their product
    times the probability of its logit.

    Example: featurestore graph paths dallas -k 5
    """
    from featurestore.graphs.analysis import find_paths

    with featurestore.connect(store) as opened:
        graph, dictionaries = opened.graph(slug), opened.dictionaries()
    ways = find_paths(graph, k, start, dictionaries)
    rows = [{"influence": way.influence, "nodes": [graph.nodes[place].node_id for place in way.nodes]} for way in ways]
    if as_json:
        print_json_lines(rows)
        return
    shown = [[_describe(graph.nodes[place]) for place in way.nodes] for way in ways]
    print_table(
        [{"influence": way.influence, "path": " > ".join(names)} for way, names in zip(ways, shown, strict=True)]
    )


def _describe(node: featurestore.GraphNode) -> str:
    label = node.label or node.clerp
    return f"{node.node_id} ({label})" if label else node.node_id


@click.command()
@click.argument("slug")
@click.option("--cosine", type=float, default=0.8, show_default=True, help="Cosine from which directions are the same.")
@click.option("--take", is_flag=True, help="Keep the groups as the graph's supernodes, beside those that it has.")
@click.option("--only", multiple=True, metavar="NAME", help="Take this group alone. Repeatable.")
@store_option
@json_option
def group(slug: str, cosine: float, take: bool, only: tuple[str, ...], store: str, as_json: bool) -> None:
    """Propose groups of a graph's nodes: features with the same label, or nearly the same decoder direction.

    Nothing is kept unless --take or --only is given. Nodes that are in a supernode already stay in it.

    Example: featurestore graph group dallas --cosine 0.9
    """
    from featurestore.graphs.analysis import propose_groups, read_vectors
    from featurestore.graphs.view_edit import choose_groups

    with featurestore.connect(store) as opened:
        graph = opened.graph(slug)
        groups = propose_groups(graph, read_vectors(graph, opened.vector), cosine)
        taken = choose_groups(graph.view, groups, only) if take or only else {}
        if taken:
            opened.edit_graph(slug, group=taken)
    rows = [{"name": each.name, "nodes": list(each.nodes)} for each in groups]
    if as_json:
        print_json_lines(rows)
        return
    print_table([{"name": row["name"], "nodes": ", ".join(row["nodes"])} for row in rows])
    if take or only:
        names = ", ".join(taken) or "none: their nodes are in supernodes already"
        click.echo(f"supernodes taken: {names}", err=True)


@click.command()
@click.argument("slug")
@click.option("--pin", multiple=True, metavar="NODE", help="Pin a node. Repeatable.")
@click.option("--unpin", multiple=True, metavar="NODE", help="Pin a node no more. Repeatable.")
@click.option("--group", "groups", multiple=True, metavar="NAME=NODES", help="Nodes of a supernode. Repeatable.")
@click.option("--ungroup", multiple=True, metavar="NAME", help="Dissolve a supernode. Repeatable.")
@click.option("--name", "names", multiple=True, metavar="NODE=TEXT", help="Name a node; no TEXT takes it back.")
@store_option
@json_option
def edit(
    slug: str,
    pin: tuple[str, ...],
    unpin: tuple[str, ...],
    groups: tuple[str, ...],
    ungroup: tuple[str, ...],
    names: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Pin, group and name nodes of a graph, as a person does in a front end; show what it has then.

    Nodes are given by their ids in the graph, or by features' ids; several with commas between them.

    Example: featurestore graph edit dallas --pin 4_153_1 --group "brackets=2_7_0,2_951_1" --name "2_7_0=an opening"
    """
    from featurestore.graphs import view_edit

    group = {title: nodes.split(",") for title, nodes in _split(groups, "group", "NAME=NODE,NODE")}
    name = {node: text or None for node, text in _split(names, "name", "NODE=TEXT")}
    with featurestore.connect(store) as opened:
        view = opened.edit_graph(slug, pin, unpin, group, ungroup, name)
    if as_json:
        print_json_lines([view])
        return
    rows = [{"what": "pinned", "name": "", "nodes": ", ".join(view_edit.read_pins(view))}]
    rows += [
        {"what": "supernode", "name": title, "nodes": ", ".join(ids)}
        for title, ids in view_edit.read_groups(view).items()
    ]
    rows += [{"what": "named", "name": text, "nodes": id} for id, text in view_edit.read_names(view).items()]
    print_table(rows)


def _split(given: tuple[str, ...], option: str, form: str) -> list[tuple[str, str]]:
    """Return texts as pairs of what stands before and behind the first "=". Raises BadRequest where there is none."""
    for text in given:
        if "=" not in text:
            raise featurestore.BadRequest(f"--{option}: {text!r:.80} has no '=': write {form}")
    return [(before, behind) for before, _, behind in (text.partition("=") for text in given)]
