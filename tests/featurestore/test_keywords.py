"""What search, nearest, rerank and pages take by name: in their signatures, for completion, as Query declares it."""

import inspect
import typing

import pytest

import featurestore
from featurestore import BadRequest, FeatureStore, Query
from featurestore.client import Client
from featurestore.store import Store

FIELDS = {name: each.default for name, each in inspect.signature(Query).parameters.items()}
# Fields that a method does not take by name: it makes them of its first arguments, or they mean nothing there.
WITHOUT = {
    "search": {"text", "near", "vector", "unlike", "opposite", "space"},
    "nearest": {"near", "vector", "text", "mode", "over"},
    "rerank": {"text", "near", "vector", "unlike", "opposite", "space", "among"},
    "pages": set(),
}
OF_ITS_OWN = {("rerank", "k"): None, ("rerank", "all"): True}


@pytest.mark.parametrize("name", WITHOUT)
@pytest.mark.parametrize("kind", [FeatureStore, Store, Client])
def test_the_signature_is_the_declaration(kind, name):
    """The same names in the same order, with the defaults of Query; no **options."""
    parameters = inspect.signature(getattr(kind, name)).parameters
    by_name = {key: each.default for key, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
    order = [field for field in Query.__struct_fields__ if field not in WITHOUT[name]]
    assert sorted(by_name) == sorted(order)
    assert by_name == {field: OF_ITS_OWN.get((name, field), FIELDS[field]) for field in order}
    assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())


@pytest.mark.parametrize("name", WITHOUT)
def test_the_types_are_those_of_the_declaration(name):
    """Truth values, numbers, texts and choices are of the types of Query's fields."""
    from featurestore.interface import feature_store

    declared = typing.get_type_hints(Query)
    written = inspect.signature(getattr(FeatureStore, name)).parameters
    for field in ("mode", "where", "k", "all", "structural", "group", "cursor", "opposite", "space"):
        if field in written and (name, field) not in OF_ITS_OWN:
            assert eval(written[field].annotation, vars(feature_store)) == declared[field], (name, field)


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda s: s.search("x", limit=5), "unknown field 'limit', did you mean k?"),
        (lambda s: s.search("x", modes="keyword"), "unknown field 'modes', did you mean mode?"),
        (lambda s: s.search("x", unlike="tiny/0-res/3"), "unknown field 'unlike'"),
        (lambda s: s.nearest("tiny/0-res/3", top_k=5), "unknown field 'top_k', did you mean k?"),
        (lambda s: s.nearest("tiny/0-res/3", mode="keyword"), "unknown field 'mode'"),
        (lambda s: s.nearest(3), "to: 3 is no feature, no list of features and no vector"),
        (lambda s: s.rerank("x", "tiny/0-res/3", limit=5), "unknown field 'limit', did you mean k?"),
        (lambda s: s.pages(query="x"), "unknown field 'query', did you mean text?"),
        (lambda s: s.examples("tiny/0-res/3", k=3), "unknown field 'k', did you mean examples?"),
        (lambda s: s.examples("tiny/0-res/3", limit=3), "unknown field 'limit', did you mean examples?"),
        (lambda s: s.features("tiny/0-res/3", k=3), "unknown field 'k', did you mean examples?"),
        (lambda s: s.feature("tiny/0-res/3", n_examples=3), "unknown field 'n_examples', did you mean examples?"),
        (lambda s: s.activating("x", limit=3), "unknown field 'limit', did you mean k?"),
        (lambda s: s.activating("x", within="tiny/0-res"), "unknown field 'within', did you mean dictionary?"),
        (lambda s: s.contrast(["x"], ["y"], top_k=3), "unknown field 'top_k', did you mean k?"),
        (lambda s: s.sql("select 1", limit=3), "unknown field 'limit', did you mean max_rows?"),
        (lambda s: s.sql("select $x", params={"x": 1}), "unknown field 'params', did you mean parameters?"),
        (lambda s: s.neighbourhood("tiny/0-res/3", n=3), "unknown field 'n', did you mean k?"),
        (lambda s: s.duplicates("tiny/0-res", threshold=0.3), "unknown field 'threshold', did you mean cosine?"),
        (lambda s: s.compare("tiny/0-res/3", "tiny/0-res/4", n=3), "unknown field 'n', did you mean k?"),
        (lambda s: s.vectors(feature="tiny/0-res/3"), "unknown field 'feature', did you mean ids?"),
        (lambda s: s.graph(name="x"), "unknown field 'name', did you mean slug?"),
        (lambda s: s.graphs(id="tiny/0-res/3"), "unknown field 'id', did you mean feature?"),
        (lambda s: s.feature_list(list="x"), "unknown field 'list', did you mean name?"),
        (lambda s: s.label_history(feature="tiny/0-res/3"), "unknown field 'feature', did you mean id?"),
        (lambda s: s.search("x", mode="fuzzy"), "mode: 'fuzzy' is not one of hybrid, keyword, semantic"),
    ],
)
def test_mistakes_are_named(door, ask, words):
    with pytest.raises(BadRequest) as refused:
        ask(door)
    assert words in str(refused.value)


def test_answers_are_those_of_the_query(door):
    assert door.search("self", mode="keyword", k=3, over="tokens") == door.run(
        Query.of({"text": "self", "mode": "keyword", "k": 3, "over": ["tokens"]})
    )
    assert door.nearest("tiny/0-res/3", opposite=True) == door.run(Query.of({"near": "tiny/0-res/3", "opposite": True}))
    vector = door.vector("tiny/0-res/3")
    assert door.nearest(vector, space="tiny") == next(door.pages(vector=vector, space="tiny"))


@pytest.mark.parametrize("given", [3, None, "", b"x"])
@pytest.mark.parametrize("door", [featurestore.connect, featurestore.create])
def test_what_is_no_place_of_a_store(door, given):
    with pytest.raises(BadRequest, match="is no place of a store; name a directory"):
        door(given)
