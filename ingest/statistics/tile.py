"""Tiles: the non-zero activations of a dictionary on a few whole contexts, and hashes of their places.

Tensors on any device. A tile's entries are sorted by feature and, within a feature, by token, so the entries of one
feature in one context (a run) are neighbours.
"""

from __future__ import annotations

import dataclasses
import functools

import torch

_ALL = (1 << 64) - 1
_RUN = 1 << 20  # more than the tokens of any context


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
    """Entries, tokens and contexts; each refers to the next by row. Tensors are int64 unless noted.

    `token` is the row of an entry's token, `context` the row of a token's context; `position` is a token's index in its
    context, from 0, and `place` the index in the corpus of a context's first token.
    """

    feature: torch.Tensor  # (entries,) ascending
    token: torch.Tensor  # (entries,) ascending within a feature
    value: torch.Tensor  # (entries,) float32, never 0
    context: torch.Tensor  # (tokens,) ascending
    position: torch.Tensor  # (tokens,) ascending within a context
    document: torch.Tensor  # (contexts,)
    start: torch.Tensor  # (contexts,) index of the first token in its document
    length: torch.Tensor  # (contexts,) in tokens
    place: torch.Tensor  # (contexts,)
    held_out: torch.Tensor  # (contexts,) bool
    after_break: torch.Tensor | None = None  # (tokens,) bool: the token before ends a line or a sentence
    token_id: torch.Tensor | None = None  # (tokens,) in the vocabulary
    first: int = 0  # number in the dictionary of feature 0 of the tile

    @functools.cached_property
    def entry_context(self) -> torch.Tensor:
        """(entries,) int64: the row of each entry's context."""
        return self.context[self.token]

    @functools.cached_property
    def entry_position(self) -> torch.Tensor:
        """(entries,) int64: the index of each entry's token in its context."""
        return self.position[self.token]

    @functools.cached_property
    def is_first(self) -> torch.Tensor:
        """(tokens,) bool: whether a token is the first counted one of its context."""
        first = torch.ones(len(self.context), dtype=torch.bool, device=self.context.device)
        first[1:] = self.context[1:] != self.context[:-1]
        return first

    @functools.cached_property
    def side(self) -> torch.Tensor:
        """(entries,) int64: 1 for entries in held-out documents, 0 for the others."""
        return self.held_out[self.entry_context].long()

    @functools.cached_property
    def begins(self) -> torch.Tensor:
        """(runs,) int64: the first entry of each run."""
        is_first = torch.ones(len(self.feature), dtype=torch.bool, device=self.feature.device)
        context = self.entry_context
        is_first[1:] = (self.feature[1:] != self.feature[:-1]) | (context[1:] != context[:-1])
        return is_first.nonzero().squeeze(1)

    @functools.cached_property
    def run(self) -> torch.Tensor:
        """(entries,) int64: the number of each entry's run, from 0."""
        run = torch.zeros_like(self.feature)
        run[self.begins[1:]] = 1
        return run.cumsum(0)

    @functools.cached_property
    def sort_keys(self) -> torch.Tensor:
        """(entries,) int64, ascending: bisecting it for keys of `make_sort_keys` finds the entries of a window."""
        return self.make_sort_keys(self.run, self.entry_position)

    @staticmethod
    def make_sort_keys(run: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        """Return int64 keys that sort by run, then by position in its context."""
        return run * _RUN + position

    def hashes(self, seed: int) -> torch.Tensor:
        """Return int64 (entries,): a hash of each entry's document, token and feature."""
        document, position = self.document[self.context], self.start[self.context] + self.position
        # Mixed for each token first: there are fewer of them than of entries.
        places = mix_in(mix_in(begin_hash(seed, document), document), position)
        return finish_hash(mix_in(places[self.token], self.feature + self.first))


def hash_places(seed: int, *parts: torch.Tensor) -> torch.Tensor:
    """Return int64 hashes from 0 to 2^63 - 1 of rows of int64 numbers, one column per part.

    The finaliser of SplitMix64 (Steele, Lea, Flood 2014) over seed and parts: the same on every machine and device.
    """
    mixed = begin_hash(seed, parts[0])
    for part in parts:
        mixed = mix_in(mixed, part)
    return finish_hash(mixed)


def begin_hash(seed: int, like: torch.Tensor) -> torch.Tensor:
    """Return the state of hashes (n,) before any part; any integer is a seed."""
    return torch.full_like(like, _to_signed((seed + 1) & _ALL))


def mix_in(mixed: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Return the state of hashes (n,) after another part (n,)."""
    return _mix(mixed ^ (part + _to_signed(0x9E3779B97F4A7C15)))


def finish_hash(mixed: torch.Tensor) -> torch.Tensor:
    """Return the hashes of these states."""
    return _shift_right(mixed, 1)


def _mix(x: torch.Tensor) -> torch.Tensor:
    x = (x ^ _shift_right(x, 30)).mul_(_to_signed(0xBF58476D1CE4E5B9))
    x = x.bitwise_xor_(_shift_right(x, 27)).mul_(_to_signed(0x94D049BB133111EB))
    return x.bitwise_xor_(_shift_right(x, 31))


def _shift_right(x: torch.Tensor, n: int) -> torch.Tensor:
    """Shift right and fill with zeros, as unsigned arithmetic does, which torch does not have."""
    return (x >> n).bitwise_and_((1 << (64 - n)) - 1)


def _to_signed(x: int) -> int:
    """Return the int64 that has the bits of a 64-bit unsigned number."""
    return x - (1 << 64) if x >> 63 else x
