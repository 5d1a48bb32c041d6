"""The command line: each command is a method of the store, printed as a table or as JSON lines."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import featurestore
from featurestore.cli import graph, serve, maintain
from featurestore.extension.commands import (
    Group,
    bars,
    cell,
    console,
    json_lines,
    json_option,
    local,
    recording,
    store_option,
    table,
)
from featurestore.cli.serve import serve_store  # noqa: F401 - the demo serves what it built

# Threads of torch that wait for one another should sleep, not spin: with another program on one of two cores, embedding
# 600 labels took 17 s spinning and 4 s sleeping. OpenMP reads this once, so it is set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

EPILOG = (
    "Begin with `featurestore demo`: it builds a small store and serves it. Every command has --help with an example."
)


@click.group(
    cls=Group, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(featurestore.__version__, prog_name="featurestore")
def main() -> None:
    """Search the features of sparse autoencoders by meaning, by geometry and by SQL."""


def query_options(*names: str) -> Callable[[Any], Any]:
    """The options that narrow and shape a search: these fields of Query, with its words for help."""
    import msgspec

    fields = {field.name: field for field in msgspec.structs.fields(featurestore.Query)}
    described = msgspec.json.schema(featurestore.Query)["$defs"]["Query"]["properties"]
    made = {
        "k": lambda said: click.option(
            "-k", "k", type=int, default=fields["k"].default, show_default=True, help=said["k"]
        ),
        "where": lambda said: click.option("--where", metavar="SQL", help=said["where"]),
        "all": lambda said: click.option("--all", is_flag=True, help=said["all"]),
        "opposite": lambda said: click.option("--opposite", is_flag=True, help=said["opposite"]),
        "group": lambda said: click.option("--group/--no-group", default=None, help=said["group"]),
        "cursor": lambda said: click.option("--cursor", metavar="NEXT", help=said["cursor"]),
        "mode": lambda said: click.option("--mode", metavar="MODE", help="hybrid (default), semantic or keyword."),
        "space": lambda said: click.option("--space", help=said["space"]),
    }

    def several(name: str) -> Callable[[dict[str, str]], Any]:
        metavar = "WHERE" if name == "over" else "ID"
        return lambda said: click.option(f"--{name}", multiple=True, metavar=metavar, help=said[name] + " Repeatable.")

    made |= {name: several(name) for name in ("within", "unlike", "among", "over")}
    said = {name: one["description"] for name, one in described.items()}

    def add(command: Any) -> Any:
        for name in reversed(names):
            command = made[name](said)(command)
        return command

    return add


@main.command()
@click.argument("text")
@query_options("mode", "over", "k", "within", "where", "among", "all", "group", "cursor")
@store_option
@json_option
def search(text: str, store: str, as_json: bool, **options: Any) -> None:
    """Features whose labels match TEXT. Words may be +needed, -unwanted, "a phrase" or the begin* of one.

    Example: featurestore search "exception handling" --where "layer >= 2 and density < 0.01"

    Example: featurestore search " raise" --over tokens
    """
    with featurestore.connect(store) as opened:
        show_hits(opened.search(text, **options), as_json)


@main.command()
@click.argument("to", metavar="ID_OR_FILE", nargs=-1, required=True)
@query_options("unlike", "opposite", "space", "k", "within", "where", "all", "group", "cursor")
@store_option
@json_option
def nearest(to: tuple[str, ...], store: str, as_json: bool, **options: Any) -> None:
    """Features whose decoder vectors are nearest to a feature's, to the mean of several features', or to a file's vector.

    A file is .npy, .safetensors or .pt; FILE:NAME takes one tensor of several, and FILE:NAME:ROW one row of a matrix.

    Example: featurestore nearest pystdlib/2-res-2k/17 pystdlib/4-res-2k/153 --unlike pystdlib/2-res-2k/9

    Example: featurestore nearest probe.safetensors:direction --opposite
    """
    from featurestore.cli import vector_files

    files = [name for name in to if vector_files.is_file(name)]
    if files and len(to) > 1:
        raise featurestore.BadRequest(f"{files[0]}: one file, or the ids of features; not both")
    with featurestore.connect(store) as opened:
        show_hits(opened.nearest(vector_files.read(files[0]) if files else to, **options), as_json)


@main.command()
@click.option("--text", "texts", multiple=True, help="A text that features should fire on. Repeatable.")
@click.option("--against", multiple=True, help="A text that they should not. Repeatable.")
@click.option("--texts-file", type=click.Path(), help="Texts, one a line.")
@click.option("--against-file", type=click.Path(), help="Texts, one a line.")
@click.option("--dictionary", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many features.")
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
    """Features that fire more on some texts than on others.

    Example: featurestore contrast --text "raise ValueError(x)" --text "raise KeyError" --against "return x"
    """
    ours, theirs = [*texts, *_lines(texts_file)], [*against, *_lines(against_file)]
    with featurestore.connect(store) as opened:
        found = opened.contrast(ours, theirs, dictionary=list(dictionary) or None, k=k)
    if as_json:
        json_lines(found.features)
    else:
        columns = ("id", "score", "mean", "mean_against", "fires", "fires_against", "label")
        table(
            [{name: getattr(one, name) for name in columns} for one in found.features],
            {name: name.replace("_", " ") for name in columns},
        )
    for note in found.notes:
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


@main.command()
@click.argument("dictionary")
@click.option("--against", multiple=True, metavar="ID", help="Compare with this dictionary. Repeatable. Default: all.")
@click.option("--cosine", type=float, default=0.9, show_default=True, help="Pairs of at least this cosine.")
@click.option("-k", "k", type=int, default=20, show_default=True, help="How many pairs.")
@store_option
@json_option
def duplicates(dictionary: str, against: tuple[str, ...], cosine: float, k: int, store: str, as_json: bool) -> None:
    """Features of DICTIONARY that other dictionaries of its space have too, by their decoder vectors.

    Example: featurestore duplicates pystdlib/2-res-2k --against pystdlib/4-res-2k --cosine 0.7
    """
    with featurestore.connect(store) as opened, bars() as bar:
        found = opened.duplicates(dictionary, list(against) or None, cosine, k, progress=bar)
    if as_json:
        json_lines(found.pairs)
    else:
        columns = ("id", "other", "cosine", "label", "other_label")
        table(
            [{name: getattr(one, name) for name in columns} for one in found.pairs],
            {name: name.replace("_", " ") for name in columns},
        )
    for note in found.notes:
        click.echo(note, err=True)


@main.command()
@click.argument("id")
@click.option("-k", "k", type=int, default=8, show_default=True, help="Nearest features of each.")
@click.option("--within", multiple=True, metavar="ID", help="Only these dictionaries or models. Repeatable.")
@store_option
@json_option
def neighbourhood(id: str, k: int, within: tuple[str, ...], store: str, as_json: bool) -> None:
    """A feature, its nearest and theirs, as edges of a graph.

    Example: featurestore neighbourhood pystdlib/2-res-2k/17 -k 4
    """
    with featurestore.connect(store) as opened:
        found = opened.neighbourhood(id, k, within)
    if as_json:
        json_lines([found])
        return
    labels = {node.id: node.label for node in found.nodes}
    rows = [
        {"source": one.source, "target": one.target, "cosine": one.cosine, "label": labels[one.target]}
        for one in found.edges
    ]
    table(rows, {"source": "from", "target": "to", "cosine": "cosine", "label": "label of the latter"})


def show_hits(hits: featurestore.Hits, as_json: bool) -> None:
    """Print hits, and their notes on stderr."""
    if as_json:
        json_lines(hits)
    else:
        columns = {"id": "feature", "score": "score", "label": "label", "density": "density", "why": "why"}
        rows = [{key: getattr(hit, key) for key in columns} for hit in hits]
        for row, hit in zip(rows, hits, strict=True):
            if hit.copies:
                row["label"] = f"{hit.label} (and {len(hit.copies)} alike)"
        table(rows, columns)
    for note in hits.notes:
        click.echo(note, err=True)
    if hits.next:
        click.echo(f"more: --cursor {hits.next}", err=True)


@main.command()
@click.argument("text")
@click.option("--dictionary", multiple=True, metavar="ID", help="Only this dictionary. Repeatable.")
@click.option("-k", "k", type=int, default=10, show_default=True, help="How many features.")
@click.option("--order", default="specific", show_default=True, help="specific (to this text) or activation.")
@store_option
@json_option
def activating(text: str, dictionary: tuple[str, ...], k: int, order: str, store: str, as_json: bool) -> None:
    """Features that fire on TEXT, and on which of its tokens.

    Example: featurestore activating "def __init__(self, name):"
    """
    with featurestore.connect(store) as opened:
        found = opened.activating(text, dictionary=list(dictionary) or None, k=k, order=order)
    if as_json:
        json_lines(found.features)
    else:
        rows = [
            {
                "id": feature.id,
                "activation": feature.activation,
                "of max": feature.activation / feature.max_activation if feature.max_activation else None,
                "token": repr(found.tokens[feature.token]),
                "label": feature.label,
            }
            for feature in found.features
        ]
        table(rows)
    for note in found.notes:
        click.echo(note, err=True)


@main.command()
@click.argument("id")
@click.option("--examples", type=int, default=5, show_default=True, help="Examples shown of each band.")
@store_option
@json_option
def feature(id: str, examples: int, store: str, as_json: bool) -> None:
    """One feature's whole page: statistics, labels, logits, histogram and examples.

    Example: featurestore feature pystdlib/2-res-2k/17
    """
    with featurestore.connect(store) as opened:
        page = opened.feature(id, examples=examples)
    if as_json:
        json_lines([page])
        return
    show_feature(page)


def show_feature(page: featurestore.Feature) -> None:
    """Print a feature's page for people."""
    from rich.text import Text

    out = console()
    out.print(Text(f"{page.id}  {page.label or 'no label'}", style="bold"))
    facts = ("state", "density", "active_tokens", "mean_activation", "max_activation", "decoder_norm")
    out.print(Text("  ".join(f"{name.replace('_', ' ')} {cell(getattr(page, name))}" for name in facts)))
    for label in page.labels:
        votes = f" (votes {label.votes:+d})" if label.votes else ""
        out.print(Text(f"  {label.explainer}: {label.label}{votes}"))
    for score in page.scores:
        against = f" against {score.negatives}" if score.negatives else ""
        found = "nothing judged" if score.value is None else f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
        failed = f", {score.failures:,} failed" if score.failures else ""
        out.print(
            Text(f"  {score.method}{against} of '{score.label}': {found}, n {score.n:,}{failed}, by {score.judge}")
        )
    for title, logits in (("raises", page.top_logits), ("lowers", page.bottom_logits)):
        if logits:
            out.print(Text(f"{title}  " + "  ".join(f"{one.token!r} {one.value:+.2f}" for one in logits)))
    if page.histogram and any(page.histogram):
        out.print(Text("activations  " + spark(page.histogram)))
    band = None
    for example in page.examples:
        if example.band != band:
            band = example.band
            out.print(Text(f"{band}", style="bold"))
        line = Text(f"{example.activation:8.2f}  ")
        for token, value in zip(example.tokens, example.activations, strict=True):
            strong = value > 0.5 * (page.max_activation or 1)
            style = "black on bright_green" if strong else "black on green" if value > 0 else ""
            line.append(token.replace("\n", "⏎"), style=style)
        out.print(line, no_wrap=True, overflow="ellipsis", crop=True)


def spark(histogram: tuple[int, ...]) -> str:
    """A histogram in one line of characters, from its first to its last bin that is not empty, with its ends."""
    filled = [b for b, count in enumerate(histogram) if count]
    low, high = filled[0], filled[-1]
    most = max(histogram)
    bars = "".join(" ▁▂▃▄▅▆▇█"[0 if not n else 1 + (7 * n) // most] for n in histogram[low : high + 1])
    edges = featurestore.HISTOGRAM_EDGES
    return f"{edges[low]:.3g} {bars} {edges[high + 1]:.3g}"


@main.command()
@click.argument("statement")
@click.option("--max-rows", type=int, help="At most this many rows.")
@click.option("--timeout", type=float, help="Stop the query after this many seconds.")
@click.option("--format", "form", metavar="FORMAT", help="json, csv, arrow or parquet instead of a table; rows stream.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), help="Write to this file instead of the terminal.")
@store_option
@json_option
def sql(
    statement: str,
    max_rows: int | None,
    timeout: float | None,
    form: str | None,
    output: str | None,
    store: str,
    as_json: bool,
) -> None:
    """The result of one SELECT over the store's views; `featurestore sql "show tables"` lists them.

    Searches are tables in it: search(...), semantic(...), keyword(...), nearest(...), activating(...).

    Example: featurestore sql "select f.label, h.score from semantic('errors', k := 50) h join features f using
    (dictionary, feature) where f.density < 0.01" --format csv -o errors.csv
    """
    if form is None and (as_json or output):
        form = "json" if as_json else Path(str(output)).suffix.lstrip(".")
    if form is not None:
        from featurestore.display import export

        with featurestore.connect(store) as opened, opened.stream(statement, timeout) as found:
            rows = export.write(found, form, output, max_rows)
        if output:
            click.echo(f"{rows:,} rows in {output}", err=True)
        return
    with featurestore.connect(store) as opened:
        result = opened.sql(statement, max_rows=max_rows, timeout=timeout)
    table(result.to_pylist(), {name: name for name in result.column_names})
    if b"featurestore.truncated" in (result.schema.metadata or {}):
        click.echo(f"the first {result.num_rows:,} rows are shown; there are more", err=True)


@main.command()
@store_option
@json_option
def dictionaries(store: str, as_json: bool) -> None:
    """Every dictionary of the store.

    Example: featurestore dictionaries --store demo.features
    """
    with featurestore.connect(store) as opened:
        found = opened.dictionaries()
    if as_json:
        json_lines(found)
        return
    columns = ("dictionary", "kind", "architecture", "hook_point", "d_in", "d_sae", "tokens_counted", "space")
    table([{name: getattr(one, name) for name in columns} for one in found])


@main.command()
@store_option
@json_option
def info(store: str, as_json: bool) -> None:
    """What the store holds: rows and bytes by table.

    Example: featurestore info --store demo.features
    """
    with featurestore.connect(store) as opened:
        found = opened.info()
    if as_json:
        json_lines([found])
        return
    click.echo(
        f"{found.location}: format {found.format}, {found.dictionaries} dictionaries, "
        f"{found.features:,} features, {found.labels:,} labels, embedder {found.embedder or 'none'}"
    )
    changed = f", changed {_ago(found.changed_at)} by commit {found.commit:,}" if found.changed_at else ", empty"
    click.echo(f"made {_ago(found.created_at)}{changed}")
    click.echo(f"best label: the largest of {' '.join(found.label_rule.split())}")
    sizes = [
        {"table": name, "rows": rows, "files": found.parts[name], "bytes": found.bytes[name]}
        for name, rows in found.rows.items()
    ]
    total = {"table": "all", "rows": None, "files": sum(found.parts.values()), "bytes": sum(found.bytes.values())}
    table([*sizes, total])
    for note in found.notes:
        click.echo(note, err=True)


def _ago(when: datetime.datetime | None) -> str:
    """A time as people say it."""
    if when is None:
        return "at an unknown time"
    seconds = (datetime.datetime.now(datetime.UTC) - when).total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


@main.command()
@click.option("--embedder", help="A model directory, a hub name, or openai:MODEL@BASE_URL. Default: the store's.")
@click.option("--recall", type=float, help="Share of the true nearest vectors to find in large spaces. Default: 0.95.")
@store_option
@recording("index")
def index(embedder: str | None, recall: float | None, store: str) -> None:
    """Build the indexes that are missing or stale: decoder vectors, and labels by meaning and by words. Compacts first.

    Example: featurestore index --store demo.features
    """
    for line in build_index(local(store), embedder, recall) or ["every index is up to date"]:
        click.echo(line)


def build_index(store: Any, embedder: str | None = None, recall: float | None = None) -> list[str]:
    """Compact, then build what is stale, with progress bars; lines that say what was done."""
    with bars() as bar:
        return store.compact(bar) + store.index(embedder, bar, recall)


@main.command()
@click.argument("path", metavar="PATH_OR_URL")
def create(path: str) -> None:
    """Make a new, empty store, in a directory or at an s3:// prefix.

    Example: featurestore create my.features
    """
    featurestore.create(path).close()
    click.echo(f"made an empty store at {path}")


for command in (
    graph.graph,
    maintain.check,
    maintain.compact,
    maintain.jobs,
    maintain.remove,
    maintain.migrate,
    serve.serve,
    serve.keys,
):
    main.add_command(command)


if __name__ == "__main__":
    main()
