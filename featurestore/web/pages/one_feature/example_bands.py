"""The examples of a feature in bands, those that repeat a stronger band apart, and a filter by text."""

from __future__ import annotations

import itertools
from typing import NamedTuple

from featurestore.display.tokens import Run, split_characters
from featurestore.values.examples import Example
from featurestore.values.feature import Feature

ShownExample = tuple[Example, list[Run]]


class Band(NamedTuple):
    """The examples of one band, each with its tokens as runs of text.

    `repeated` are those of the band that a band above shows already.
    """

    name: str
    examples: list[ShownExample]
    repeated: list[ShownExample]

    @property
    def weight(self) -> float | None:
        """The number of active tokens that each example stands for; None where that is not known."""
        return (self.examples or self.repeated)[0][0].weight


def group_bands(page: Feature, contains: str = "") -> list[Band]:
    """Return the bands of a feature's examples whose text has `contains` in it, without regard to case."""
    wanted = contains.casefold()
    bands: list[Band] = []
    shown: set[tuple[str, int, int]] = set()
    for name, examples in itertools.groupby(page.examples, key=lambda example: example.band):
        band = Band(name, [], [])
        for example in examples:
            if wanted not in "".join(example.tokens).casefold():
                continue
            # A window where the feature is silent repeats no activation.
            place = None if example.position is None else (example.corpus, example.document, example.position)
            pair = (example, split_characters(example.tokens, example.activations, page.max_activation, example.peak))
            (band.repeated if place in shown else band.examples).append(pair)
        shown |= {
            (example.corpus, example.document, example.position)
            for example, _ in band.examples
            if example.position is not None
        }
        if band.examples or band.repeated:
            bands.append(band)
    return bands
