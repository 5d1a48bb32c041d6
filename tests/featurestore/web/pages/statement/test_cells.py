"""Cells of rows: values as text, long ones cut in two without loss, and a page that stays light."""

import datetime

import pytest

from featurestore.web.pages.statement.cells import LONG, PAGE_CHARACTERS, SHORT, make_cell, make_rows, write_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (7, "7"),
        (0.1 + 0.2, "0.3"),
        (1.23456789e-7, "1.23457e-07"),
        (float("nan"), "nan"),
        (["a,{b", "é"], '["a,{b", "é"]'),
        ([{"token": "x", "value": 0.1 + 0.2}], '[{"token": "x", "value": 0.3}]'),
        ([None, True], "[null, true]"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ([datetime.date(2026, 1, 2)], '["2026-01-02"]'),
        ("a\x1b[1m\u202eb", "a\\u001b[1m\\u202eb"),
    ],
)
def test_values_as_text(value, text):
    assert write_value(value) == text or make_cell(value).text == text


def test_a_long_cell_is_cut_and_nothing_of_it_is_lost():
    text = "".join(str(n % 10) for n in range(1000))
    cell = make_cell(text)
    assert (len(cell.text), cell.text + cell.rest, cell.omitted) == (SHORT, text, 0)
    huge = make_cell("x" * (LONG + 5))
    assert (len(huge.text) + len(huge.rest), huge.omitted) == (LONG, 5)
    assert make_cell("y" * SHORT) == ("y" * SHORT, "", 0, False)


def test_null_is_told_from_the_text_null():
    assert [make_cell(value).is_null for value in (None, "null")] == [True, False]


def test_a_page_has_as_many_rows_as_stay_light():
    rows = [["z" * 1000]] * 1000
    assert 0 < len(make_rows(rows)) <= PAGE_CHARACTERS / 1000
    assert len(make_rows([["w" * 500_000]])) == 1
    assert len(make_rows([[n] for n in range(1000)])) == 1000
