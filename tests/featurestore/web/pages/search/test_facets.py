"""Facets count what they filter by, and their conditions mean what they say."""

import msgspec
import pytest

import featurestore
from featurestore.errors import BadRequest
from featurestore.web.pages.search import facets


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


def explainers():
    return {"tokens", "gpt-x", "o'neil"}


def test_a_facet_counts_what_its_filter_leaves(store):
    """Every value of every facet, against a search with its condition."""
    dictionaries = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    hits = store.nearest("tiny/0-res/3", k=1000, all=True).hits
    counted = facets.count_facets(hits, dictionaries, {}, {})
    fields = ["model", "dictionary", "layer", "kind", "density", "explainer", "labelled"]
    assert [facet.field for facet in counted] == fields
    assert [facet.field for facet in counted if facet.shared] == ["model", "kind"]
    for facet in counted:
        for value in facet.values:
            if facet.field in ("model", "dictionary"):
                rest = store.nearest("tiny/0-res/3", k=1000, all=True, within=value.value)
            else:
                where = facets.write_condition({facet.field: value.value}, None, explainers)
                rest = store.nearest("tiny/0-res/3", k=1000, all=True, where=where)
            assert len(rest) == value.matches, (facet.field, value)


def test_scores_of_labels_are_counted_in_two_halves(store):
    hits = store.nearest("tiny/0-res/3", k=3).hits
    scores = {hits[0].id: 0.8, hits[1].id: 0.79}
    (scored,) = [
        facet
        for facet in facets.count_facets(hits, {d.dictionary: d for d in store.dictionaries()}, scores, {})
        if facet.field == "scored"
    ]
    assert [(value.value, value.matches) for value in scored.values] == [("high", 1), ("low", 1)]
    for condition in (facets.BY_SCORE, facets.BELOW):
        assert store.nearest("tiny/0-res/3", where=condition) is not None


def test_a_chosen_value_stays_to_be_taken_back(store):
    hits = [msgspec.structs.replace(hit, density=0.5) for hit in store.nearest("tiny/0-res/3", k=3).hits]
    dictionaries = {dictionary.dictionary: dictionary for dictionary in store.dictionaries()}
    counted = facets.count_facets(hits, dictionaries, {}, {"density": "rare"})
    (density,) = [facet for facet in counted if facet.field == "density"]
    assert [(value.value, value.matches, value.chosen) for value in density.values] == [
        ("often", 3, False),
        ("rare", 0, True),
    ]


def test_conditions_are_joined_with_that_of_the_user():
    chosen = {"layer": "3", "kind": "sae", "explainer": "o'neil"}
    assert facets.write_condition(chosen, "a OR b", explainers) == (
        "(a OR b) AND layer = 3 AND kind = 'sae' AND explainer = 'o''neil'"
    )
    assert facets.write_condition({}, None, explainers) is None


@pytest.mark.parametrize(
    "chosen",
    [{"layer": "3 OR true"}, {"layer": "-1"}, {"kind": "' OR 1=1"}, {"explainer": "nobody"}, {"density": "x"}],
)
def test_values_that_a_facet_does_not_have_are_refused(chosen):
    (field,) = chosen
    with pytest.raises(BadRequest, match=f"^{field}: "):
        facets.write_condition(chosen, None, explainers)
