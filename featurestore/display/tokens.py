"""Tokens with their activations as running text: shades, visible white space, and lines that may be folded. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
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
    return UNSEEN.sub(_show_control, text)


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
    line = 0
    for n, (token, value) in enumerate(zip(tokens, activations, strict=True)):
        parts, line = _split_lines(token, line, first, last, mark_breaks=bool(value))
        if value:
            title = f"{show_whitespace(token)}  {value:.3f}"
            far = all(part.far for part in parts)
            runs.append(Run(parts, choose_shade(value, largest), title, n == peak, far, value < 0))
            continue
        for part in parts:
            if runs and not runs[-1].title and runs[-1].far == part.far:
                runs[-1].parts.append(part)
            else:
                runs.append(Run([part], 0, "", False, part.far))
    return runs


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
