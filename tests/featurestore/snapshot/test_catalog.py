"""One numbering of all features, and the choice of those a query may return."""

import msgspec
import numpy
import pyarrow
import pytest

from featurestore import BadRequest, NotFound, Query
from featurestore.notes import NoteCode
from featurestore.snapshot.catalog import KEPT_CHOICES, Catalog, Choice
from featurestore.values.dictionary import Dictionary
from featurestore.values.feature import FeatureId
from tests.support import tiny

DEAD, ALWAYS_ON = 22, 23


@pytest.fixture
def catalog():
    with_sizes = [("b", 4), ("a", 24)]
    rows = [tiny.dictionary_row(name, 0) | {"dictionary": f"tiny/{name}", "d_sae": d_sae} for name, d_sae in with_sizes]
    dictionaries = [build_dictionary(row) for row in rows]

    def own(statement):
        columns = {"dictionary": ["tiny/a", "tiny/a"], "feature": [DEAD, ALWAYS_ON], "dead": [True, False]}
        return pyarrow.table(columns)

    def guarded(statement, seconds):
        statements.append(statement)
        return pyarrow.table({"dictionary": ["tiny/a", "tiny/b", "tiny/gone"], "feature": [1, 2, 3]})

    statements = []
    catalog = Catalog(dictionaries, own, guarded, lambda name: ())
    catalog.statements = statements
    return catalog


def build_dictionary(row):
    return msgspec.convert({name: row.get(name) for name in Dictionary.__struct_fields__}, Dictionary)


def test_dictionaries_follow_one_another_by_id(catalog):
    assert catalog.size == 28
    assert catalog.run("tiny/b") == slice(24, 28)
    for number in range(28):
        id = catalog.id(number)
        assert catalog.number(id) == number
        assert catalog.holds(id)
    assert catalog.id(24) == FeatureId("tiny/b", 0)
    assert not catalog.holds(FeatureId("tiny/b", 4))
    assert not catalog.holds(FeatureId("tiny/c", 0))


def test_numbers_of_columns(catalog):
    numbers = catalog.numbers(["tiny/b", "tiny/gone", "tiny/a", "tiny/b"], numpy.array([3, 0, 5, 4]))
    assert numbers.tolist() == [27, -1, 5, -1]
    assert catalog.numbers([], numpy.array([], numpy.int64)).tolist() == []


def test_unknown_features_are_named(catalog):
    assert catalog.feature_id("tiny/b/3") == FeatureId("tiny/b", 3)
    with pytest.raises(NotFound, match="no feature 4 in tiny/b: d_sae is 4, so indices run 0 to 3"):
        catalog.feature_id("tiny/b/4")
    with pytest.raises(NotFound, match="no dictionary 'tiny/c'"):
        catalog.feature_id("tiny/c/0")
    with pytest.raises(BadRequest):
        catalog.feature_id("tiny")


def test_a_choice_leaves_out_dead_and_always_on_features(catalog):
    choice = catalog.choice(Query.of({"text": "x"}))
    assert choice.count == 26
    assert not choice.mask[[DEAD, ALWAYS_ON]].any()
    assert choice.notes.fields() == {
        "notes": ("left out: 1 dead and 1 always-on features (all=true shows them)",),
        "note_codes": (NoteCode("left_out", {"dead": 1, "always_on": 1}),),
    }
    assert catalog.choice(Query.of({"text": "x", "all": True})).count == 28
    assert catalog.choice(Query.of({"text": "x", "within": ("tiny/b",)})).notes.sentences == ()


def test_every_part_of_a_filter_counts(catalog):
    def numbers(**fields):
        return numpy.flatnonzero(catalog.choice(Query.of({"text": "x", **fields})).mask).tolist()

    assert numbers(within=("tiny/b",)) == [24, 25, 26, 27]
    assert numbers(among=("tiny/a/3", "tiny/b/0")) == [3, 24]
    assert numbers(where="layer = 0") == [1, 26]
    assert numbers(where="layer = 0", within=("tiny/a",)) == [1]
    assert numbers(where="layer = 0", among=("tiny/b/2", "tiny/b/3")) == [26]


def test_equal_filters_share_a_choice_and_old_ones_go(catalog):
    first = catalog.choice(Query.of({"text": "x", "where": "layer = 0"}))
    assert catalog.choice(Query.of({"text": "y", "k": 3, "where": "layer = 0"})) is first
    assert len(catalog.statements) == 1
    for number in range(KEPT_CHOICES):
        catalog.choice(Query.of({"text": "x", "among": (f"tiny/a/{number}",)}))
    assert catalog.choice(Query.of({"text": "x", "where": "layer = 0"})) is not first


def test_what_is_derived_of_a_choice_is_kept():
    choice = Choice(numpy.array([True, False]))
    made = []
    for _ in range(2):
        assert choice.once("key", lambda: made.append(1) or "value") == "value"
    assert made == [1]
    with pytest.raises(ValueError, match="read-only"):
        choice.mask[0] = False
