"""Activations in columns, as dashboards have them (a token and a value for each place), made into windows."""

from __future__ import annotations

from typing import Any

import numpy
import pyarrow
import pyarrow.compute

from ingest.formats.batches import Windows
from ingest.formats.records.pieces import MOST_PIECE, plain

TEXT_LIST, NUMBER_LIST = pyarrow.list_(pyarrow.string()), pyarrow.list_(pyarrow.float32())
MOST_FEATURE = 999_999_999


def find_problems(table: pyarrow.Table) -> dict[int, str]:
    """Return why rows are no activations, by row number. The table has columns feature, tokens and values."""
    tokens, values = _combine_column(table, "tokens"), _combine_column(table, "values")
    reasons: dict[int, str] = {}

    def mark(mask: Any, reason: str) -> None:
        for row in numpy.flatnonzero(numpy.asarray(mask)).tolist():
            reasons.setdefault(row, reason)

    feature = _combine_column(table, "feature")
    mark(feature.is_null(), "its feature is no number")
    numbers = feature.fill_null(0).to_numpy()
    mark((numbers < 0) | (numbers > MOST_FEATURE), "its feature is no index")
    mark(tokens.is_null(), "it has no tokens")
    mark(values.is_null(), "it has no values")
    lengths = [pyarrow.compute.list_value_length(column).fill_null(0).to_numpy() for column in (tokens, values)]
    mark(lengths[0] == 0, "it has no tokens")
    mark(lengths[0] != lengths[1], "its tokens and values have different lengths")
    for column, flat_problem, reason in (
        (tokens, pyarrow.compute.is_null, "one of its tokens is no text"),
        (tokens, lambda flat: pyarrow.compute.greater(_size(flat), MOST_PIECE), f"a token has over {MOST_PIECE} bytes"),
        (values, lambda flat: ~numpy.isfinite(flat.fill_null(numpy.nan).to_numpy()), "a value is no finite number"),
    ):
        flat = column.flatten()
        if pyarrow.types.is_dictionary(flat.type) and not flat.null_count:
            bad = numpy.asarray(flat_problem(flat.dictionary))
            bad = bad[flat.indices.to_numpy()] if bad.any() else bad
        else:
            bad = numpy.asarray(flat_problem(flat))
        if bad.any():
            parents = pyarrow.compute.list_parent_indices(column).to_numpy()
            mark(numpy.bincount(parents[bad], minlength=len(column)) > 0, reason)
    return reasons


def make_windows(table: pyarrow.Table) -> Windows:
    """Return the windows of a table without problems: feature, tokens, values, position, low, high and share.

    The last four may be null; `low` is -1 in the group of the strongest activations.
    """
    tokens, values = _combine_column(table, "tokens"), _combine_column(table, "values")
    low, high, share = (_floats(table, name) for name in ("low", "high", "share"))
    is_top = ~(low >= 0) | ~numpy.isfinite(high)
    ends = zip(low.tolist(), high.tolist(), is_top.tolist(), strict=True)
    band = ["top" if top else f"[{begin:g}, {end:g})" for begin, end, top in ends]
    flat = tokens.flatten()
    flat = flat if pyarrow.types.is_dictionary(flat.type) else flat.dictionary_encode()
    return Windows(
        feature=table["feature"].to_numpy().astype(numpy.int64),
        length=pyarrow.compute.list_value_length(tokens).to_numpy().astype(numpy.int64),
        tokens=plain(flat),
        values=values.flatten().to_numpy().astype(numpy.float32),
        position=_positions(table),
        band=band,
        low=numpy.where(is_top, numpy.nan, low),
        high=numpy.where(is_top, numpy.nan, high),
        share=numpy.where((share >= 0) & (share <= 1), share, numpy.nan),
        extra=table["extra"].to_pylist() if "extra" in table.column_names else None,
    )


def _combine_column(table: pyarrow.Table, name: str) -> pyarrow.Array:
    column = table[name].combine_chunks()
    return column if isinstance(column, pyarrow.Array) else pyarrow.concat_arrays(column.chunks)


def _size(flat: pyarrow.Array) -> pyarrow.Array:
    return pyarrow.compute.binary_length(flat).fill_null(0)


def _floats(table: pyarrow.Table, name: str) -> numpy.ndarray:
    if name not in table.column_names:
        return numpy.full(table.num_rows, numpy.nan)
    values: numpy.ndarray = table[name].cast(pyarrow.float64()).to_numpy()
    return values


def _positions(table: pyarrow.Table) -> numpy.ndarray:
    if "position" not in table.column_names:
        return numpy.full(table.num_rows, -1, numpy.int64)
    positions: numpy.ndarray = table["position"].combine_chunks().fill_null(-1).to_numpy().astype(numpy.int64)
    return positions
