"""The commands that search: by meaning and words, by vectors, by a text that is run through the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import featurestore
from featurestore.display.characters import find_first
from featurestore.extension.commands import (
    complete_dictionaries,
    complete_features,
    embedder_option,
    json_option,
    locations_option,
    store_option,
)
from featurestore.extension.output import print_json_lines, print_table
from featurestore.extension.progress import show_progress


def query_options(*names: str) -> Callable[[Any], Any]:
    """Return a decorator that adds options for these fields of Query, with the fields' descriptions as help."""
    import msgspec

    properties = msgspec.json.schema(featurestore.Query)["$defs"]["Query"]["properties"]
    help_of = {name: field["description"] for name, field in properties.items()}
    defaults = {field.name: field.default for field in msgspec.structs.fields(featurestore.Query)}
    settings: dict[str, dict[str, Any]] = {
        "k": {"type": int, "default": defaults["k"], "show_default": True},
        "where": {"metavar": "SQL"},
        "all": {"is_flag": True},
        "opposite": {"is_flag": True},
        "group": {"default": None},
        "structural": {"default": None, "help": "Only structural features, or all others. Default: both."},
        "cursor": {"metavar": "NEXT"},
        "mode": {"metavar": "MODE", "help": "hybrid (default), semantic or keyword."},
        "space": {},
        "within": {"multiple": True, "metavar": "ID", "shell_complete": complete_dictionaries},
        **{
            name: {"multiple": True, "metavar": "ID", "shell_complete": complete_features}
            for name in ("unlike", "among")
        },
        "over": {"multiple": True, "metavar": "WHERE"},
    }
    flags = {"k": ("-k", "k"), "group": ("--group/--no-group",), "structural": ("--structural/--no-structural",)}

    def add_options(command: Any) -> Any:
        for name in reversed(names):
            repeatable = " Repeatable." if settings[name].get("multiple") else ""
            option = {"help": help_of[name] + repeatable} | settings[name]
            command = click.option(*flags.get(name, (f"--{name}",)), **option)(command)
        return command

    return add_options


def _drop_empty(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options without those of several values that were not given: an empty list would match nothing."""
    return {name: value for name, value in options.items() if value != ()}


@click.command()
@click.argument("text")
@query_options("mode", "over", "k", "within", "where", "among", "all", "structural", "group", "cursor")
@embedder_option
@store_option
@json_option
def search(text: str, store: str, as_json: bool, **options: Any) -> None:
    """Find features whose labels match TEXT. Words may be +needed, -unwanted, "a phrase" or begin*.

    Example: featurestore search "exception handling" --where "layer >= 2 and density < 0.01"

    Example: featurestore search " raise" --over tokens
    """
    with featurestore.connect(store) as opened:
        show_hits(opened.search(text, **_drop_empty(options)), as_json)


@click.command()
@click.argument("to", metavar="ID_OR_FILE", nargs=-1, required=True, shell_complete=complete_features)
@query_options("unlike", "opposite", "space", "k", "within", "where", "among", "all", "structural", "group", "cursor")
@store_option
@json_option
def nearest(to: tuple[str, ...], store: str, as_json: bool, **options: Any) -> None:
    """Find features by decoder vectors: the nearest to a feature, to the mean of several, or to a vector in a file.

    A file is .npy, .safetensors or .pt; FILE:NAME takes one tensor of several, and FILE:NAME:ROW one row of a matrix.

    Example: featurestore nearest pystdlib/2-res-2k/17 pystdlib/4-res-2k/153 --unlike pystdlib/2-res-2k/9

    Example: featurestore nearest probe.safetensors:direction --opposite
    """
    from featurestore.cli import vector_files

    files = [name for name in to if vector_files.is_file(name)]
    if files and len(to) > 1:
        raise featurestore.BadRequest(f"{files[0]}: one file, or the ids of features; not both")
    with featurestore.connect(store) as opened:
        show_hits(opened.nearest(vector_files.read(files[0]) if files else to, **_drop_empty(options)), as_json)


@click.command()
@click.option("--text", "texts", multiple=True, help="A text on which features should fire. Repeatable.")
@click.option("--against", multiple=True, help="A text on which they should not fire. Repeatable.")
@click.option("--texts-file", type=click.Path(), help="File of texts for --text, one a line.")
@click.option("--against-file", type=click.Path(), help="File of texts for --against, one a line.")
@click.option("--dictionary", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("-k", "k", type=int, default=10, show_default=True, help="Number of features.")
@locations_option
@store_option
@json_option
def contrast(
    texts: tuple[str, ...],
    against: tuple[str, ...],
    texts_file: str | None,
    against_file: str | None,
    dictionary: tuple[str, ...],
    k: int,
    store: str,
    as_json: bool,
) -> None:
    """Find features that fire more on some texts than on others.

    Example: featurestore contrast --text "raise ValueError(x)" --text "raise KeyError" --against "return x"
    """
    texts, against = (*texts, *_lines(texts_file)), (*against, *_lines(against_file))
    with featurestore.connect(store) as opened:
        result = opened.contrast(texts, against, dictionary=list(dictionary) or None, k=k)
    if as_json:
        print_json_lines(result.features)
    else:
        columns = ("id", "score", "mean", "mean_against", "fires", "fires_against", "label")
        print_table(
            [{name: getattr(feature, name) for name in columns} for feature in result.features],
            {name: name.replace("_", " ") for name in columns},
        )
    for note in result.notes:
        click.echo(note, err=True)


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        return [line for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as exc:
        raise featurestore.NotFound(f"{path}: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise featurestore.BadRequest(f"{path} is not text in UTF-8") from None


@click.command()
@click.argument("dictionary", shell_complete=complete_dictionaries)
@click.option(
    "--against",
    multiple=True,
    metavar="ID",
    shell_complete=complete_dictionaries,
    help="Compare with this dictionary. Repeatable. Default: all of the same space.",
)
@click.option("--cosine", type=float, default=0.9, show_default=True, help="Smallest cosine of a pair.")
@click.option("-k", "k", type=int, default=20, show_default=True, help="Number of pairs.")
@store_option
@json_option
def duplicates(dictionary: str, against: tuple[str, ...], cosine: float, k: int, store: str, as_json: bool) -> None:
    """Find features of DICTIONARY that have a near copy in other dictionaries of its space, by decoder vectors.

    Example: featurestore duplicates pystdlib/2-res-2k --against pystdlib/4-res-2k --cosine 0.7
    """
    with featurestore.connect(store) as opened, show_progress() as progress:
        result = opened.duplicates(dictionary, list(against) or None, cosine, k, progress=progress)
    if as_json:
        print_json_lines(result.pairs)
    else:
        columns = ("id", "other", "cosine", "label", "other_label")
        print_table(
            [{name: getattr(pair, name) for name in columns} for pair in result.pairs],
            {name: name.replace("_", " ") for name in columns},
        )
    for note in result.notes:
        click.echo(note, err=True)


@click.command()
@click.argument("id", shell_complete=complete_features)
@click.option("-k", "k", type=int, default=8, show_default=True, help="Number of nearest features for each feature.")
@click.option("--within", multiple=True, metavar="ID", help="Only these dictionaries or models. Repeatable.")
@store_option
@json_option
def neighbourhood(id: str, k: int, within: tuple[str, ...], store: str, as_json: bool) -> None:
    """Show a feature, its nearest features and theirs, as edges of a graph.

    Example: featurestore neighbourhood pystdlib/2-res-2k/17 -k 4
    """
    with featurestore.connect(store) as opened:
        result = opened.neighbourhood(id, k, within or None)
    if as_json:
        print_json_lines([result])
        return
    labels = {node.id: node.label for node in result.nodes}
    rows = [
        {"source": edge.source, "target": edge.target, "cosine": edge.cosine, "label": labels[edge.target]}
        for edge in result.edges
    ]
    print_table(rows, {"source": "from", "target": "to", "cosine": "cosine", "label": "label of the latter"})


def show_hits(hits: featurestore.Hits, as_json: bool) -> None:
    """Print hits, and their notes on stderr."""
    if as_json:
        print_json_lines(hits)
    else:
        columns = {"id": "feature", "score": "score", "label": "label", "density": "density", "why": "why"}
        rows = [{key: getattr(hit, key) for key in columns} for hit in hits]
        for row, hit in zip(rows, hits, strict=True):
            if hit.copies:
                row["label"] = f"{hit.label} (and {len(hit.copies)} alike)"
        print_table(rows, columns)
    for note in hits.notes:
        click.echo(note.replace("all=true shows", "--all shows"), err=True)
    if hits.next:
        click.echo(f"more: --cursor {hits.next}", err=True)


@click.command()
@click.argument("text")
@click.option("--dictionary", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("-k", "k", type=int, default=10, show_default=True, help="Number of features.")
@click.option("--order", default="specific", show_default=True, help="Order by specific (to this text) or activation.")
@click.option("--token", type=int, help="Only features that fire on the token of this place in TEXT, from 0.")
@click.option("--feature", multiple=True, metavar="ID", help="Only this feature, also where it is silent. Repeatable.")
@locations_option
@store_option
@json_option
def activating(
    text: str,
    dictionary: tuple[str, ...],
    k: int,
    order: str,
    token: int | None,
    feature: tuple[str, ...],
    store: str,
    as_json: bool,
) -> None:
    """Find features that fire on TEXT, and the tokens on which they fire.

    Example: featurestore activating "def __init__(self, name):"

    Example: featurestore activating "raise ValueError" --token 1
    """
    with featurestore.connect(store) as opened:
        result = opened.activating(text, list(dictionary) or None, k, order, list(feature) or None, token)
    if as_json:
        print_json_lines(result.features)
    else:
        rows = [
            {
                "id": feature.id,
                "activation": feature.activation,
                "of max": abs(feature.activation / feature.max_activation) if feature.max_activation else None,
                "token": repr(result.tokens[find_first(result.tokens, feature.token)]) if feature.activation else None,
                "label": feature.label,
            }
            for feature in result.features
        ]
        print_table(rows)
    for note in result.notes:
        click.echo(note, err=True)
