"""The commands of attribution graphs: add, list, show, remove."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

import featurestore
from featurestore.cli import graph_work
from featurestore.extension.commands import json_option, store_option
from featurestore.extension.output import print_json_lines, print_table


@click.group()
def graph() -> None:
    """Store attribution graphs beside the features that are their nodes: add, list, show, remove.

    Example: featurestore graph add dallas.json --map "gemma-2-2b/{layer}-transcoder"
    """


@graph.command()
@click.argument("file", type=click.Path())
@click.option("--slug", help="Name of the graph in the store. Default: the name in the file.")
@click.option(
    "--map",
    "map_",
    multiple=True,
    metavar="DICTIONARIES",
    help="Dictionaries of the nodes: LAYER=MODEL/SOURCE, or MODEL/{layer}-SOURCE for every layer. Repeatable.",
)
@click.option("--replace", is_flag=True, help="Replace the graph that has this name.")
@store_option
@json_option
def add(file: str, slug: str | None, map_: tuple[str, ...], replace: bool, store: str, as_json: bool) -> None:
    """Store the attribution graph in FILE, a JSON file of circuit-tracer or Neuronpedia.

    Without --map, the dictionaries that the file names are looked up in the store.

    Example: featurestore graph add dallas.json --map "gemma-2-2b/{layer}-transcoder" --map 25=gemma-2-2b/last
    """
    with featurestore.connect(store) as opened:
        added = opened.add_graph(file, slug, map_, replace)
    if as_json:
        print_json_lines([added])
        return
    click.echo(
        f"{added.graph}: {added.nodes:,} nodes, {added.features:,} of them features, of which {added.in_store:,} are "
        f"in the store and {added.labelled:,} have a label; {added.links:,} links"
    )
    for note in added.notes:
        click.echo(note, err=True)


@graph.command("list")
@click.option("--feature", metavar="ID", help="Only the graphs that have this feature as a node.")
@store_option
@json_option
def list_(feature: str | None, store: str, as_json: bool) -> None:
    """List the graphs of the store.

    Example: featurestore graph list --store demo.features
    """
    with featurestore.connect(store) as opened:
        graphs = opened.graphs(feature)
    if as_json:
        print_json_lines(graphs)
        return
    columns = ("graph", "prompt", "nodes", "features", "links", "scan")
    of_feature = ("feature_nodes", "feature_activation") if feature else ()
    print_table([{name: getattr(graph, name) for name in (*columns, *of_feature)} for graph in graphs])


@graph.command()
@click.argument("slug")
@click.option("--file", "as_file", is_flag=True, help="Print circuit-tracer's JSON, with the store's labels in it.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write that JSON to this file.")
@click.option(
    "-k", "k", type=int, default=30, show_default=True, help="Show this many nodes, the most influential first."
)
@click.option("--node-threshold", type=float, help="Only the nodes that carry this share of the influence, 0 to 1.")
@click.option("--edge-threshold", type=float, help="Only the links that carry this share of the influence, 0 to 1.")
@store_option
@json_option
def show(
    slug: str,
    as_file: bool,
    output: str | None,
    k: int,
    node_threshold: float | None,
    edge_threshold: float | None,
    store: str,
    as_json: bool,
) -> None:
    """Show a graph's nodes with the labels of their features, the most influential first.

    Example: featurestore graph show dallas --output dallas-labelled.json
    """
    with featurestore.connect(store) as opened:
        if as_file or output:
            _write(opened.graph_file(slug), output)
            return
        content = opened.graph(slug, node_threshold, edge_threshold)
    if as_json:
        print_json_lines([content])
        return
    click.echo(f"{content.graph}: {content.prompt!r}, made with {content.scan}")
    # Influence is cumulative: the strongest node has the smallest. Logits, which the graph explains, have none.
    ordered = sorted(content.nodes, key=lambda node: (node.influence is not None, node.influence or 0.0))
    tokens = content.prompt_tokens
    rows = [
        {
            "id": node.id or node.node_id,
            "kind": node.kind,
            "on": repr(tokens[node.position]) if node.position < len(tokens) else None,
            "activation": node.activation,
            "influence": node.influence,
            "label": node.label or node.clerp or None,
        }
        for node in ordered[:k]
    ]
    print_table(rows)
    for note in content.notes:
        click.echo(note, err=True)


def _write(document: object, output: str | None) -> None:
    raw = msgspec.json.encode(document)
    if output is None:
        click.echo(raw.decode())
        return
    try:
        Path(output).write_bytes(raw)
    except OSError as exc:
        raise featurestore.Unavailable(f"cannot write {output}: {exc.strerror}") from None


@graph.command()
@click.argument("slug")
@store_option
def remove(slug: str, store: str) -> None:
    """Remove a graph, but not the features that are its nodes.

    Example: featurestore graph remove dallas
    """
    with featurestore.connect(store) as opened:
        opened.remove_graph(slug)
    click.echo(f"removed {slug}")


for command in (
    graph_work.annotate,
    graph_work.search,
    graph_work.features,
    graph_work.paths,
    graph_work.group,
    graph_work.edit,
):
    graph.add_command(command)
