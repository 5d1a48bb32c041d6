"""Where features fire, as far as their stored examples tell: tokens of documents, and stretches of text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from featurestore.display.characters import merge_activations
from featurestore.values.examples import Example

# A token counts as one of a feature's own where it fires at least this share of the example's activation on it.
STRONG = 0.5

Document = tuple[str, int]  # corpus, number
Place = tuple[str, int, int]  # corpus, document, position


class Stretch(NamedTuple):
    """Windows of a document that overlap, as one; `features` are the places in the list of those that have them."""

    document: Document
    start: int
    end: int
    features: frozenset[int]


class Firing:
    """Where one feature fires in its stored examples. Windows in which it is silent are left out."""

    def __init__(self, examples: Iterable[Example]):
        self.examples: list[Example] = []  # each position once, the top band first
        self.at: dict[Place, float] = {}
        strengths: dict[str, float] = {}
        peaks: set[Place] = set()
        for example in examples:
            if example.position is None:
                continue
            peak = (example.corpus, example.document, example.position)
            if peak not in peaks:
                peaks.add(peak)
                self.examples.append(example)
            for n, value in enumerate(example.activations):
                if value:
                    self.at[example.corpus, example.document, example.start + n] = value
            self._note_tokens(example, strengths)
        self.tokens = tuple(sorted(strengths, key=lambda token: (-strengths[token], token)))

    @staticmethod
    def _note_tokens(example: Example, strengths: dict[str, float]) -> None:
        values = merge_activations(example.tokens, example.activations)
        for token, value in zip(example.tokens, values, strict=True):
            if token and value and abs(value) >= STRONG * abs(example.activation):
                strengths[token] = max(strengths.get(token, 0.0), abs(value))


def merge_windows(firings: Sequence[Firing]) -> list[Stretch]:
    """Return the windows of all examples, those that overlap merged, by document and place."""
    windows = sorted(
        ((example.corpus, example.document), example.start, example.start + len(example.tokens), n)
        for n, firing in enumerate(firings)
        for example in firing.examples
    )
    stretches: list[Stretch] = []
    for document, start, end, n in windows:
        last = stretches[-1] if stretches else None
        if last is not None and last.document == document and start < last.end:
            stretches[-1] = Stretch(document, last.start, max(last.end, end), last.features | {n})
        else:
            stretches.append(Stretch(document, start, end, frozenset([n])))
    return stretches


def share(first: Iterable[object], second: Iterable[object]) -> float | None:
    """Return the Jaccard index of two sets: what is in both over what is in either. None where both are empty."""
    mine, theirs = set(first), set(second)
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else None
