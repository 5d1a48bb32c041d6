"""The commands that show one feature, the dictionaries and the store."""

from __future__ import annotations

import datetime

import click
import msgspec

import featurestore
from featurestore.cli.example_line import draw_example
from featurestore.extension.commands import complete_features, connect_local, json_option, store_option
from featurestore.extension.output import format_cell, open_console, print_json_lines, print_table

LOGITS = 10  # tokens raised and lowered most that are named; --json has all
INDENT = " " * 10  # the width of an activation before its example


@click.command()
@click.argument("id", shell_complete=complete_features)
@click.option(
    "--examples", type=int, default=5, show_default=True, help="Show at most this many examples of each band."
)
@store_option
@json_option
def feature(id: str, examples: int, store: str, as_json: bool) -> None:
    """Show everything about one feature: statistics, labels, logits, histogram and examples.

    Example: featurestore feature pystdlib/2-res-2k/17
    """
    with featurestore.connect(store) as opened:
        page = opened.feature(id, examples=examples)
    if as_json:
        print_json_lines([page])
        return
    show_feature(page)


def show_feature(page: featurestore.Feature) -> None:
    """Print a feature's page."""
    from rich.text import Text

    out = open_console()
    out.print(Text(f"{page.id}  {page.label or 'no label'}", style="bold"))
    facts = ("state", "density", "active_tokens", "mean_activation", "max_activation", "decoder_norm")
    out.print(Text("  ".join(f"{name.replace('_', ' ')} {format_cell(getattr(page, name))}" for name in facts)))
    if page.distinct_tokens is not None:
        names = ("first_token_share", "after_break_share", "top_token_share", "distinct_tokens")
        shares = "  ".join(f"{name.replace('_', ' ')} {format_cell(getattr(page, name))}" for name in names)
        out.print(Text(("structural: " if page.structural else "") + shares))
    for neighbour in page.labelled_neighbours:
        near = f"  near {neighbour.id} (cosine {neighbour.cosine:.2f}), whose label by {neighbour.explainer} is"
        out.print(Text(f"{near}: {neighbour.label}", style="dim"))
    for label in page.labels:
        votes = f" (votes {label.votes:+d})" if label.votes else ""
        out.print(Text(f"  {label.explainer}: {label.label}{votes}"))
    for score in page.scores:
        against = f" against {score.negatives}" if score.negatives else ""
        result = "nothing judged" if score.value is None else f"{score.value:.2f} [{score.low:.2f}, {score.high:.2f}]"
        failed = f", {score.failures:,} failed" if score.failures else ""
        out.print(
            Text(f"  {score.method}{against} of '{score.label}': {result}, n {score.n:,}{failed}, by {score.judge}")
        )
    for title, logits in (("raises", page.top_logits), ("lowers", page.bottom_logits)):
        if logits:
            tokens = [f"{effect.token!r} {effect.value:+.2f}" for effect in logits[:LOGITS]]
            more = [f"({len(logits) - LOGITS} more with --json)"] if len(logits) > LOGITS else []
            out.print(Text(f"{title}  " + "  ".join(tokens + more)))
    if page.histogram and any(page.histogram):
        out.print(Text("activations  " + spark(page.histogram, page.histogram_edges or ())))
    band = None
    for example in page.examples:
        if example.band != band:
            band = example.band
            out.print(Text(f"{band}", style="bold"))
        width, colours = out.width - len(INDENT), out.color_system is not None
        line = draw_example(example.tokens, example.activations, page.max_activation, width, colours)
        out.print(Text(f"{example.activation:8.2f}  ") + line, no_wrap=True)


def spark(histogram: tuple[int, ...], edges: tuple[float, ...]) -> str:
    """Return a histogram in one line of characters, from its first to its last bin that is not empty, with its ends."""
    filled = [b for b, count in enumerate(histogram) if count]
    low, high = filled[0], filled[-1]
    most = max(histogram)
    bars = "".join(" ▁▂▃▄▅▆▇█"[0 if not n else 1 + (7 * n) // most] for n in histogram[low : high + 1])
    return f"{edges[low]:.3g} {bars} {edges[high + 1]:.3g}"


@click.command()
@store_option
@json_option
def dictionaries(store: str, as_json: bool) -> None:
    """List the dictionaries of the store.

    Example: featurestore dictionaries --store demo.features
    """
    with featurestore.connect(store) as opened:
        rows = opened.dictionaries()
    if as_json:
        print_json_lines(rows)
        return
    columns = ("dictionary", "kind", "architecture", "hook_point", "d_in", "d_sae", "tokens_counted", "space")
    print_table([{name: getattr(row, name) for name in columns} for row in rows])


@click.command()
@store_option
@json_option
def info(store: str, as_json: bool) -> None:
    """Show what the store holds: rows and bytes by table.

    Example: featurestore info --store demo.features
    """
    with featurestore.connect(store) as opened:
        info, coverage = opened.info(), opened.coverage()
    if as_json:
        print_json_lines([msgspec.structs.asdict(info) | {"coverage": coverage}])
        return
    click.echo(
        f"{info.location}: format {info.format}, {info.dictionaries} dictionaries, "
        f"{info.features:,} features, {info.labels:,} labels, embedder {info.embedder or 'none'}"
    )
    changed = f", changed {_ago(info.changed_at)} by commit {info.commit:,}" if info.changed_at else ", empty"
    click.echo(f"made {_ago(info.created_at)}{changed}")
    click.echo(f"best label: the largest of {' '.join(info.label_rule.split())}")
    click.echo(f"structural features: {' '.join((info.structural_rule or 'not known').split())}")
    sizes = [
        {"table": name, "rows": rows, "files": info.parts[name], "bytes": info.bytes[name]}
        for name, rows in info.rows.items()
    ]
    total = {"table": "all", "rows": None, "files": sum(info.parts.values()), "bytes": sum(info.bytes.values())}
    print_table([*sizes, total])
    print_table(
        [
            {
                "dictionary": one.dictionary,
                "features": one.features,
                "labelled": one.labelled,
                "share": f"{one.share:.1%}",
                "by": ", ".join(f"{explainer} {count:,}" for explainer, count in one.explainers.items()),
            }
            for one in coverage
        ]
    )
    for note in info.notes:
        click.echo(note, err=True)


def _ago(when: datetime.datetime | None) -> str:
    """Return a time relative to now, in words."""
    if when is None:
        return "at an unknown time"
    seconds = (datetime.datetime.now(datetime.UTC) - when).total_seconds()
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


@click.command()
@click.argument("sql", required=False)
@click.option("--default", is_flag=True, help="Restore the rule of schema.sql.")
@store_option
@json_option
def structural(sql: str | None, default: bool, store: str, as_json: bool) -> None:
    """Show the rule for structural features and how many there are, or set it: SQL that is true for these features.

    It may use first_token_share, after_break_share, top_token_share, distinct_tokens, active_tokens, active_contexts
    and density; see structural_rule in schema.sql.

    Example: featurestore structural "first_token_share >= 0.5 or distinct_tokens = 1"
    """
    if sql and default:
        raise featurestore.BadRequest("a rule and --default: name one of the two")
    if sql or default:
        with connect_local(store) as opened:
            opened.set_structural_rule(sql)
    with featurestore.connect(store) as reader:
        rule = reader.info().structural_rule
        rows = reader.sql(COUNT_STRUCTURAL).to_pylist()
    if as_json:
        print_json_lines([{"rule": rule, "dictionaries": rows}])
        return
    click.echo(" ".join((rule or "not known").split()))
    print_table(rows)


COUNT_STRUCTURAL = """
SELECT dictionary, count(*) FILTER (WHERE structural) AS structural, count(*) FILTER (WHERE structural IS NULL)
       AS not_known, count(*) AS features
FROM features GROUP BY dictionary ORDER BY dictionary
"""
