"""Records of one feature as JSON, in the two generations of keys that Anthropic's browsers and circuit-tracer read."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy
import pyarrow

from ingest.formats.batches import Windows
from ingest.formats.records import activation_tables
from ingest.formats.records.activation_tables import NUMBER_LIST, TEXT_LIST
from ingest.formats.records.dashboard_rows import MOST_FLOAT, BadRecord, as_object, numbers, pack_extra
from ingest.formats.records.pieces import plain_text
from ingest.formats.rejects import Rejects

SCHEMA = pyarrow.schema(
    [
        ("feature", pyarrow.int64()),
        ("tokens", TEXT_LIST),
        ("values", NUMBER_LIST),
        ("position", pyarrow.int64()),
        ("extra", pyarrow.string()),
        ("band", pyarrow.string()),
        ("repeated", pyarrow.bool_()),
    ]
)
READ = {
    *("index", "examples_quantiles", "top_logits", "bottom_logits", "act_min", "act_max", "histogram"),
    *("activation_frequency", "act_buckets", "act_bucket_edges", "logit_buckets", "logit_bucket_edges"),
    *("logit_effects", "top_logit_values", "bottom_logit_values"),
}
READ_EXAMPLE = {
    *("tokens", "tokens_str_list", "tokens_acts_list", "train_token_ind", "is_repeated_datapoint"),
}


def feature_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns of stored.features. Raises BadRecord for a value of another type."""
    row: dict[str, Any] = {}
    extra = {name: value for name, value in record.items() if name not in READ and value not in (None, [], {})}
    statistics = as_object(record.get("statistics"))
    density = record.get("activation_frequency", statistics.get("density_frac"))
    most = record.get("act_max", statistics.get("global_max_act"))
    for name, value in (("density", density), ("max_activation", most)):
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or value != value):
            raise BadRecord(f"its {name} is no number")
    row["density"] = density if density is not None and 0 <= density <= 1 else None
    row["max_activation"] = most if most and abs(most) < 3e38 else None
    low, high = record.get("act_min"), record.get("act_max")
    are_ends = all(isinstance(end, int | float) and abs(end) <= MOST_FLOAT for end in (low, high))
    between = numbers({"ends": [low, high]}, "ends") if are_ends else None
    for column, counts, edges in (
        ("histogram", "histogram", between),
        ("histogram", "act_buckets", numbers(record, "act_bucket_edges")),
        ("logit_histogram", "logit_buckets", numbers(record, "logit_bucket_edges")),
    ):
        _add_histogram(row, extra, numbers(record, counts), edges, column, counts)
    _add_logits(row, extra, record)
    row["extra"] = pack_extra(extra)
    return row


def _add_histogram(
    row: dict[str, Any], extra: dict[str, Any], heights: list[float], edges: list[float] | None, column: str, name: str
) -> None:
    if not heights:
        return
    ascending = edges and all(a < b for a, b in itertools.pairwise(edges))
    whole = all(height >= 0 and float(height).is_integer() for height in heights)
    if ascending and whole and edges is not None and len(edges) in (2, len(heights) + 1):
        row[column], row[f"{column}_edges"] = [int(height) for height in heights], edges
    else:
        extra[name] = heights


def _add_logits(row: dict[str, Any], extra: dict[str, Any], record: Mapping[str, Any]) -> None:
    effects = as_object(record.get("logit_effects"))
    for ours, newer, older in (
        ("top_logits", "top_logits", "positives"),
        ("bottom_logits", "bottom_logits", "negatives"),
    ):
        pairs = effects.get(older)
        texts = record.get(newer) or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise BadRecord(f"its {newer} is no list of texts")
        values = numbers(record, newer.replace("logits", "logit_values"))
        if isinstance(pairs, list):
            try:
                row[ours] = [{"token": plain_text(str(token)), "value": float(value)} for token, value in pairs]
                is_finite = all(abs(effect["value"]) <= MOST_FLOAT for effect in row[ours])
            except (TypeError, ValueError, OverflowError):
                is_finite = False
            if not is_finite:
                raise BadRecord("its logit_effects are no pairs of a token and a number")
        elif texts and len(values) == len(texts):
            row[ours] = [{"token": plain_text(text), "value": value} for text, value in zip(texts, values, strict=True)]
        elif texts:
            extra[newer] = texts  # without values


def example_rows(
    path: str, place: str, feature: int, record: Mapping[str, Any], rejects: Rejects
) -> list[dict[str, Any]]:
    """Return the examples of a record as rows; those that are none are rejected. Raises BadRecord."""
    groups = record.get("examples_quantiles") or []
    if not isinstance(groups, list):
        raise BadRecord("its examples_quantiles are no list")
    rows = []
    for group in groups:
        if not isinstance(group, dict) or not isinstance(group.get("examples"), list):
            rejects.add(path, place, "a group of examples is no object with examples", repr(group))
            continue
        name = str(group.get("quantile_name") or "top")
        band = "top" if name.casefold().startswith("top") else name[:200]
        for number, example in enumerate(group["examples"]):
            row = _example(path, f"{place}, {name}[{number}]", feature, example, band, rejects)
            if row is not None:
                rows.append(row)
    return rows


def _example(path: str, place: str, feature: int, example: Any, band: str, rejects: Rejects) -> dict[str, Any] | None:
    if not isinstance(example, dict):
        rejects.add(path, place, "it is no object", repr(example))
        return None
    repeated = example.get("is_repeated_datapoint")
    extra = {name: value for name, value in example.items() if name not in READ_EXAMPLE and value not in (None, [], {})}
    row = {
        "feature": feature,
        "tokens": example.get("tokens", example.get("tokens_str_list")),
        "values": example.get("tokens_acts_list"),
        "position": example.get("train_token_ind"),
        "extra": pack_extra(extra),
        "band": band,
        "repeated": None if repeated is None else bool(repeated),
    }
    try:
        table = pyarrow.Table.from_pylist([row], SCHEMA)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        rejects.add(path, place, "a field has another type than an example's", repr(example)[:400])
        return None
    for reason in activation_tables.find_problems(table).values():
        rejects.add(path, place, reason, repr(example)[:400])
        return None
    return row


def make_windows(rows: list[dict[str, Any]]) -> Windows | None:
    """Return the windows of example rows, in the groups that the tool names."""
    if not rows:
        return None
    table = pyarrow.Table.from_pylist(rows, SCHEMA)
    windows = activation_tables.make_windows(table)
    repeated = [bool(value) for value in table["repeated"].to_pylist()]
    said = table["repeated"].null_count < table.num_rows
    return windows._replace(band=table["band"].to_pylist(), repeated=numpy.array(repeated, bool) if said else None)
