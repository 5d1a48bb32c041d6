"""Rows of features for pages: thin files give back whole rows, and say what they lack."""

import numpy
import pyarrow
import pytest

import featurestore
from featurestore.tables import feature_rows
from featurestore.tables.schema import arrow_schema

ROWS, FIRST = 5000, 65_536


def features(known, **columns):
    """A shard of features of which `known` have a density, and other columns for all of them."""
    density = [0.25 if number in known else None for number in range(ROWS)]
    given = {
        "dictionary": ["m/s"] * ROWS,
        "feature": numpy.arange(FIRST, FIRST + ROWS, dtype=numpy.int32),
        "density": density,
        "top_logits": [
            [{"token": "a", "value": 1.0, "id": None}] if number in known else None for number in range(ROWS)
        ],
    } | columns
    wanted = arrow_schema("features")
    arrays = [
        pyarrow.array(given[field.name], field.type) if field.name in given else pyarrow.nulls(ROWS, field.type)
        for field in wanted
    ]
    return pyarrow.table(arrays, schema=wanted)


@pytest.mark.parametrize("known", [set(), {0}, {7, 2999, ROWS - 1}, set(range(ROWS))], ids=len)
def test_thin_rows_are_read_whole(tmp_path, known):
    table = features(known)
    path = tmp_path / "rows.arrow"
    assert feature_rows.write_thin(path, table) == ROWS
    rows = feature_rows.FeatureRows(path)
    assert rows.table().equals(table)
    for number in {0, 1, 7, 8, 2999, 3000, ROWS - 1}:
        assert rows.row(number) == table.slice(number, 1).to_pylist()[0]
    assert rows.row(7, ("density", "label")) == {"density": 0.25 if 7 in known else None, "label": None}


def test_what_is_not_known_takes_no_place(tmp_path):
    assert feature_rows.write_thin(tmp_path / "few.arrow", features({7})) == ROWS
    assert feature_rows.write_thin(tmp_path / "all.arrow", features(set(range(ROWS)))) == ROWS
    assert (tmp_path / "few.arrow").stat().st_size < 10_000
    assert (tmp_path / "all.arrow").stat().st_size < 60 * ROWS


def test_rows_with_every_column_are_written_as_they_are(tmp_path):
    table = features(set(range(ROWS))).select(["dictionary", "feature", "density"])
    feature_rows.write_thin(tmp_path / "thin.arrow", table)
    feature_rows.write(tmp_path / "whole.arrow", table)
    assert (tmp_path / "thin.arrow").read_bytes() == (tmp_path / "whole.arrow").read_bytes()


@pytest.mark.parametrize("known", [{7}, set(range(ROWS))], ids=len)
def test_a_row_beyond_the_last_of_a_thin_file_is_told(tmp_path, known):
    path = tmp_path / "rows.arrow"
    feature_rows.write_thin(path, features(known))
    with pytest.raises(featurestore.BadStore, match=rf"rows\.arrow has no row {ROWS}"):
        feature_rows.FeatureRows(path).row(ROWS)


@pytest.mark.parametrize(
    "left_out", [b"{", b'{"dictionary": 1}', b'{"dictionary":"m/s","first":0,"rows":1,"schema":"x","starts":null}']
)
def test_a_damaged_description_is_told(tmp_path, left_out):
    path = tmp_path / "rows.arrow"
    table = pyarrow.table({"feature": pyarrow.array([0], pyarrow.int32())})
    feature_rows.write(path, table.replace_schema_metadata({feature_rows.THIN: left_out}))
    with pytest.raises(featurestore.BadStore, match=r"rows\.arrow is damaged"):
        feature_rows.FeatureRows(path)
