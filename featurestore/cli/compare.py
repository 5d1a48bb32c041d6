"""The command that lays features or dictionaries side by side."""

from __future__ import annotations

from collections.abc import Sequence

import click

import featurestore
from featurestore.cli.example_line import draw_example
from featurestore.extension.commands import complete_features, json_option, store_option
from featurestore.extension.output import format_cell, open_console, print_json_lines, print_table
from featurestore.extension.progress import show_progress


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True, shell_complete=complete_features)
@click.option(
    "-k", "k", type=int, default=20, show_default=True, help="Of dictionaries: number of matches, and of unmatched."
)
@click.option(
    "--cosine",
    type=float,
    multiple=True,
    default=(0.5, 0.7, 0.9),
    show_default=True,
    help="Of dictionaries: count the features that have a match of this cosine. Repeatable.",
)
@click.option(
    "--examples", type=int, default=3, show_default=True, help="Of features: at most this many examples of each."
)
@store_option
@json_option
def compare(ids: tuple[str, ...], k: int, cosine: tuple[float, ...], examples: int, store: str, as_json: bool) -> None:
    """Lay two to eight features side by side, or match the features of two dictionaries of one space.

    Example: featurestore compare pystdlib/2-res-2k/951 pystdlib/2-res-2k/1791

    Example: featurestore compare pystdlib/2-res-2k pystdlib/4-res-2k
    """
    with featurestore.connect(store) as opened, show_progress() as progress:
        result = opened.compare(ids, k=k, cosine=cosine, examples=examples, progress=progress)
    if as_json:
        print_json_lines([result])
    elif isinstance(result, featurestore.FeatureComparison):
        _show_features(result)
    else:
        _show_dictionaries(result)
    for note in result.notes:
        click.echo(note, err=True)


def _show_features(result: featurestore.FeatureComparison) -> None:
    """Print the features with their matrix of cosines, what each pair shares, and examples in turn."""
    numbers = {feature.id: str(n) for n, feature in enumerate(result.features, 1)}
    rows = [
        {
            "n": numbers[feature.id],
            "feature": feature.id,
            **{f"cos {n}": format_cell(value) for n, value in enumerate(cosines, 1)},
            "density": feature.density,
            "label": feature.label,
        }
        for feature, cosines in zip(result.features, result.cosines, strict=True)
    ]
    print_table(rows)
    click.echo()
    print_table(
        [
            {
                "pair": f"{numbers[pair.id]} {numbers[pair.other]}",
                "cosine": pair.cosine,
                "fire together": pair.coactivity,
                "in examples": pair.jaccard,
                "contexts": pair.contexts,
                "tokens": _quote(pair.tokens),
                "both raise": _quote(pair.raised),
                "both lower": _quote(pair.lowered),
            }
            for pair in result.pairs
        ]
    )
    _print_examples(result, numbers)


def _print_examples(result: featurestore.FeatureComparison, numbers: dict[str, str]) -> None:
    """Print each example once for every feature that fires in it, with the feature's number before it."""
    from rich.text import Text

    out = open_console()
    largest = {feature.id: feature.max_activation for feature in result.features}
    for example in result.examples:
        out.print()
        for id, activations in zip(example.features, example.activations, strict=True):
            strongest = max(activations, key=abs)
            head = f"{numbers[id]} {strongest:8.2f}  "
            width, colours = out.width - len(head), out.color_system is not None
            line = draw_example(example.tokens, activations, largest[id], width, colours)
            out.print(Text(head) + line, no_wrap=True)


def _show_dictionaries(result: featurestore.DictionaryComparison) -> None:
    """Print how many features have a match, then the nearest matches, and the features farthest from one."""
    sides = ((result.dictionary, result.compared), (result.other, result.other_compared))
    click.echo(f"{result.mutual:,} pairs are each other's best match\n")
    rows = []
    for side, (name, compared) in enumerate(sides):
        row: dict[str, object] = {"dictionary": name, "compared": compared}
        for count in result.counts:
            row[f"cosine >= {count.cosine:g}"] = (count.matched, count.other_matched)[side]
        rows.append(row)
    print_table(rows)
    click.echo("\nbest matches")
    _print_matches(result.matches)
    least = result.counts[0].cosine
    for (name, _), unmatched in zip(sides, (result.unmatched, result.other_unmatched), strict=True):
        if unmatched:
            click.echo(f"\nof {name}, farthest from a match (below {least:g})")
            _print_matches(unmatched)


def _print_matches(matches: Sequence[featurestore.MatchedFeature]) -> None:
    columns = ("id", "other", "cosine", "mutual", "label", "other_label")
    print_table(
        [{name: getattr(match, name) for name in columns} for match in matches],
        {name: name.replace("_", " ") for name in columns},
    )


def _quote(tokens: Sequence[str]) -> list[str] | None:
    return list(tokens) or None
