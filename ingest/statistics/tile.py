"""A tile: all non-zero activations of a dictionary on some whole contexts, compact; and hashes of their places.

Tensors on any device. A tile's entries are ordered by feature and, within a feature, by token, so that a run (one feature
in one context) is a stretch of neighbours.
"""

from __future__ import annotations

import dataclasses
import functools

import torch

_ALL = (1 << 64) - 1
_LINE = 1 << 20  # above any context's length


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """Entries, tokens and contexts; each refers to the next by row. int64 where nothing else is said.

    `token` gives an entry's row among the tokens, `context` a token's among the contexts; `position` is a token's place
    in its context, from 0, and `place` the place in the corpus of a context's first token.
    """

    feature: torch.Tensor  # (entries,) ascending
    token: torch.Tensor  # (entries,) ascending within a feature
    value: torch.Tensor  # (entries,) float32, never 0
    context: torch.Tensor  # (tokens,) ascending
    position: torch.Tensor  # (tokens,) ascending within a context
    document: torch.Tensor  # (contexts,)
    start: torch.Tensor  # (contexts,) first token in the document
    length: torch.Tensor  # (contexts,) tokens
    place: torch.Tensor  # (contexts,)
    held_out: torch.Tensor  # (contexts,) bool
    first: int = 0  # the dictionary's feature that is 0 here

    @functools.cached_property
    def entry_context(self) -> torch.Tensor:
        """Each entry's context."""
        return self.context[self.token]

    @functools.cached_property
    def entry_position(self) -> torch.Tensor:
        """Each entry's place in its context."""
        return self.position[self.token]

    @functools.cached_property
    def side(self) -> torch.Tensor:
        """1 for each entry in a document that is held out, 0 for the others."""
        return self.held_out[self.entry_context].long()

    @functools.cached_property
    def begins(self) -> torch.Tensor:
        """Where runs begin."""
        new = torch.ones(len(self.feature), dtype=torch.bool, device=self.feature.device)
        where = self.entry_context
        new[1:] = (self.feature[1:] != self.feature[:-1]) | (where[1:] != where[:-1])
        return new.nonzero().squeeze(1)

    @functools.cached_property
    def run(self) -> torch.Tensor:
        """Each entry's run, counted from 0."""
        run = torch.zeros_like(self.feature)
        run[self.begins[1:]] = 1
        return run.cumsum(0)

    @functools.cached_property
    def line(self) -> torch.Tensor:
        """A number of each entry that ascends over all, so that a window's entries are found by bisection: see `on_line`."""
        return self.on_line(self.run, self.entry_position)

    @staticmethod
    def on_line(run: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """The number of a position in a run."""
        return run * _LINE + position

    def hashes(self, seed: int) -> torch.Tensor:
        """A hash of each entry's place."""
        context = self.entry_context
        return hash_of(
            seed, self.document[context], self.start[context] + self.entry_position, self.feature + self.first
        )


def hash_of(seed: int, *parts: torch.Tensor) -> torch.Tensor:
    """Hashes, int64 from 0 to 2^63 - 1, of tuples of numbers, the same on every machine and device: the finaliser of
    SplitMix64 (Steele, Lea, Flood 2014) over seed and parts."""
    mixed = torch.full_like(parts[0], _signed((seed + 1) & _ALL))  # any integer is a seed
    for part in parts:
        mixed = _mix(mixed ^ (part + _signed(0x9E3779B97F4A7C15)))
    return _shifted(mixed, 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: torch.Tensor, n: int) -> torch.Tensor:
    """Shifted right, with zeros coming in: torch has no unsigned arithmetic, whose results these are bit for bit."""
    return (x >> n) & ((1 << (64 - n)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >> 63 else x
