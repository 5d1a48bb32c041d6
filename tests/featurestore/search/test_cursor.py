"""Pages of one order of hits, and the cursors between them."""

import pytest

from featurestore import BadRequest, Query
from featurestore.search.cursor import DEEPEST, Match, cursor_at, in_order, start_of

QUERY = Query.of(text="self", k=2)


def test_deeper_rankings_add_what_was_not_shown():
    orders = {2: [5, 1], 8: [5, 9, 1, 3]}  # looking deeper puts 9 before 1

    def ranking(n):
        return [Match(number, 1.0) for number in orders[n]]

    assert [match.number for match in in_order(ranking, 2)] == [5, 1, 9, 3]


def test_no_ranking_is_asked_before_it_is_needed():
    depths = []

    def ranking(n):
        depths.append(n)
        return [Match(number, 1.0) for number in range(min(n, 5))]

    matches = in_order(ranking, 2)
    assert [next(matches).number, next(matches).number] == [0, 1]
    assert depths == [2]
    assert [match.number for match in matches] == [2, 3, 4]
    assert depths == [2, 8]


def test_a_cursor_says_where_its_page_begins():
    notes = []
    assert start_of(QUERY, 3, notes) == 0
    cursor = cursor_at(QUERY, 3, 40)
    assert start_of(Query.of(text="self", k=2, cursor=cursor), 3, notes) == 40
    assert notes == []
    assert start_of(Query.of(text="self", k=2, cursor=cursor), 4, notes) == 40
    assert notes == ["the store has changed since the page before, so hits may be missing here or come twice"]


def test_pages_end():
    assert cursor_at(QUERY, 3, DEEPEST) is None
    assert cursor_at(QUERY, 3, DEEPEST - 1) is not None


@pytest.mark.parametrize(
    ("cursor", "words"),
    [
        ("forged!", "'forged!' is no cursor"),
        (cursor_at(Query.of(text="other", k=2), 3, 2), "it belongs to another query"),
        (cursor_at(QUERY, 3, -1), "pages end after 100,000 hits"),
    ],
)
def test_other_cursors_are_refused(cursor, words):
    with pytest.raises(BadRequest, match=words):
        start_of(Query.of(text="self", k=2, cursor=cursor), 3, [])
