"""Values as HTML for notebooks, without script, style sheet, font or network. Pure.

Every text is escaped. Colours that carry meaning bring their own background, to be readable in light and dark themes.
The values are those of featurestore/values/. That folder imports this one, so their types are not named here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from featurestore.display.charts import draw_activations
from featurestore.display.numbers import format_percent, format_value
from featurestore.display.text import describe_state, shorten
from featurestore.display.tokens import SHADES, Run, show_controls, show_whitespace, split_characters

FONT = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45"
CODE = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px"
QUIET = "opacity:.7"
LINE = "border-top:1px solid rgba(128,128,128,.35)"
FIRST, EACH = 8, 3  # examples shown of the top band, and of each sampled one; the rest is folded away
ROWS = 50  # of a table
# Backgrounds of activations. A theme shows through the weak ones, so that they are faint in light and dark notebooks;
# the strong ones are nearly opaque and bring their own text colour.
HEAT, COLD = (20, 184, 166), (240, 140, 50)  # positive and negative
STRONG_SHADE = 8
TEXT_LIMIT = 400  # characters of a cell


def render_feature(page: Any) -> str:
    """Return the HTML of a Feature: label, statistics, histogram, logits, and examples with their activations."""
    label = escape(page.label) if page.label else f'<span style="{QUIET}">no label</span>'
    parts = [
        f'<div style="font-size:17px;font-weight:600">{label}</div>',
        f'<div style="{QUIET}"><code>{escape(page.id)}</code> {escape(describe_state(page))}</div>',
        _labels(page.labels),
        _facts(
            ("fires on", f"{format_percent(page.density)} of tokens"),
            ("active tokens", format_value(page.active_tokens)),
            ("in contexts", format_value(page.active_contexts)),
            ("largest", format_value(page.max_activation)),
            ("mean", format_value(page.mean_activation)),
            ("sd", format_value(page.std_activation)),
            ("decoder norm", format_value(page.decoder_norm)),
        ),
        '<div style="display:flex;flex-wrap:wrap;gap:0 28px">',
        _histogram(page.histogram, page.histogram_edges),
        _logits("raises", page.top_logits),
        _logits("lowers", page.bottom_logits),
        "</div>",
        *(
            _band(band, list(examples), page.max_activation)
            for band, examples in itertools.groupby(page.examples, key=lambda example: example.band)
        ),
    ]
    if not page.examples:
        parts.append(f'<div style="{QUIET}">no examples</div>')
    return _card("".join(parts))


def render_dictionary(dictionary: Any) -> str:
    """Return the HTML of a Dictionary: what it reads and writes, and what it was counted on."""
    target = "" if dictionary.hook_point_out is None else f", writes {dictionary.hook_point_out}"
    facts = _facts(
        ("features", format_value(dictionary.d_sae)),
        ("reads", f"{dictionary.hook_point or '–'}, width {format_value(dictionary.d_in)}{target}"),
        ("decoder width", format_value(dictionary.d_out)),
        ("architecture", dictionary.architecture or "–"),
        ("space", dictionary.space or "–"),
        ("tokens counted", format_value(dictionary.tokens_counted)),
        ("context", format_value(dictionary.context_size)),
    )
    name = f'<div style="font-size:17px;font-weight:600"><code>{escape(dictionary.dictionary)}</code></div>'
    origin = f"{escape(dictionary.kind)} of {escape(dictionary.model)}, by {escape(dictionary.tool)}"
    return _card(f'{name}<div style="{QUIET}">{origin}</div>{facts}')


def render_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", notes: Sequence[str] = ()
) -> str:
    """Return the HTML of rows under headings, the first 50, and the notes below them.

    A cell that is `Html` stands as it is; numbers are short, texts have at most 400 characters.
    """
    listed = list(rows)
    cell = f"{LINE};padding:3px 12px 3px 0;vertical-align:top"
    head = "".join(f'<th style="text-align:left;padding:3px 12px 3px 0">{escape(name)}</th>' for name in columns)
    body = "".join(
        "<tr>" + "".join(f'<td style="{cell};text-align:left">{_cell(value)}</td>' for value in row) + "</tr>"
        for row in listed[:ROWS]
    )
    lines = [*notes, f"{len(listed) - ROWS:,} more rows"] if len(listed) > ROWS else list(notes)
    return _card(
        (f"<div>{title}</div>" if title else "")
        + f'<table style="border-collapse:collapse;{FONT};margin:4px 0"><tr>{head}</tr>{body}</table>'
        + "".join(f'<div style="{QUIET}">{escape(line)}</div>' for line in lines)
    )


def render_tokens(tokens: Sequence[str], activations: Sequence[float], largest: float | None) -> Html:
    """Return tokens as running text, each with an activation on a background that is stronger the stronger it is."""
    return Html(_runs(split_characters(tokens, activations, largest)))


def render_code(text: str) -> Html:
    """Return an id, or another text that is to be copied, in a font of one width."""
    return Html(f'<code style="white-space:nowrap">{escape(text)}</code>')


class Html(str):
    """Text that is HTML already."""


class Frame(Html):
    """HTML that a notebook shows, and that is text for other pages."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return f"<Frame of {len(self):,} characters of HTML>"


def render_frame(url: str, title: str, width: str, height: int) -> Frame:
    """Return the HTML of a frame that shows a page; `width` as CSS has it, `height` in pixels."""
    return Frame(
        f'<iframe src="{escape(url)}" title="{escape(title)}" width="{escape(width)}" height="{int(height)}" '
        'loading="lazy" style="border:0"></iframe>'
    )


def _card(inside: str) -> str:
    return f'<div style="{FONT};max-width:960px">{inside}</div>'


def _cell(value: Any) -> str:
    if isinstance(value, Html):
        return value
    return escape(shorten(format_value(value), TEXT_LIMIT))


def _facts(*facts: tuple[str, str]) -> str:
    shown = (
        f'<span style="margin-right:18px"><span style="{QUIET}">{escape(name)}</span> {escape(value)}</span> '
        for name, value in facts
    )
    return f'<div style="margin:6px 0">{"".join(shown)}</div>'


def _labels(labels: Sequence[Any]) -> str:
    # The first is the headline already.
    shown = [f"<b>{escape(label.explainer)}</b> {escape(label.label)}" for label in labels[1:]]
    if labels:
        shown.insert(0, f'<span style="{QUIET}">labelled by</span> <b>{escape(labels[0].explainer)}</b>')
    lines = "".join(f"<div>{line}</div>" for line in shown)
    return f'<div style="margin:4px 0">{lines}</div>' if lines else ""


def _histogram(counts: tuple[int, ...] | None, edges: tuple[float, ...] | None) -> str:
    if not counts or not any(counts):
        return ""
    drawing = draw_activations(counts, edges)
    axis = 'stroke="currentColor" stroke-opacity=".5"'
    text = 'fill="currentColor" font-size="11"'
    bars = "".join(
        f'<rect x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}" fill="#0f9488">'
        f"<title>{escape(bar.title)}</title></rect>"
        for bar in drawing.bars
        if bar.height
    )
    ticks = "".join(
        f'<line x1="{tick.x}" y1="{drawing.height}" x2="{tick.x}" y2="{drawing.height + 4}" {axis}/>'
        f'<text x="{tick.x}" y="{drawing.height + 17}" text-anchor="middle" {text}>{escape(tick.text)}</text>'
        for tick in drawing.ticks
    )
    width, height = drawing.width, drawing.height + 22  # with room for the texts of the ticks
    return (
        f'<div><div style="{QUIET}">tokens by activation</div>'
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="Histogram of activations on a logarithmic axis" style="max-width:100%">'
        f'<text x="0" y="{drawing.top - 5}" {text}>{format_value(drawing.most)}</text>{bars}'
        f'<line x1="0" y1="{drawing.height}" x2="{drawing.width}" y2="{drawing.height}" {axis}/>{ticks}</svg></div>'
    )


def _logits(title: str, effects: Sequence[Any]) -> str:
    if not effects:
        return ""
    rows = "".join(
        '<div style="display:flex;gap:12px;justify-content:space-between">'
        f"<code>{escape(show_whitespace(effect.token))}</code><span>{effect.value:+.2f}</span></div>"
        for effect in effects[:FIRST]
    )
    return f'<div style="min-width:110px"><div style="{QUIET}">{title}</div>{rows}</div>'


def _band(band: str, examples: list[Any], largest: float | None) -> str:
    title = "Strongest examples" if band == "top" else f"Sampled from activations in {band}"
    shown = FIRST if band == "top" else EACH
    rows = [_example(example, largest) for example in examples]
    more = "".join(rows[shown:])
    folded = f'<details><summary style="{QUIET}">{len(rows) - shown} more</summary>{more}</details>' if more else ""
    return f'<div style="margin-top:10px;font-weight:600">{escape(title)}</div>{"".join(rows[:shown])}{folded}'


def _example(example: Any, largest: float | None) -> str:
    runs = split_characters(example.tokens, example.activations, largest, example.peak)
    where = example.document_name or str(example.document)
    row, number = f"{LINE};padding:3px 0;display:flex;gap:12px", f"min-width:44px;text-align:right;{QUIET}"
    return (
        f'<div style="{row}"><span style="{number}">'
        f'{example.activation:.2f}</span><span style="flex:1">{_runs(runs)}</span>'
        f'<span style="{QUIET};max-width:180px;overflow-wrap:anywhere">{escape(where)}</span></div>'
    )


def _runs(runs: Iterable[Run]) -> str:
    """Return the near parts of the runs as HTML."""
    shown = []
    for run in runs:
        text = show_controls("".join(part.text for part in run.parts if not part.far))
        if not text:
            continue
        if not run.shade:
            shown.append(escape(text))
            continue
        peak = ";outline:1px solid #0f9488" if run.peak else ""
        style = f"{_shade(run)};border-radius:2px{peak}"
        shown.append(f'<span title="{escape(run.title)}" style="{style}">{escape(text)}</span>')
    return f'<span style="{CODE};white-space:pre-wrap;overflow-wrap:anywhere">{"".join(shown)}</span>'


def _shade(run: Run) -> str:
    """Return the style of an activation's background, and of its text where that is strong."""
    red, green, blue = COLD if run.negative else HEAT
    if run.shade < STRONG_SHADE:
        return f"background:rgba({red},{green},{blue},{0.07 * run.shade:.2f})"
    return f"background:rgba({red},{green},{blue},{0.84 + 0.16 * (run.shade - 8) / (SHADES - 8):.2f});color:#000"
