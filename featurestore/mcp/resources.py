"""Resources as Markdown: the columns that SQL sees, and a feature's whole page."""

from __future__ import annotations

import itertools

from featurestore.display.numbers import format_value
from featurestore.mcp.descriptions import describe_example
from featurestore.values.feature import Feature

FACTS = ("state", "layer", "density", "active_tokens", "mean_activation", "max_activation", "decoder_norm")


def describe_schema() -> str:
    """Return every view of schema.sql with its columns, their types and their comments."""
    from featurestore.tables import schema  # needs DuckDB, which a client of a service otherwise does not

    lines = ["# Views", ""]
    for view, columns in itertools.groupby(schema.columns(), key=lambda column: column.relation):
        lines += [f"## {view}", ""]
        for column in columns:
            comment = f": {column.comment}" if column.comment else ""
            lines.append(f"- `{column.column}` {column.type}{comment}")
        lines.append("")
    return "\n".join(lines)


def describe_feature_page(page: Feature) -> str:
    """Return a feature's page: facts, labels, scores, logits and every example around its strongest token."""
    lines = [f"# {page.id}", "", page.label or "no label", ""]
    lines += [f"- {name.replace('_', ' ')}: {format_value(getattr(page, name), digits=4)}" for name in FACTS]
    if page.labels:
        lines += ["", "## Labels", ""]
        lines += [f"- {label.label} ({label.explainer}, votes {label.votes:+d})" for label in page.labels]
    if page.labelled_neighbours:
        lines += ["", "## Nearest features with a label, as a proxy", ""]
        lines += [f"- {near.id}, cosine {near.cosine:.2f}: {near.label}" for near in page.labelled_neighbours]
    if page.scores:
        lines += ["", "## Scores", ""]
        for score in page.scores:
            value = "nothing judged" if score.value is None else f"{score.value:.3g}"
            lines.append(f"- {score.method} of '{score.label}': {value}, n {score.n:,}, by {score.judge}")
    for title, effects in (("Raises", page.top_logits), ("Lowers", page.bottom_logits)):
        if effects:
            shown = ", ".join(f"{effect.token!r} {effect.value:+.2f}" for effect in effects)
            lines += ["", f"## {title} the logits of", "", shown]
    for band, examples in itertools.groupby(page.examples, key=lambda example: example.band):
        lines += ["", f"## Examples: {band}", ""]
        for example in examples:
            lines.append(f"- {example.activation:.4g}: {describe_example(example)['text']!r}")
    return "\n".join(lines) + "\n"
