"""Activations of given features: theirs alone, in their order, also of silent ones. The model is a table here."""

import httpx2
import numpy
import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.client import Client
from featurestore.search import activating
from featurestore.web import create_app

# By dictionary: feature, token and activation.
ACTIVE = {"tiny/0-res": [(3, 0, 1.0), (3, 2, 4.0), (5, 1, -2.0)], "tiny/1-res": [(3, 1, 0.5)]}


@pytest.fixture
def asked(monkeypatch):
    """The dictionaries that each run of the model was asked for."""
    runs = []

    def run(dictionaries, text):
        names = [dictionary.dictionary for dictionary in dictionaries]
        runs.append(names)
        columns = {name: zip(*ACTIVE[name], strict=True) for name in names}
        types = (numpy.int32, numpy.int32, numpy.float32)
        return text.split(), {
            name: tuple(numpy.array(column, type_) for column, type_ in zip(three, types, strict=True))
            for name, three in columns.items()
        }

    monkeypatch.setattr(activating, "_model_runner", lambda: run)
    return runs


@pytest.fixture(params=["local", "http"])
def store(request, tiny_store, asked):
    with featurestore.connect(tiny_store) as opened:
        if request.param == "local":
            yield opened
            return
        with Client("http://x", transport=httpx2.WSGITransport(app=create_app(opened))) as client:
            yield client


def test_given_features_are_the_answer_in_their_order(store, asked):
    ids = ["tiny/1-res/3", "tiny/0-res/7", "tiny@0-res:5", ("tiny/0-res", 3)]
    answer = store.activating("a b c", features=ids, k=1)
    assert [feature.id for feature in answer.features] == [
        "tiny/1-res/3",
        "tiny/0-res/7",
        "tiny/0-res/5",
        "tiny/0-res/3",
    ]
    assert [feature.activations for feature in answer.features] == [(0, 0.5, 0), (0, 0, 0), (0, -2, 0), (1, 0, 4)]
    assert [feature.activation for feature in answer.features] == [0.5, 0, -2, 4]
    assert answer.features[3].token == 2 and answer.features[3].max_activation == 4.0
    assert answer.notes == ("3 of 4 given features fire; in the order given",)
    assert asked == [["tiny/1-res", "tiny/0-res"]]


def test_only_their_dictionaries_are_run(store, asked):
    assert [feature.id for feature in store.activating("a b c", features=["tiny/0-res/3"] * 3).features] == [
        "tiny/0-res/3"
    ]
    assert asked == [["tiny/0-res"]]


def test_without_features_those_that_fire_hardest_are_the_answer(store):
    answer = store.activating("a b c", order="activation", k=2)
    assert [(feature.id, feature.activation) for feature in answer.features] == [
        ("tiny/0-res/3", 4.0),
        ("tiny/0-res/5", -2.0),
    ]
    specific = store.activating("a b c").features
    assert [feature.id for feature in specific] == ["tiny/0-res/3", "tiny/0-res/5", "tiny/1-res/3"]


def test_of_one_token_those_that_fire_on_it_by_how_hard_they_do(store):
    answer = store.activating("a b c", order="activation", token=1)
    assert [(feature.id, feature.activations[1]) for feature in answer.features] == [
        ("tiny/0-res/5", -2.0),
        ("tiny/1-res/3", 0.5),
    ]
    first = store.activating("a b c", order="activation", token=0).features
    assert [(feature.id, feature.activation, feature.token) for feature in first] == [("tiny/0-res/3", 4.0, 2)]
    assert answer.notes[0].startswith("2 features fire on 'b'; ordered by activation")


def test_a_character_of_several_tokens_is_one_place(store, monkeypatch):
    fired = (numpy.array([3, 5]), numpy.array([1, 2]), numpy.array([1.0, 2.0], numpy.float32))
    run = lambda dictionaries, text: (["a", "é", "", "b"], {d.dictionary: fired for d in dictionaries})  # noqa: E731
    monkeypatch.setattr(activating, "_model_runner", lambda: run)
    for token in (1, 2):
        answer = store.activating("aéb", dictionary="tiny/0-res", order="activation", token=token)
        assert [feature.feature for feature in answer.features] == [5, 3]


@pytest.mark.parametrize("token", [-1, 3])
def test_a_token_that_is_not_there(store, token):
    with pytest.raises(BadRequest, match=f"token: {token} is not there; the text has 3 tokens, from 0"):
        store.activating("a b c", token=token)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"features": ["tiny/0-res/24"]}, NotFound, "no feature 24"),
        ({"features": ["nonsense"]}, BadRequest, "nonsense"),
        ({"features": 3}, BadRequest, "neither a feature nor several"),
        ({"features": ["tiny/0-res/3"], "dictionary": "tiny/1-res"}, BadRequest, "leave dictionary out"),
    ],
)
def test_what_is_no_choice_of_features_is_refused(store, options, error, words):
    with pytest.raises(error, match=words):
        store.activating("a b c", **options)


def test_one_feature_may_stand_alone(store):
    alone = store.activating("a b c", features="tiny/0-res/3")
    assert [feature.id for feature in alone.features] == ["tiny/0-res/3"]
    assert alone == store.activating("a b c", features=["tiny/0-res/3"])


def test_no_features_are_no_answer(store):
    answer = store.activating("a b c", features=[])
    assert answer.features == () and "empty list" in answer.notes[0]
