"""What a card says of a hit: why in words, tokens around the peak, the tokens it fires hardest on."""

import msgspec
import pytest

import featurestore
from featurestore.values.hits import Reason
from featurestore.web.pages.search.hit_cards import cut_example, find_top_tokens, make_cards, say_why


@pytest.fixture(scope="module")
def store(tiny_store):
    with featurestore.connect(tiny_store) as opened:
        yield opened


@pytest.mark.parametrize(
    ("reasons", "sentence"),
    [
        ([], ""),
        ([Reason(kind="meaning", score=0.7)], "Its label means much the same."),
        (
            [Reason(kind="meaning", score=0.5, rank=2), Reason(kind="words", score=3.0, words=("loops",))],
            "Its label is close in meaning and its label has “loops”.",
        ),
        ([Reason(kind="meaning", score=0.1)], "Its label is loosely related in meaning."),
        (
            [Reason(kind="tokens", score=1, words=("except",), examples=12, top_examples=30)],
            "Its strongest examples often have “except”.",
        ),
        ([Reason(kind="logits", score=1, words=(" as",))], "It raises the chance of “as”."),
        ([Reason(kind="vectors", score=0.95)], "Its decoder vector has almost the same direction."),
        ([Reason(kind="vectors", score=0.05)], "Its decoder vector is hardly related."),
    ],
)
def test_why_is_said_without_numbers(reasons, sentence):
    assert say_why(reasons) == sentence


def test_cards_stand_for_the_hits_in_their_order(store):
    hits = store.search("exception handling", k=4).hits
    cards = make_cards(store, hits)
    assert [card.hit for card in cards] == list(hits)
    assert [card.page.id for card in cards] == [hit.id for hit in hits]
    assert all(card.match == "match" and len(card.examples) == 2 for card in cards)
    assert cards[0].tokens[0] == " x"  # its strongest example fires on the second token, with 2.0
    assert make_cards(store, []) == []
    assert make_cards(store, store.nearest("tiny/0-res/3", k=1).hits)[0].match == "cosine"


def test_an_example_is_cut_around_its_peak(store):
    example = store.feature("tiny/0-res/8").examples[0]
    tokens = tuple(f"w{n} " for n in range(60))
    activations = tuple(float(n == 30) for n in range(60))
    long = msgspec.structs.replace(example, tokens=tokens, activations=activations, start=5, position=35)
    runs = cut_example(long, 1.0)
    text = "".join(part.text for run in runs for part in run.parts)
    assert text.split() == [f"w{n}" for n in range(18, 37)]
    assert ["".join(part.text for part in run.parts) for run in runs if run.peak] == ["w30 "]


def test_top_tokens_are_the_strongest_each_once(store):
    example = store.feature("tiny/0-res/8").examples[0]
    one = msgspec.structs.replace(example, tokens=("a", "b", "c"), activations=(1.0, 3.0, 0.0))
    other = msgspec.structs.replace(example, tokens=("a", "d"), activations=(5.0, -2.0))
    assert find_top_tokens([one, other]) == ["a", "b", "d"]
