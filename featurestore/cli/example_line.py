"""One line of a terminal for an example: the tokens around its strongest one, with the active ones marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from featurestore.display.characters import merge_activations

if TYPE_CHECKING:
    from rich.text import Text

STRONG = "black on bright_green"  # more than half of the feature's largest activation
ACTIVE = "black on green"
BEGIN, END = "<<", ">>"  # around active tokens where there are no colours


def draw_example(
    tokens: Sequence[str], activations: Sequence[float], largest: float | None, width: int, colours: bool
) -> Text:
    """Return the text around the strongest token, at most `width` characters, with that token in its middle.

    Active tokens have a background, or without `colours` stand between << and >>. What is cut off is an ellipsis.
    `largest` is the feature's largest activation.
    """
    from rich.text import Text

    values = merge_activations(tokens, activations)
    texts = [token.replace("\n", "⏎").replace("\r", "␍").replace("\t", "⇥") for token in tokens]
    peak = max(range(len(values)), key=lambda place: abs(values[place]), default=0)
    marks = [""] * len(texts) if colours else _mark_runs(texts, values)
    pieces = [mark or text for mark, text in zip(marks, texts, strict=True)]
    first, last = _find_window([len(piece) for piece in pieces], peak, width - 2)
    line = Text("…" if first else "")
    for place in range(first, last):
        strong = abs(values[place]) > 0.5 * abs(largest or 1)
        style = (STRONG if strong else ACTIVE) if colours and values[place] else ""
        line.append(pieces[place], style=style)
    line.append("…" if last < len(texts) else "")
    line.truncate(width, overflow="ellipsis")
    return line


def _mark_runs(texts: Sequence[str], values: Sequence[float]) -> list[str]:
    """Return the texts of active tokens, those at the ends of a run of such tokens with the mark.

    Tokens without text, as the later parts of a character are, part no run.
    """
    marked = [""] * len(texts)
    places = [place for place, text in enumerate(texts) if text]
    for number, place in enumerate(places):
        if values[place]:
            before = number > 0 and values[places[number - 1]]
            after = number + 1 < len(places) and values[places[number + 1]]
            marked[place] = f"{'' if before else BEGIN}{texts[place]}{'' if after else END}"
    return marked


def _find_window(sizes: Sequence[int], peak: int, width: int) -> tuple[int, int]:
    """Return first and last + 1 of the pieces around `peak` that fit into `width`, taken from both sides in turn."""
    first, last = peak, min(peak + 1, len(sizes))
    taken = sum(sizes[first:last])
    while True:
        left = sizes[first - 1] if first else None
        right = sizes[last] if last < len(sizes) else None
        before, after = sum(sizes[first:peak]), sum(sizes[peak + 1 : last])
        if left is not None and taken + left <= width and (right is None or before <= after or taken + right > width):
            first, taken = first - 1, taken + left
        elif right is not None and taken + right <= width:
            last, taken = last + 1, taken + right
        else:
            return first, last
