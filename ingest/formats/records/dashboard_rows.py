"""Rows of features from records of dashboards, as SAEDashboard writes them and Neuronpedia stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ingest.formats.batches import Effects
from ingest.formats.records.pieces import plain_text

# Lists that the store has no columns for. Correlated features were looked for in one batch of features alone.
EXTRA = (
    "neuron_alignment_indices",
    "neuron_alignment_values",
    "neuron_alignment_l1",
    "correlated_neurons_indices",
    "correlated_neurons_pearson",
    "correlated_neurons_l1",
    "correlated_features_indices",
    "correlated_features_pearson",
    "correlated_features_l1",
    "decoder_weights_dist",
    "topkCosSimIndices",
    "topkCosSimValues",
    "vectorLabel",
)
MOST_COUNT = 1 << 62
MOST_EXTRA, MOST_NAME = 1 << 20, 200  # characters of what is kept as JSON, and of a name in it
MOST_FLOAT = 3.4e38  # of 32 bits, as numbers of features are kept


class BadRecord(ValueError):
    """A record that cannot be a feature; its text is the cause, without the record's values."""


def feature_columns(record: Mapping[str, Any], tokens: int | None) -> dict[str, Any]:
    """Return columns of stored.features. `tokens` is how many tokens were counted, if that is known.

    The density is the sum of the histogram over `tokens`, which is exact, where it agrees with the one that is printed
    to five decimals. Raises BadRecord for a value of another type.
    """
    row: dict[str, Any] = {}
    extra: dict[str, Any] = {name: record[name] for name in EXTRA if record.get(name)}
    density = _number(record, "frac_nonzero")
    _add_histogram(row, extra, record, "freq_hist", "histogram")
    _add_histogram(row, extra, record, "logits_hist", "logit_histogram")
    counted = sum(row["histogram"]) if "histogram" in row else None
    if counted is not None and tokens:
        exact = counted / tokens
        if density is None or density < 0 or abs(exact - density) <= 1.01e-5:
            row["active_tokens"], density = counted, exact
        else:
            extra["histogram_sum"] = counted
    elif (
        density == 0 and tokens and "freq_hist_data_bar_heights" in record and not record["freq_hist_data_bar_heights"]
    ):
        row["active_tokens"] = 0
    if density is not None and 0 <= density <= 1:
        row["density"] = density
    elif density is not None and density != -1:
        raise BadRecord("its frac_nonzero is no share")
    row["top_logits"] = _logits(record, "pos")
    row["bottom_logits"] = _logits(record, "neg")
    most = _number(record, "maxActApprox")
    if most and row.get("active_tokens") != 0:
        row["max_activation"] = most
    row["extra"] = pack_extra(extra)
    return row


def pack_extra(extra: Mapping[str, Any]) -> str | None:
    """Return what a record says beyond the columns as JSON, None for nothing.

    What makes it longer than a megabyte is left out, and `left_out` names it.
    """
    if not extra:
        return None
    cells = {name: msgspec.json.encode(value) for name, value in extra.items()}
    if sum(map(len, cells.values())) <= MOST_EXTRA:
        return msgspec.json.encode(extra).decode()
    kept: dict[str, Any] = {}
    size = 0
    for name in sorted(cells, key=lambda name: len(cells[name])):
        size += len(cells[name])
        if size <= MOST_EXTRA:
            kept[name] = extra[name]
    return msgspec.json.encode(kept | {"left_out": [name[:MOST_NAME] for name in cells if name not in kept]}).decode()


def as_object(value: Any) -> dict[str, Any]:
    """Return a value of JSON if it is an object, else {}."""
    return value if isinstance(value, dict) else {}


def equal_edges(centres: list[float]) -> list[float] | None:
    """Return the two ends of bins of equal width with these centres; None where they are no such centres."""
    if len(centres) < 2:
        return None
    width = (centres[-1] - centres[0]) / (len(centres) - 1)
    if not width > 0:
        return None
    return [centres[0] - width / 2, centres[-1] + width / 2]


def numbers(record: Mapping[str, Any], name: str) -> list[float]:
    """Return a list of finite numbers, [] where there is none. Raises BadRecord for anything else."""
    values = record.get(name)
    if values is None:
        return []
    try:
        is_finite = isinstance(values, list) and math.fsum(map(abs, values)) <= MOST_FLOAT
    except (TypeError, ValueError, OverflowError):
        is_finite = False
    if not is_finite:
        raise BadRecord(f"its {name} is no list of numbers")
    finite: list[float] = values
    return finite


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= MOST_FLOAT:
        raise BadRecord(f"its {name} is no number")
    return float(value)


def _add_histogram(
    row: dict[str, Any], extra: dict[str, Any], record: Mapping[str, Any], prefix: str, column: str
) -> None:
    heights = numbers(record, f"{prefix}_data_bar_heights")
    centres = numbers(record, f"{prefix}_data_bar_values")
    if not heights:
        return
    edges = equal_edges(centres) if len(centres) == len(heights) else None
    counts = list(map(int, heights))
    if edges is None or counts != heights or min(counts) < 0 or max(counts) > MOST_COUNT:
        extra[f"{prefix}_data_bar_heights"], extra[f"{prefix}_data_bar_values"] = heights, centres
        return
    row[column] = counts
    row[f"{column}_edges"] = edges


def _logits(record: Mapping[str, Any], sign: str) -> Effects | None:
    texts, values = record.get(f"{sign}_str"), numbers(record, f"{sign}_values")
    if texts is None:
        return None
    if not isinstance(texts, list) or set(map(type, texts)) - {str}:
        raise BadRecord(f"its {sign}_str is no list of texts")
    if len(texts) != len(values):
        raise BadRecord(f"its {sign}_str and {sign}_values have different lengths")
    if "▁" in "".join(texts):
        texts = list(map(plain_text, texts))
    return Effects(texts, values)
