"""The commands of `featurestore label` that compare labels: disagree, duplicates, contradicted and cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from featurestore.extension.commands import connect_local, json_option, store_option
from featurestore.extension.output import print_json_lines, print_table

if TYPE_CHECKING:
    from featurestore import Store


def _print_rows(
    opened: Store,
    dictionaries: tuple[str, ...],
    find_rows: Callable[[list[str]], list[dict[str, Any]]],
    as_json: bool,
) -> None:
    from labeler.selection import choose_dictionaries

    rows = find_rows(choose_dictionaries(opened, dictionaries))
    if as_json:
        print_json_lines(rows)
        return
    print_table([{name: ", ".join(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows])


dictionary_option = click.option(
    "--dictionary", "dictionaries", multiple=True, metavar="ID", help="Only this dictionary. Repeatable."
)
most_option = click.option(
    "-k", "k", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Number of rows."
)


@click.command()
@click.argument("explainer")
@click.argument("other")
@click.option("--embedder", help="As for `featurestore index`. Default: the store's.")
@dictionary_option
@most_option
@store_option
@json_option
def disagree(
    explainer: str,
    other: str,
    embedder: str | None,
    dictionaries: tuple[str, ...],
    k: int,
    store: str,
    as_json: bool,
) -> None:
    """List the features whose labels by two explainers differ most, by the distance of the labels' embeddings.

    Example: featurestore label disagree tokens qwen3 -k 50
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _print_rows(
        opened,
        dictionaries,
        lambda names: agreement.find_disagreements(opened, explainer, other, names, k, embedder),
        as_json,
    )


@click.command()
@click.option("--explainer", metavar="NAME", help="Only its labels. Default: the best label of each feature.")
@dictionary_option
@most_option
@store_option
@json_option
def duplicates(explainer: str | None, dictionaries: tuple[str, ...], k: int, store: str, as_json: bool) -> None:
    """List labels that several features share.

    Example: featurestore label duplicates --dictionary gpt2-small/8-res-jb
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _print_rows(opened, dictionaries, lambda names: agreement.find_repeated(opened, names, explainer, k), as_json)


@click.command("contradicted")
@click.option(
    "--below",
    type=click.FloatRange(0, 1),
    default=0.6,
    show_default=True,
    help="Upper end of the interval is below this.",
)
@dictionary_option
@most_option
@store_option
@json_option
def print_contradicted(below: float, dictionaries: tuple[str, ...], k: int, store: str, as_json: bool) -> None:
    """List labels that their features' texts contradict: the whole confidence interval of a score is low.

    Example: featurestore label contradicted --below 0.55
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _print_rows(opened, dictionaries, lambda names: agreement.find_contradicted(opened, names, below, k), as_json)


@click.command()
@dictionary_option
@store_option
@json_option
def cost(dictionaries: tuple[str, ...], store: str, as_json: bool) -> None:
    """Show the cost of labels and scores by explainer and judge, and the cost of 0.01 of score above chance.

    Example: featurestore label cost
    """
    from labeler.explainers import agreement

    opened = connect_local(store)
    _print_rows(opened, dictionaries, lambda names: agreement.compute_costs(opened, names), as_json)
