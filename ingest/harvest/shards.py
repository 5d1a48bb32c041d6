"""Shards: statistics of a span of features, cut at fixed features and joined again.

Workers return shards, checkpoints hold them, and each is written as one part of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ingest.harvest.forward_pass import FeatureStatistics
from ingest.statistics.coactivity import ContextSample, join_samples
from ingest.statistics.examples import OCTAVES
from ingest.statistics.token_table import find_features, move_features

SHARD = 65_536  # features

# Cells of examples per feature; and samples, whose rows all features share.
CELLS = {"top": 2, "sample": 2 * OCTAVES}
SAMPLES = ("contexts", "tokens")

State = dict[str, numpy.ndarray]


def cut_shards(statistics: FeatureStatistics, size: int | None = None) -> Iterator[FeatureStatistics]:
    """Yield the shards of `statistics`, of `size` features each (SHARD unless given), in order."""
    size = size or SHARD
    if statistics.last - statistics.first <= size:
        yield statistics
        return
    state, accumulator = statistics.state(), statistics.accumulator
    for first in range(statistics.first, statistics.last, size):
        last = min(first + size, statistics.last)
        part = _cut_state(state, first - statistics.first, last - statistics.first)
        part["span"] = numpy.array([first, last])
        yield FeatureStatistics.from_state(part, accumulator.seed, accumulator.device)


def join_shards(parts: Sequence[FeatureStatistics], device: str) -> FeatureStatistics:
    """Return the statistics that `cut_shards` cut into these parts, on `device`."""
    if len(parts) == 1 and parts[0].accumulator.device == device:
        return parts[0]
    firsts = [part.first - parts[0].first for part in parts]
    states = [part.state() for part in parts]
    whole: State = {
        "span": numpy.array([parts[0].first, parts[-1].last]),
        "counts": states[0]["counts"],
        "scale": states[0]["scale"],
        "vocabulary.keys": numpy.concatenate(
            [move_features(state["vocabulary.keys"], first) for first, state in zip(firsts, states, strict=True)]
        ),
        "vocabulary.counts": numpy.concatenate([state["vocabulary.counts"] for state in states]),
    }
    for name in states[0]:
        table, _, column = name.partition(".")
        if table == "tally":
            whole[name] = numpy.concatenate([state[name] for state in states], axis=_find_feature_axis(column))
        elif table in CELLS:
            offsets = [first * CELLS[table] if column == "cell" else 0 for first in firsts]
            arrays = [
                state[name] + offset if offset else state[name] for offset, state in zip(offsets, states, strict=True)
            ]
            whole[name] = numpy.concatenate(arrays)
    for table in SAMPLES:
        sample = join_samples(
            [(first, _read_sample(state, table)) for first, state in zip(firsts, states, strict=True)]
        )
        whole |= {f"{table}.{column}": getattr(sample, column) for column in ContextSample.column_types()}
    return FeatureStatistics.from_state(whole, parts[0].accumulator.seed, device)


def _cut_state(state: State, first: int, last: int) -> State:
    """Return the state of features first .. last - 1 of `state`, renumbered from 0."""
    rows = find_features(state["vocabulary.keys"], first, last)
    part: State = {
        "counts": state["counts"],
        "scale": state["scale"],
        "vocabulary.keys": move_features(state["vocabulary.keys"][rows], -first),
        "vocabulary.counts": state["vocabulary.counts"][rows],
    }
    for name, values in state.items():
        table, _, column = name.partition(".")
        if table == "tally":
            part[name] = values[:, first:last] if _find_feature_axis(column) else values[first:last]
    for table, cells in CELLS.items():
        begin, end = numpy.searchsorted(state[f"{table}.cell"], [first * cells, last * cells])
        ends = numpy.concatenate([[0], numpy.cumsum(state[f"{table}.counts"])])
        columns = {name.partition(".")[2]: values for name, values in state.items() if name.startswith(f"{table}.")}
        for column, values in columns.items():
            is_list = column in ("offsets", "values")
            part[f"{table}.{column}"] = values[ends[begin] : ends[end]] if is_list else values[begin:end]
        part[f"{table}.cell"] = part[f"{table}.cell"] - first * cells
    for table in SAMPLES:
        sample = _select_features(_read_sample(state, table), first, last)
        part |= {f"{table}.{column}": getattr(sample, column) for column in ContextSample.column_types()}
    return part


def _find_feature_axis(column: str) -> int:
    """Return the axis of features in a tally's array: exact sums are two rows of words."""
    return 1 if column.startswith("sum") else 0


def _read_sample(state: State, table: str) -> ContextSample:
    return ContextSample(**{column: state[f"{table}.{column}"] for column in ContextSample.column_types()})


def _select_features(sample: ContextSample, first: int, last: int) -> ContextSample:
    """Return the same rows with features first .. last - 1 only, renumbered from 0."""
    inside = (sample.features >= first) & (sample.features < last)
    row = numpy.repeat(numpy.arange(len(sample)), sample.counts)
    columns: dict[str, Any] = {column: getattr(sample, column) for column in ContextSample.column_types()}
    columns["counts"] = numpy.bincount(row[inside], minlength=len(sample)).astype(sample.counts.dtype)
    columns["features"] = (sample.features[inside] - first).astype(sample.features.dtype)
    columns["peaks"] = sample.peaks[inside]
    return ContextSample(**columns)
