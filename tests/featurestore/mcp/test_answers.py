"""Answers keep to their budget, and cursors lead through all rows once."""

import json

import pytest

from featurestore.errors import BadRequest
from featurestore.mcp import answers
from featurestore.mcp.answers import Place


def walk(rows, budget, head=None, arguments=None):
    """Every row that answers give, one after another, and how many answers that took."""
    arguments = arguments or {"text": "x"}
    cursor, gathered, count = None, [], 0
    while True:
        page = answers.read_cursor(cursor, arguments)
        text = answers.fit(head or {}, "rows", rows[page.start :], arguments, page, budget)
        assert answers.count_tokens(text) <= budget
        answer = json.loads(text)
        gathered += answer["rows"]
        count += 1
        cursor = answer.get("next")
        if cursor is None:
            return gathered, count


@pytest.mark.parametrize("budget", [200, 201, 350, 2000])
def test_all_rows_come_once_within_the_budget(budget):
    rows = [{"id": f"tiny/0-res/{n}", "label": "words " * (n % 40)} for n in range(60)]
    gathered, count = walk(rows, budget, {"notes": ["something to know"]})
    assert [row["id"] for row in gathered] == [row["id"] for row in rows]
    assert count == 1 if budget == 2000 and len(str(rows)) < 4000 else count > 1


def test_a_row_larger_than_the_budget_is_cut_and_counted():
    rows = [{"id": "a", "text": "é" * 5000}, {"id": "b", "text": "short"}]
    gathered, count = walk(rows, 200)
    assert [row["id"] for row in gathered] == ["a", "b"] and count == 2
    assert gathered[0]["text"].endswith("…") and gathered[1]["text"] == "short"


def test_a_large_head_is_cut():
    text = answers.fit({"columns": ["x" * 500] * 90}, "rows", [[1] * 90], {}, Place(), 2000)
    assert answers.count_tokens(text) <= 2000
    assert json.loads(text)["rows"]


def test_numbers_are_short_and_empty_fields_are_left_out():
    assert answers.encode({"a": 0.123456789, "b": None, "c": [], "d": 0, "e": float("nan"), "f": 123456.789}) == (
        '{"a":0.1235,"d":0,"e":null,"f":123500.0}'
    )


@pytest.mark.parametrize("cursor", ["", "x", "00000000", "00000000.-1", "00000000.1.'", "00000000.1 ", "9" * 200])
def test_a_cursor_that_is_none(cursor):
    with pytest.raises(BadRequest, match="cursor"):
        answers.read_cursor(cursor, {"text": "x"})


def test_a_cursor_of_other_arguments():
    rows = [{"id": n, "text": "w" * 100} for n in range(20)]
    cursor = json.loads(answers.fit({}, "rows", rows, {"text": "x"}, Place(), 200))["next"]
    assert answers.read_cursor(cursor, {"text": "x", "budget": 5, "cursor": "y"}).start > 0
    with pytest.raises(BadRequest, match="other arguments"):
        answers.read_cursor(cursor, {"text": "y"})


@pytest.mark.parametrize("budget", [0, 199, 50_001, -5])
def test_budgets_that_cannot_be(budget):
    with pytest.raises(BadRequest, match="budget"):
        answers.check_budget(budget, 2000)
