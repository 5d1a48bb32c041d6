"""What is counted of a span of features, cut into shards of features and put together again: what workers give up, what
is kept on disk, and what is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ingest.harvest.forward_pass import Counted
from ingest.statistics.coactivity import ContextSample, join_samples
from ingest.statistics.examples import OCTAVES

SHARD = 65_536  # features of one part

# Cells of examples that a feature has, and drawn rows, which all features share.
CELLS = {"top": 2, "sample": 2 * OCTAVES}
DRAWN = ("contexts", "tokens")

State = dict[str, numpy.ndarray]


def cut(counted: Counted, size: int = 0) -> Iterator[Counted]:
    """What is counted, by shards of the dictionary, in order."""
    size = size or SHARD
    if counted.last - counted.first <= size:
        yield counted
        return
    state = counted.state()
    for first in range(counted.first, counted.last, size):
        last = min(first + size, counted.last)
        some = _part(state, first - counted.first, last - counted.first)
        yield Counted.of_state(
            some | {"span": numpy.array([first, last])}, counted.accumulator.seed, counted.accumulator.device
        )


def join(parts: Sequence[Counted], device: str) -> Counted:
    """What `cut` has cut, in its order."""
    if len(parts) == 1 and parts[0].accumulator.device == device:
        return parts[0]
    firsts = [one.first - parts[0].first for one in parts]
    states = [one.state() for one in parts]
    whole: State = {
        "span": numpy.array([parts[0].first, parts[-1].last]),
        "counts": states[0]["counts"],
    }
    for name in states[0]:
        what, _, column = name.partition(".")
        if what == "tally":
            whole[name] = numpy.concatenate([state[name] for state in states], axis=_features_axis(column))
        elif what in CELLS:
            of_all = [
                state[name] + first * CELLS[what] if column == "cell" else state[name]
                for first, state in zip(firsts, states, strict=True)
            ]
            whole[name] = numpy.concatenate(of_all)
    for what in DRAWN:
        drawn = join_samples([(first, _columns(state, what)) for first, state in zip(firsts, states, strict=True)])
        whole |= {f"{what}.{column}": getattr(drawn, column) for column in ContextSample.column_types()}
    return Counted.of_state(whole, parts[0].accumulator.seed, device)


def _part(state: State, first: int, last: int) -> State:
    """The state of features first .. last - 1, counted from the state's first."""
    found: State = {"counts": state["counts"]}
    for name, values in state.items():
        what, _, column = name.partition(".")
        if what == "tally":
            found[name] = values[:, first:last] if _features_axis(column) else values[first:last]
    for what, cells in CELLS.items():
        begin, end = numpy.searchsorted(state[f"{what}.cell"], [first * cells, last * cells])
        ends = numpy.concatenate([[0], numpy.cumsum(state[f"{what}.counts"])])
        columns = {name.partition(".")[2]: values for name, values in state.items() if name.startswith(f"{what}.")}
        for column, values in columns.items():
            is_list = column in ("offsets", "values")
            found[f"{what}.{column}"] = values[ends[begin] : ends[end]] if is_list else values[begin:end]
        found[f"{what}.cell"] = found[f"{what}.cell"] - first * cells
    for what in DRAWN:
        some = _within(_columns(state, what), first, last)
        found |= {f"{what}.{column}": getattr(some, column) for column in ContextSample.column_types()}
    return found


def _features_axis(column: str) -> int:
    """Which axis of a tally's array goes over features: exact sums are two rows of words."""
    return 1 if column.startswith("sum") else 0


def _columns(state: State, what: str) -> ContextSample:
    return ContextSample(**{column: state[f"{what}.{column}"] for column in ContextSample.column_types()})


def _within(drawn: ContextSample, first: int, last: int) -> ContextSample:
    """The same rows with the features first .. last - 1 only, numbered from 0."""
    inside = (drawn.features >= first) & (drawn.features < last)
    row = numpy.repeat(numpy.arange(len(drawn)), drawn.counts)
    columns: dict[str, Any] = {column: getattr(drawn, column) for column in ContextSample.column_types()}
    columns["counts"] = numpy.bincount(row[inside], minlength=len(drawn)).astype(drawn.counts.dtype)
    columns["features"] = (drawn.features[inside] - first).astype(drawn.features.dtype)
    columns["peaks"] = drawn.peaks[inside]
    return ContextSample(**columns)
