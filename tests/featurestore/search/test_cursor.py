"""Pages of one order of hits, and the cursors between them."""

import pytest

from featurestore import BadRequest, Query
from featurestore.notes import NoteCode, Notes
from featurestore.search.cursor import DEEPEST, Match, cursor_at, in_order, start_of
from tests.support import tiny


@pytest.fixture(scope="module")
def store(either):
    return either


QUERY = Query.of({"text": "self", "k": 2})


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
    notes = Notes()
    assert start_of(QUERY, 3, notes) == 0
    cursor = cursor_at(QUERY, 3, 40)
    assert start_of(Query.of({"text": "self", "k": 2, "cursor": cursor}), 3, notes) == 40
    assert notes.sentences == ()
    assert start_of(Query.of({"text": "self", "k": 2, "cursor": cursor}), 4, notes) == 40
    assert notes.fields() == {
        "notes": ("the store has changed since the page before, so hits may be missing here or come twice",),
        "note_codes": (NoteCode("store_changed"),),
    }


def test_pages_end():
    assert cursor_at(QUERY, 3, DEEPEST) is None
    assert cursor_at(QUERY, 3, DEEPEST - 1) is not None


@pytest.mark.parametrize(
    ("cursor", "words"),
    [
        ("forged!", "'forged!' is no cursor"),
        (cursor_at(Query.of({"text": "other", "k": 2}), 3, 2), "it belongs to another query"),
        (cursor_at(QUERY, 3, -1), "pages end after 100,000 hits"),
    ],
)
def test_other_cursors_are_refused(cursor, words):
    with pytest.raises(BadRequest, match=words):
        start_of(Query.of({"text": "self", "k": 2, "cursor": cursor}), 3, Notes())


@pytest.mark.parametrize(
    "either", ["local"], indirect=True
)  # tests/featurestore/test_doors.py compares pages over HTTP with these
@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
@pytest.mark.parametrize("group", [True, False])
def test_pages_have_every_hit_once(store, mode, group):
    whole = store.search("exceptions and self", mode=mode, k=44, group=group)
    seen, cursor = [], None
    for _ in range(40):
        page = store.search("exceptions and self", mode=mode, k=6, group=group, cursor=cursor)
        seen += [hit.id for hit in page]
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert set(seen) == {hit.id for hit in whole}
    assert seen[:6] == [hit.id for hit in whole[:6]]
    iterated = [hit.id for page in store.pages(text="exceptions and self", mode=mode, k=6, group=group) for hit in page]
    assert iterated == seen


def test_pages_of_nearest_vectors_are_exact(store):
    seen = [hit for page in store.pages(near="tiny/0-res/3", k=7) for hit in page]
    assert [hit.score for hit in seen] == [hit.score for hit in store.nearest("tiny/0-res/3", k=43)]
    assert len({hit.id for hit in seen}) == 43


def test_cursors_belong_to_their_query(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    page = store.search("self", k=2)
    with pytest.raises(BadRequest, match="belongs to another query"):
        store.search("brackets", k=2, cursor=page.next)
    with pytest.raises(BadRequest, match="is no cursor; take the `next`"):
        store.search("self", k=2, cursor="forged!")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 2)
    assert any(
        "has changed since the page before" in note for note in store.search("self", k=2, cursor=page.next).notes
    )
