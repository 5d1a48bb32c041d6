"""Tokens with their activations as running text: shades, visible white space, and lines that may be folded. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from featurestore.display.characters import find_first, merge_activations

SHADES = 10
# What cannot be seen, or turns the text around it: controls but tab and line break, marks and overrides of direction,
# spaces without width, soft hyphens, variation tags. Joiners stay: emoji and several scripts need them.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    "|[\U000e0000-\U000e007f]"
)


class TokenPart(NamedTuple):
    """A piece of text. `mark`: it stands for a character that cannot be seen. `far`: it may be folded away."""

    text: str
    mark: bool
    far: bool


class Run(NamedTuple):
    """One token with an activation (shade 1 to 10), or all the silent text up to the next one (shade 0).

    `negative` is its activation's sign.
    """

    parts: list[TokenPart]
    shade: int
    title: str
    peak: bool
    far: bool
    negative: bool = False


def choose_shade(value: float, largest: float | None) -> int:
    """Return 0 (silent) to 10 (as strong as the largest activation of the feature)."""
    if not value or not largest:
        return 0
    return max(1, min(SHADES, round(SHADES * abs(value) / abs(largest))))


def show_whitespace(token: str) -> str:
    """Return a token with visible signs for spaces, tabs, line breaks and controls, and ∅ for an empty one."""
    return show_controls(token.replace(" ", "·").replace("\n", "⏎").replace("\t", "⇥")) or "∅"


def show_controls(text: str) -> str:
    """Return text with a visible sign for each character that cannot be seen, or turns the text around it."""
    return text if text.isprintable() else UNSEEN.sub(_show_control, text)  # what is printable can be seen


def _show_control(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨{code:04X}⟩"


def split_runs(tokens: Sequence[str], activations: Sequence[float], largest: float | None, peak: int = -1) -> list[Run]:
    """Return the text of the tokens in runs: each token with an activation is one, each silent stretch another.

    `activations` has one value for each token; `largest` is the feature's largest, for the shades. With `peak`, the
    place of a token, all lines are far but its own and the nearest line with text on either side.
    """
    lines = "".join(tokens).split("\n")
    first, last = 0, len(lines)
    if peak >= 0:
        first, last = _find_near_lines(lines, sum(token.count("\n") for token in tokens[:peak]))
    runs: list[Run] = []
    silent: list[str] = []  # the text since the last run; `silent_far` holds for all of it
    silent_far = False

    def end_silence() -> None:
        if silent:
            runs.append(Run([TokenPart("".join(silent), False, silent_far)], 0, "", False, silent_far))
            silent.clear()

    line = 0
    for n, (token, value) in enumerate(zip(tokens, activations, strict=True)):
        if value:
            end_silence()
            parts, line = _split_lines(token, line, first, last, mark_breaks=True)
            title = f"{show_whitespace(token)}  {value:.3f}"
            far = all(part.far for part in parts)
            runs.append(Run(parts, choose_shade(value, largest), title, n == peak, far, value < 0))
            continue
        if "\n" in token:
            parts, line = _split_lines(token, line, first, last, mark_breaks=False)
            texts = [(part.text, part.far) for part in parts]
        else:  # most tokens
            texts = [(token, not first <= line <= last)] if token else []
        for text, far in texts:
            if far != silent_far:
                end_silence()
            silent.append(text)
            silent_far = far
    end_silence()
    return runs


def render_runs(runs: Iterable[Run], values: bool = False) -> str:
    """Return runs as HTML for pages, whose style sheet shades them; with `values` each has its activation to show."""
    return f'<span class="tokens" dir="auto">{"".join(_render_run(run, values) for run in runs)}</span>'


def _render_run(run: Run, values: bool) -> str:
    if not run.shade:
        text = escape(show_controls("".join(part.text for part in run.parts)))
        return f'<span class="far">{text}</span>' if run.far else text
    names = f"t s{run.shade}{' neg' * run.negative}{' peak' * run.peak}{' far' * run.far}"
    value = f' data-v="{run.title.rpartition("  ")[2]}"' if values else ""
    shown = "".join(_render_part(part, run.far) for part in run.parts)
    return f'<span class="{names}" title="{escape(run.title)}"{value}>{shown}</span>'


def _render_part(part: TokenPart, run_far: bool) -> str:
    if part.mark:
        return f'<span class="nl{" far" * part.far}">{part.text}</span>'
    text = escape(show_controls(part.text))
    return f'<span class="far">{text}</span>' if part.far and not run_far else text


def split_characters(
    tokens: Sequence[str], activations: Sequence[float], largest: float | None, peak: int = -1
) -> list[Run]:
    """Return `split_runs` of whole characters: one of several tokens has the largest activation among them."""
    return split_runs(tokens, merge_activations(tokens, activations), largest, find_first(tokens, peak))


def _find_near_lines(lines: list[str], at: int) -> tuple[int, int]:
    """Return the numbers of the nearest lines with text before and after line `at`; `at` itself without one."""
    before = next((n for n in range(at - 1, -1, -1) if lines[n].strip()), at)
    after = next((n for n in range(at + 1, len(lines)) if lines[n].strip()), at)
    return before, after


def _split_lines(token: str, line: int, first: int, last: int, mark_breaks: bool) -> tuple[list[TokenPart], int]:
    """Return the parts of a token that begins on line `line`, and the line it ends on; `first` to `last` are near."""
    parts = []
    for n, text in enumerate(token.split("\n")):
        if n:
            if mark_breaks:
                parts.append(TokenPart("⏎", True, not first <= line <= last))
            # The break after the last near line would leave a blank one behind.
            parts.append(TokenPart("\n", False, not first <= line < last))
            line += 1
        if text:
            parts.append(TokenPart(text, False, not first <= line <= last))
    return parts, line


def find_bars(activations: Iterable[float]) -> list[tuple[int, float]]:
    """Return (place, height) for each activation that is not zero; the strongest has height 1, none less than 0.12."""
    values = [abs(value) for value in activations]
    most = max(values, default=0.0)
    return [(n, round(max(0.12, value / most), 3)) for n, value in enumerate(values) if value]
