"""Values as notebooks show them: HTML that needs nothing beside it, no script, style sheet, font or network. Pure.

Every text is escaped. Colours that carry meaning bring their own background, so that light and dark themes both can be read.
Values are those of featurestore/values/, which are above this module.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from featurestore.display import charts

FONT = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45"
CODE = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px"
QUIET = "opacity:.7"
LINE = "border-top:1px solid rgba(128,128,128,.35)"
FIRST, EACH = 8, 3  # examples shown of the top band, and of each sampled one; the rest is folded away
ROWS = 50  # of a table
PALE, STRONG = (224, 242, 239), (61, 180, 168)  # backgrounds of the weakest and the strongest activation
TEXT_LIMIT = 400  # characters of a cell


def feature(page: Any) -> str:
    """A feature's page: label, statistics, histogram, logits, and examples with their activations."""
    label = escape(page.label) if page.label else f'<span style="{QUIET}">no label</span>'
    parts = [
        f'<div style="font-size:17px;font-weight:600">{label}</div>',
        f'<div style="{QUIET}"><code>{escape(page.id)}</code> {escape(page.state)}</div>',
        _labels(page.labels),
        _facts(
            ("fires on", f"{charts.percent(page.density)} of tokens"),
            ("active tokens", charts.number(page.active_tokens)),
            ("in contexts", charts.number(page.active_contexts)),
            ("largest", charts.number(page.max_activation)),
            ("mean", charts.number(page.mean_activation)),
            ("sd", charts.number(page.std_activation)),
            ("decoder norm", charts.number(page.decoder_norm)),
        ),
        '<div style="display:flex;flex-wrap:wrap;gap:0 28px">',
        _histogram(page.histogram),
        _logits("raises", page.top_logits),
        _logits("lowers", page.bottom_logits),
        "</div>",
        *(
            _band(band, list(some), page.max_activation)
            for band, some in itertools.groupby(page.examples, key=lambda one: one.band)
        ),
    ]
    if not page.examples:
        parts.append(f'<div style="{QUIET}">no examples</div>')
    return _card("".join(parts))


def dictionary(one: Any) -> str:
    """What is known of a dictionary."""
    written = "" if one.hook_point_out is None else f", writes {one.hook_point_out}"
    facts = _facts(
        ("features", charts.number(one.d_sae)),
        ("reads", f"{one.hook_point}, width {one.d_in}{written}"),
        ("decoder width", charts.number(one.d_out)),
        ("architecture", one.architecture),
        ("space", one.space),
        ("tokens counted", charts.number(one.tokens_counted)),
        ("context", charts.number(one.context_size)),
    )
    name = f'<div style="font-size:17px;font-weight:600"><code>{escape(one.dictionary)}</code></div>'
    return _card(
        f'{name}<div style="{QUIET}">{escape(one.kind)} of {escape(one.model)}, by {escape(one.tool)}</div>{facts}'
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", notes: Sequence[str] = ()) -> str:
    """Rows under headings; a cell that is `Html` stands as it is, numbers are short, long texts are cut."""
    listed = list(rows)
    cell = f"{LINE};padding:3px 12px 3px 0;vertical-align:top"
    head = "".join(f'<th style="text-align:left;padding:3px 12px 3px 0">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{cell};text-align:left">{_cell(value)}</td>' for value in row) + "</tr>"
        for row in listed[:ROWS]
    )
    said = [*notes, f"{len(listed) - ROWS:,} more rows"] if len(listed) > ROWS else list(notes)
    return _card(
        (f"<div>{title}</div>" if title else "")
        + f'<table style="border-collapse:collapse;{FONT};margin:4px 0"><tr>{head}</tr>{body}</table>'
        + "".join(f'<div style="{QUIET}">{escape(note)}</div>' for note in said)
    )


def on_text(tokens: Sequence[str], activations: Sequence[float], largest: float | None) -> Html:
    """Tokens as running text, with the activation behind each that is lit."""
    return Html(_tokens(charts.runs(tokens, activations, largest)))


def code(text: str) -> Html:
    """An id, or other text that is to be copied."""
    return Html(f'<code style="white-space:nowrap">{escape(text)}</code>')


class Html(str):
    """Text that is HTML already."""


def _card(inside: str) -> str:
    return f'<div style="{FONT};max-width:960px">{inside}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, Html):
        return value
    text = charts.number(value)
    return escape(text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…")


def _facts(*facts: tuple[str, str]) -> str:
    shown = (
        f'<span style="margin-right:18px"><span style="{QUIET}">{escape(name)}</span> {escape(value)}</span> '
        for name, value in facts
    )
    return f'<div style="margin:6px 0">{"".join(shown)}</div>'


def _labels(labels: Sequence[Any]) -> str:
    # The first is the headline already.
    shown = [f"<b>{escape(one.explainer)}</b> {escape(one.label)}" for one in labels[1:]]
    if labels:
        shown.insert(0, f'<span style="{QUIET}">labelled by</span> <b>{escape(labels[0].explainer)}</b>')
    lines = "".join(f"<div>{line}</div>" for line in shown)
    return f'<div style="margin:4px 0">{lines}</div>' if lines else ""


def _histogram(counts: tuple[int, ...] | None) -> str:
    if not counts or not any(counts):
        return ""
    drawn = charts.activation_histogram(counts)
    axis = 'stroke="currentColor" stroke-opacity=".5"'
    text = 'fill="currentColor" font-size="11"'
    bars = "".join(
        f'<rect x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}" fill="#0f9488">'
        f"<title>{escape(bar.title)}</title></rect>"
        for bar in drawn.bars
        if bar.height
    )
    ticks = "".join(
        f'<line x1="{tick.x}" y1="{drawn.height}" x2="{tick.x}" y2="{drawn.height + 4}" {axis}/>'
        f'<text x="{tick.x}" y="{drawn.height + 17}" text-anchor="middle" {text}>{escape(tick.text)}</text>'
        for tick in drawn.ticks
    )
    return (
        f'<div><div style="{QUIET}">tokens by activation</div>'
        f'<svg width="{drawn.width}" height="{drawn.height + 22}" viewBox="0 0 {drawn.width} {drawn.height + 22}" '
        f'role="img" aria-label="Histogram of activations on a logarithmic axis" style="max-width:100%">'
        f'<text x="0" y="{drawn.top - 5}" {text}>{charts.number(drawn.most)}</text>{bars}'
        f'<line x1="0" y1="{drawn.height}" x2="{drawn.width}" y2="{drawn.height}" {axis}/>{ticks}</svg></div>'
    )


def _logits(title: str, effects: Sequence[Any]) -> str:
    if not effects:
        return ""
    rows = "".join(
        f'<div style="display:flex;gap:12px;justify-content:space-between"><code>{escape(charts.visible(one.token))}</code>'
        f"<span>{one.value:+.2f}</span></div>"
        for one in effects[:FIRST]
    )
    return f'<div style="min-width:110px"><div style="{QUIET}">{title}</div>{rows}</div>'


def _band(band: str, examples: list[Any], largest: float | None) -> str:
    title = "Strongest examples" if band == "top" else f"Sampled from activations in {band}"
    shown = FIRST if band == "top" else EACH
    rows = [_example(one, largest) for one in examples]
    more = "".join(rows[shown:])
    folded = f'<details><summary style="{QUIET}">{len(rows) - shown} more</summary>{more}</details>' if more else ""
    return f'<div style="margin-top:10px;font-weight:600">{escape(title)}</div>{"".join(rows[:shown])}{folded}'


def _example(one: Any, largest: float | None) -> str:
    runs = charts.runs(one.tokens, one.activations, largest, one.position - one.start)
    where = one.document_name or str(one.document)
    return (
        f'<div style="{LINE};padding:3px 0;display:flex;gap:12px"><span style="min-width:44px;text-align:right;{QUIET}">'
        f'{one.activation:.2f}</span><span style="flex:1">{_tokens(runs)}</span>'
        f'<span style="{QUIET};max-width:180px;overflow-wrap:anywhere">{escape(where)}</span></div>'
    )


def _tokens(runs: Iterable[charts.Run]) -> str:
    shown = []
    for run in runs:
        text = "".join(part.text for part in run.parts if not part.far)
        if not text:
            continue
        if not run.shade:
            shown.append(escape(text))
            continue
        colour = "#{:02x}{:02x}{:02x}".format(
            *(round(a + (b - a) * run.shade / charts.SHADES) for a, b in zip(PALE, STRONG, strict=True))
        )
        peak = ";outline:1px solid #0f766e" if run.peak else ""
        shown.append(
            f'<span title="{escape(run.title)}" style="background:{colour};color:#000;border-radius:2px{peak}">{escape(text)}</span>'
        )
    return f'<span style="{CODE};white-space:pre-wrap;overflow-wrap:anywhere">{"".join(shown)}</span>'
