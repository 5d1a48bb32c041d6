"""Windows of tokens as columns: cut to what the store holds, cleared of filler, and turned into sparse rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.batches import Windows

MOST_TOKENS = 512  # of a window, as schema.sql says
# A window's hash is the sum of its token ids, each times the number of its place: equal windows have equal hashes, and
# two of 10^8 different ones agree in both halves with a chance below 10^-22.
_PLACES = numpy.random.default_rng(20261128).integers(1, 1 << 63, size=(2, MOST_TOKENS), dtype=numpy.uint64) * 2 + 1


class Packed(NamedTuple):
    """Windows as rows: `rows` has a row each, with numbers of tokens in `pieces`, the tokens' bytes."""

    rows: pyarrow.Table
    pieces: pyarrow.Array


def within(length: numpy.ndarray) -> numpy.ndarray:
    """Return the place of every token in its window, (sum of lengths,)."""
    starts = numpy.cumsum(length) - length
    places: numpy.ndarray = numpy.arange(int(length.sum())) - numpy.repeat(starts, length)
    return places


def find_peaks(length: numpy.ndarray, values: numpy.ndarray) -> numpy.ndarray:
    """Return the place in its window of each one's strongest value, the first of equals; (n,) int64."""
    if not len(length):
        return numpy.zeros(0, numpy.int64)
    if (length == length[0]).all():
        peaks: numpy.ndarray = numpy.abs(values).reshape(len(length), -1).argmax(axis=1)
        return peaks
    starts = numpy.cumsum(length) - length
    strength = numpy.abs(values)
    most = numpy.maximum.reduceat(strength, starts)
    at = numpy.flatnonzero(strength == numpy.repeat(most, length))
    rows = numpy.searchsorted(starts, at, side="right") - 1
    _, first = numpy.unique(rows, return_index=True)
    peaks = at[first] - starts
    return peaks


def hash_windows(ids: numpy.ndarray, length: numpy.ndarray) -> numpy.ndarray:
    """Return two 64-bit hashes of each window's token ids, (n, 2) uint64."""
    if not len(length):
        return numpy.zeros((0, 2), numpy.uint64)
    if length[0] <= MOST_TOKENS and (length == length[0]).all():  # as most tools cut them
        grid = ids.astype(numpy.uint64).reshape(len(length), -1) + numpy.uint64(1)
        return numpy.stack([(grid * _PLACES[half, : length[0]]).sum(axis=1) for half in (0, 1)], axis=1)
    starts = numpy.cumsum(length) - length
    place = within(length)
    numbers = (ids.astype(numpy.uint64) + numpy.uint64(1)) * (place // MOST_TOKENS + 1).astype(numpy.uint64)
    place %= MOST_TOKENS
    halves = [numpy.add.reduceat(numbers * _PLACES[half][place], starts) for half in (0, 1)]
    return numpy.stack(halves, axis=1)


def cut_long(windows: Windows) -> tuple[Windows, int]:
    """Return windows of at most 512 tokens around what they were kept for, and how many were cut."""
    long = windows.length > MOST_TOKENS
    if not long.any():
        return windows, 0
    peaks = numpy.where(windows.position >= 0, windows.position, find_peaks(windows.length, windows.values))
    start = numpy.clip(peaks - MOST_TOKENS // 2, 0, numpy.maximum(windows.length - MOST_TOKENS, 0))
    length = numpy.minimum(windows.length, MOST_TOKENS)
    place, first = within(windows.length), numpy.repeat(start, windows.length)
    keep = (place >= first) & (place < first + MOST_TOKENS)
    position = numpy.where(windows.position >= 0, windows.position - start, -1)
    tokens = windows.tokens.filter(pyarrow.array(keep))
    return windows._replace(length=length, tokens=tokens, values=windows.values[keep], position=position), int(
        long.sum()
    )


def drop_filler(windows: Windows) -> tuple[Windows, dict[str, int]]:
    """Return the windows that say something, and how many do not: silent ones that a tool adds to fill a group, and
    those that are in two groups, of which the first stays."""
    if not windows.size:
        return windows, {}
    starts = numpy.cumsum(windows.length) - windows.length
    strongest = numpy.maximum.reduceat(numpy.abs(windows.values), starts)
    silent = strongest <= 0
    kept = windows.take(~silent)
    coded = encode(kept)
    hashes = hash_windows(coded.indices.to_numpy(), kept.length)
    same = [kept.feature, kept.position, strongest[~silent].astype(numpy.float32).view(numpy.uint32)]
    keys = numpy.stack([*(column.astype(numpy.uint64) for column in same), *hashes.T], axis=1)
    first = _find_first(keys)
    again = numpy.ones(kept.size, bool)
    again[first] = False
    return kept.take(~again), {"silent filler windows": int(silent.sum()), "windows twice": int(again.sum())}


def _find_first(keys: numpy.ndarray) -> numpy.ndarray:
    """Return the first row of each key, (n, columns) uint64: sums of few columns tell most apart, and are quicker."""
    sums = (keys * _PLACES[0, : keys.shape[1]]).sum(axis=1)
    _, first = numpy.unique(sums, return_index=True)
    if len(first) < len(keys):
        _, first = numpy.unique(keys, axis=0, return_index=True)
    return first


def encode(windows: Windows) -> pyarrow.DictionaryArray:
    """Return the tokens of all windows as numbers of their texts."""
    tokens = windows.tokens
    if isinstance(tokens, pyarrow.ChunkedArray):
        tokens = tokens.combine_chunks()
    return tokens if pyarrow.types.is_dictionary(tokens.type) else tokens.dictionary_encode()


def pack(windows: Windows) -> tuple[Packed, int]:
    """Return the windows as rows, and how many were cut to 512 tokens."""
    windows, cut = cut_long(windows)
    coded = encode(windows)
    length, values = windows.length, windows.values
    peaks = find_peaks(length, values)
    starts = numpy.cumsum(length) - length
    given = (windows.position >= 0) & (windows.position < length)
    given[given] &= values[(starts + numpy.maximum(windows.position, 0))[given]] != 0
    position = numpy.where(given, windows.position, peaks)
    activation = values[starts + position] if len(length) else values
    active = numpy.flatnonzero(values)
    rows = numpy.searchsorted(starts, active, side="right") - 1
    ends = numpy.concatenate([[0], numpy.cumsum(numpy.bincount(rows, minlength=len(length)))]).astype(numpy.int32)
    columns: dict[str, Any] = {
        "feature": windows.feature.astype(numpy.int32),
        "band": pyarrow.array(windows.band, pyarrow.string()).dictionary_encode(),
        "band_low": _floats(windows.low),
        "band_high": _floats(windows.high),
        "band_share": _floats(numpy.full(len(length), numpy.nan) if windows.share is None else windows.share),
        "repeated": pyarrow.nulls(len(length), pyarrow.bool_()) if windows.repeated is None else windows.repeated,
        "extra": pyarrow.array(windows.extra or [None] * len(length), pyarrow.string()),
        "length": length.astype(numpy.int32),
        "position": pyarrow.array(position.astype(numpy.int32), mask=activation == 0),
        "activation": activation.astype(numpy.float32),
        "offsets": _lists(ends, (active - starts[rows]).astype(numpy.uint16)),
        "activations": _lists(ends, values[active].astype(numpy.float32)),
        "tokens": _lists(numpy.append(starts, len(values)).astype(numpy.int32), coded.indices.to_numpy()),
    }
    return Packed(pyarrow.table(columns), coded.dictionary.cast(pyarrow.binary())), cut


def _lists(ends: numpy.ndarray, values: numpy.ndarray) -> pyarrow.ListArray:
    return pyarrow.ListArray.from_arrays(pyarrow.array(ends), pyarrow.array(values))


def _floats(values: numpy.ndarray) -> pyarrow.Array:
    """Return a float32 column, null where a number is not finite."""
    return pyarrow.array(values.astype(numpy.float32), mask=~numpy.isfinite(values))
