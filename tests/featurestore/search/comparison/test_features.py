"""Features side by side: every number counted by hand, in the store and over HTTP."""

import httpx2
import numpy
import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.client import Client
from featurestore.web import create_app
from tests.support import tiny

A, B, C, D = (f"tiny/0-res/{n}" for n in range(4))
ELSEWHERE = "other/0-mlp/1"  # of another space

# By feature: (document, start, length, offsets of activations, activations), the strongest first.
WINDOWS = {
    0: [(0, 0, 5, [1, 3], [4.0, 1.0]), (1, 0, 3, [0], [2.0])],
    1: [(0, 2, 5, [1, 2], [3.0, 2.0]), (2, 0, 3, [0], [1.0])],
    2: [(2, 0, 4, [0, 3], [5.0, -2.5])],
}
LOGITS = {0: ("ab", "yz"), 1: ("bc", "z"), 2: ("z", "a")}


def example_rows(name):
    rows = []
    for feature, windows in WINDOWS.items():
        for rank, (document, start, length, offsets, values) in enumerate(windows):
            peak = start + offsets[0]
            window = {"document": document, "start": start, "length": length, "position": peak, "offsets": offsets}
            place = {"dictionary": name, "feature": feature, "corpus": tiny.CORPUS, "band": "top", "rank": rank}
            rows.append(place | window | {"activation": values[0], "activations": values})
    return rows


def feature_rows(name):
    rows = tiny.feature_rows(name)
    for feature, (raised, lowered) in LOGITS.items():
        rows[feature]["top_logits"] = [{"token": token, "value": 1.0} for token in raised]
        rows[feature]["bottom_logits"] = [{"token": token, "value": -1.0} for token in lowered]
    rows[0]["coactive"] = [{"feature": 2, "jaccard": 0.25}]
    return rows


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with featurestore.create(tmp_path_factory.mktemp("compare") / "s") as opened:
        with opened.writer("tests") as writer:
            tiny.add_corpus(writer)
            for model, source, space in (("tiny", "0-res", "tiny"), ("other", "0-mlp", "other/mlp")):
                name = f"{model}/{source}"
                row = tiny.dictionary_row(source, 0) | {"dictionary": name, "model": model, "space": space}
                writer.add("dictionaries", tiny.table([row]), key=name)
                writer.add("features", tiny.table(feature_rows(name)), key=name)
                writer.add("examples", tiny.table(example_rows(name)), key=name)
                vectors = tiny.vectors(0)
                vectors[3] = 0
                writer.add_vectors(name, vectors)
        yield opened


@pytest.fixture(scope="module", params=["local", "http"])
def store(request, local):
    if request.param == "local":
        yield local
        return
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as client:
        yield client


def test_cosines_are_those_of_the_vectors(store):
    found = store.compare(A, B, C)
    vectors = store.vectors([A, B, C]).astype("float64")
    unit = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    numpy.testing.assert_allclose(found.cosines, unit @ unit.T, atol=1e-5)
    assert [pair.cosine for pair in found.pairs] == [found.cosines[i][j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert [feature.id for feature in found.features] == [A, B, C]
    assert found.features[0].tokens == (" x", " raise"), "the strongest first; self is below half of its example"
    assert found.features[0].examples == 2


def test_what_a_pair_shares_is_counted_by_hand(store):
    first, second, third = store.compare(A, B, C).pairs
    # A fires on (0, 1), (0, 3), (1, 0); B on (0, 3), (0, 4), (2, 0).
    assert first.jaccard == pytest.approx(1 / 5)
    # Their windows in document 0 overlap: one stretch of three is of both.
    assert (first.contexts, first.context_jaccard) == (1, pytest.approx(1 / 3))
    assert (first.tokens, first.token_jaccard) == ((), 0.0), "A fires on self, but with less than half of its peak"
    assert (first.raised, first.lowered, first.opposed) == (("b",), ("z",), ())
    assert first.logit_jaccard == pytest.approx(2 / 5)  # b and z of a, b, c raised and y, z lowered
    assert (first.coactivity, second.coactivity) == (None, 0.25)
    assert second.opposed == ("a", "z") and second.raised == ()
    # Both have the window of document 2, and fire on its first token; C on def too, half as strongly.
    assert (third.contexts, third.jaccard) == (1, pytest.approx(1 / 4))
    assert third.tokens == (" caf",)


def test_examples_are_taken_in_turn_and_each_text_once(store):
    found = store.compare(A, B, C, examples=2)
    assert [(each.id, each.document, each.position) for each in found.examples] == [
        (A, 0, 1),
        (B, 2, 0),  # its first has its peak in A's window
        (A, 1, 0),
    ]
    both = found.examples[0]
    assert both.features == (A, B)
    assert both.activations == ((0.0, 4.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 3.0, 2.0))
    assert found.examples[1].features == (B, C), "C has no turn of its own: its one example is there"
    assert store.compare(A, B, examples=0).examples == ()


def test_what_has_no_cosine_says_why(store):
    found = store.compare(A, D, ELSEWHERE)
    assert found.cosines[0] == (pytest.approx(1), None, None)
    notes = " ".join(found.notes)
    assert f"no cosines of {D}: its decoder vector is zero" in notes
    assert "features of different spaces (tiny, other/mlp) have no cosine" in notes
    assert f"no examples of {D} are stored" in notes
    assert found.pairs[0].jaccard is found.pairs[0].token_jaccard is found.pairs[0].context_jaccard is None
    assert found.pairs[1].raised == ("b",), "what both have is known over spaces too"


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([], BadRequest, "id: nothing is named: compare two to eight features"),
        ([A], BadRequest, f"id: {A} alone is nothing to compare"),
        ([A, A], BadRequest, f"id: {A} is named twice"),
        ([A, "tiny@0-res:0"], BadRequest, "is named twice"),
        ([A] * 9, BadRequest, "9 features are too many"),
        ([A, "tiny/0-res"], BadRequest, f"id: tiny/0-res is a dictionary and {A} is not"),
        (["tiny/0-res"] * 3, BadRequest, "3 dictionaries are too many"),
        ([A, "tiny/0-res/99"], NotFound, "no feature 99"),
        ([A, "nothing"], BadRequest, "'nothing' is not a feature id"),
    ],
)
def test_what_cannot_be_compared_is_said_alike(store, ids, error, message):
    with pytest.raises(error) as raised:
        store.compare(ids)
    assert message in str(raised.value)


def test_examples_out_of_range(store):
    for count in (-1, 101):
        with pytest.raises(BadRequest, match=f"examples: {count} is not between 0 and 100"):
            store.compare(A, B, examples=count)


def test_features_are_named_in_any_form(store):
    wanted = store.compare([A, B])
    assert store.compare(A, B) == store.compare(("tiny/0-res", 0), store.feature(B)) == wanted
    assert store.compare(("tiny@0-res:0", B)) == wanted
    assert wanted.to_arrow().column_names == list(featurestore.ComparedPair.__struct_fields__)
    assert "cosine to 2" in wanted._repr_html_() and A in repr(wanted)


def test_what_is_no_feature_is_refused(store):
    with pytest.raises(BadRequest, match="id: 5 is nothing to compare"):
        store.compare(5)
    with pytest.raises(BadRequest, match="compare two to eight"):
        store.compare(("tiny/0-res", numpy.int64(3)))
