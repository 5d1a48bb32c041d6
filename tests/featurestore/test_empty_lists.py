"""An empty list is not an absent one: it matches nothing and a note says so, in Python and over HTTP alike."""

import pytest

ASKED = {
    "search": lambda s: s.search("x", within=[]),
    "search among": lambda s: s.search("x", among=[]),
    "nearest": lambda s: s.nearest("tiny/0-res/3", within=()),
    "rerank": lambda s: s.rerank("x", []),
    "activating": lambda s: s.activating("x", dictionary=[]),
    "contrast": lambda s: s.contrast(["x"], ["y"], dictionary=[]),
    "duplicates": lambda s: s.duplicates("tiny/0-res", against=[]),
}


@pytest.mark.parametrize("name", ASKED)
def test_an_empty_list_matches_nothing_and_says_so(either, name):
    answer = ASKED[name](either)
    content = getattr(answer, "hits", getattr(answer, "features", getattr(answer, "pairs", None)))
    assert content == ()
    assert any("is an empty list, which matches nothing" in note for note in answer.notes)


def test_a_neighbourhood_of_no_dictionaries_is_the_feature_alone(either):
    alone = either.neighbourhood("tiny/0-res/3", within=())
    assert ([node.id for node in alone.nodes], alone.edges) == (["tiny/0-res/3"], ())
    assert any("within is an empty list" in note for note in alone.notes)
    assert len(either.neighbourhood("tiny/0-res/3").nodes) > 8
