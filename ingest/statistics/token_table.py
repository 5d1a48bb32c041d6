"""How often each feature fires on each token of the vocabulary: exact, mergeable, and as large as what was met."""

from __future__ import annotations

import numpy
import torch

# Keys that are kept as they come before they are sorted and counted.
SORT_EVERY = 2_000_000
_TOKEN_BITS = 32


class TokenTable:
    """Counts of (feature, token) pairs.

    A pair is one int64 key, the feature in its upper and the token in its lower 32 bits. Runs of sorted, different keys
    with their counts are each at least twice as long as the next, so adding n entries sorts each some log n times.
    """

    def __init__(self) -> None:
        self._new: list[torch.Tensor] = []
        self._new_size = 0
        self._runs: list[tuple[numpy.ndarray, numpy.ndarray]] = []

    def add(self, feature: torch.Tensor, token: torch.Tensor) -> None:
        """Count entries: `feature` (n,) int64 from 0, and `token` (n,) int64, the ids of their tokens."""
        self._new.append((feature << _TOKEN_BITS) | token)
        self._new_size += len(feature)
        if self._new_size >= SORT_EVERY:
            self._sort_new()

    def add_counts(self, keys: numpy.ndarray, counts: numpy.ndarray) -> None:
        """Add what `counts` returned elsewhere."""
        self._push(keys, counts)

    def counts(self) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return the keys met so far, int64 (pairs,) ascending, and how often each was met (pairs,)."""
        self._sort_new()
        while len(self._runs) > 1:
            self._merge_last()
        return self._runs[0] if self._runs else (numpy.empty(0, numpy.int64), numpy.empty(0, numpy.uint32))

    def _sort_new(self) -> None:
        if not self._new:
            return
        new = torch.cat(self._new)
        self._new, self._new_size = [], 0
        if new.device.type == "cpu":
            keys = numpy.sort(new.numpy())
            begins = find_begins(keys)
            self._push(keys[begins], numpy.diff(numpy.append(begins, len(keys))))
        else:  # different keys are fewer, and only these leave the device
            unique, counts = torch.unique(new, return_counts=True)
            self._push(unique.cpu().numpy(), counts.cpu().numpy())

    def _push(self, keys: numpy.ndarray, counts: numpy.ndarray) -> None:
        if not len(keys):
            return
        self._runs.append((keys, shrink(counts)))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge_last()

    def _merge_last(self) -> None:
        (first, first_counts), (second, second_counts) = self._runs[-2:]
        keys = numpy.concatenate([first, second])
        order = numpy.argsort(keys, kind="stable")  # two runs that are sorted already: one merge
        keys = keys[order]
        begins = find_begins(keys)
        counts = numpy.concatenate([first_counts, second_counts])[order]
        self._runs[-2:] = [(keys[begins], shrink(numpy.add.reduceat(counts, begins, dtype=numpy.int64)))]


def summarise_tokens(keys: numpy.ndarray, counts: numpy.ndarray, features: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Return int64 (features,) twice: on how many different tokens each fires, and how often on the most frequent."""
    feature = keys >> _TOKEN_BITS
    distinct = numpy.bincount(feature, minlength=features).astype(numpy.int64)
    most = numpy.zeros(features, numpy.int64)
    if len(keys):
        begins = find_begins(feature)
        most[feature[begins]] = numpy.maximum.reduceat(counts, begins)
    return distinct, most


def find_features(keys: numpy.ndarray, first: int, last: int) -> slice:
    """Return where the keys of features first .. last - 1 stand among sorted keys."""
    return slice(*numpy.searchsorted(keys, [first << _TOKEN_BITS, last << _TOKEN_BITS]).tolist())


def move_features(keys: numpy.ndarray, by: int) -> numpy.ndarray:
    """Return the keys with `by` added to each feature."""
    moved: numpy.ndarray = keys + (by << _TOKEN_BITS)
    return moved


def find_begins(numbers: numpy.ndarray) -> numpy.ndarray:
    """Return int64: where each run of equal neighbours begins."""
    return numpy.flatnonzero(numpy.concatenate([[True], numbers[1:] != numbers[:-1]])) if len(numbers) else numbers


def shrink(counts: numpy.ndarray) -> numpy.ndarray:
    """Return counts as uint32 where they fit, which nearly all do."""
    return counts.astype(numpy.uint32) if counts.max(initial=0) < 1 << 32 else counts.astype(numpy.int64)
