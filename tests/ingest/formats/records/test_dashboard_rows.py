"""Rows of features from records of dashboards: what is no number of 32 bits is refused, what is long is left out."""

import json

import pytest

from ingest.formats.batches import Effects
from ingest.formats.records import anthropic_rows
from ingest.formats.records.dashboard_rows import MOST_EXTRA, BadRecord, feature_columns, pack_extra


def test_a_record_becomes_columns():
    record = {"frac_nonzero": 0.5, "pos_str": ["▁a", "b"], "pos_values": [2, 1.5], "maxActApprox": 3}
    record |= {"freq_hist_data_bar_heights": [3, 1], "freq_hist_data_bar_values": [0.5, 1.5]}
    record |= {"neuron_alignment_indices": [7]}
    row = feature_columns(record, tokens=8)
    assert row["top_logits"] == Effects([" a", "b"], [2, 1.5]) and row["bottom_logits"] is None
    assert (row["histogram"], row["histogram_edges"]) == ([3, 1], [0.0, 2.0])
    assert (row["active_tokens"], row["density"], row["max_activation"]) == (4, 0.5, 3.0)
    assert json.loads(row["extra"]) == {"neuron_alignment_indices": [7]}


@pytest.mark.parametrize(
    "record",
    [
        {"maxActApprox": 1e308},
        {"maxActApprox": 10**400},
        {"maxActApprox": True},
        {"pos_str": ["a"], "pos_values": [1e39]},
        {"pos_str": ["a"], "pos_values": [10**400]},
        {"pos_str": ["a", "b"], "pos_values": [1]},
        {"frac_nonzero": 1.5},
    ],
)
def test_numbers_beyond_32_bits_and_lists_that_do_not_pair_are_refused(record):
    with pytest.raises(BadRecord):
        feature_columns(record, None)


@pytest.mark.parametrize(
    "record",
    [
        {"logit_effects": {"positives": [["a", 1e39]]}},
        {"logit_effects": {"positives": [["a", "nan"]]}},
        {"logit_effects": {"positives": [["a", 10**400]]}},
        {"logit_effects": {"positives": [["a"]]}},
        {"act_max": "x"},
    ],
)
def test_records_of_a_feature_with_numbers_that_are_none_are_refused(record):
    with pytest.raises(BadRecord):
        anthropic_rows.feature_columns(record)


def test_what_is_said_beyond_columns_stays_json_however_long():
    short, long = {"a": [1], "b": {"c": "d"}}, {"a": [1], "b": "x" * MOST_EXTRA}
    assert json.loads(pack_extra(short)) == short
    assert json.loads(pack_extra(long)) == {"a": [1], "left_out": ["b"]}
    assert pack_extra({}) is None
    row = anthropic_rows.feature_columns({"ablations": [0.5] * 400_000, "note": "n"})
    assert json.loads(row["extra"]) == {"note": "n", "left_out": ["ablations"]}
