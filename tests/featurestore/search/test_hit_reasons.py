"""Reasons of hits in words, from fakes of the indexes that know them."""

import pytest

from featurestore.search.cursor import Match
from featurestore.search.fusion import Candidate, TextRanking
from featurestore.search.hit_reasons import TextReasons, VectorReasons
from featurestore.search.token_index import Window
from featurestore.search.words.word_query import Words
from featurestore.snapshot.feature_page import Card
from featurestore.values.feature import LogitEffect
from featurestore.values.hits import Reason


@pytest.fixture(scope="module")
def store(either):
    return either


CARD = Card("closing brackets", "gpt-x", 0.01, 3.0, "live", structural=None)


class Fakes:
    """A label index, a token index, a catalog and pages of one feature."""

    def label(self, row):
        return [("closing brackets", "gpt-x"), ("a" * 99 + " brackets", "tokens")][row]

    def windows(self, number):
        return [Window("the closing bracket", "bracket"), Window("nothing here", " ->")]

    def id(self, number):
        return number

    def top_logits(self, id):
        return (LogitEffect(" (", 2.0), LogitEffect(" bracket", 1.25))


def explain(text="closing brackets", **searches):
    found = {name: (lambda n, at=candidate: [at]) for name, candidate in searches.items()}
    ranking = TextRanking(found)
    (match,) = ranking(1)
    fakes = Fakes()
    return TextReasons(ranking, Words.of(text), fakes, fakes, fakes, fakes).of(match, CARD).why


def test_one_search_has_no_rank():
    assert explain(meaning=Candidate(5, 0.531, 0)) == "close in meaning (cosine 0.53)"
    assert explain(words=Candidate(5, 4.12, 0)) == "has the words closing brackets"
    assert explain("xyz", words=Candidate(5, 4.12, 0)) == "has parts of words"


def test_fused_searches_have_ranks():
    reason = explain(meaning=Candidate(5, 0.531, 0), words=Candidate(5, 4.12, 0))
    assert reason == "close in meaning (cosine 0.53, #1), has the words closing brackets (#1)"


def test_another_label_is_quoted_and_shortened():
    assert explain(meaning=Candidate(5, 0.5, 1)) == f"close in meaning (cosine 0.50) in tokens's “{'a' * 59}…”"


def test_tokens_and_logits_name_what_matched():
    assert explain("+brackets", tokens=Candidate(5, 1.0, 5)) == "fires on bracket in 1 of 2 top examples"
    assert explain("->", tokens=Candidate(5, 1.0, 5)) == "fires on '->' in 1 of 2 top examples"
    assert explain("bracket", logits=Candidate(5, 1.0, 5)) == "raises ' bracket' +1.25 (its #2)"
    assert explain("(", logits=Candidate(5, 1.0, 5)) == "raises ' (' +2.00 (its #1)"
    assert explain("other", logits=Candidate(5, 1.0, 5)) == "raises 'other'"


def test_vectors_have_a_cosine_and_perhaps_a_layer():
    class Ranking:
        def layer(self, number):
            return 7 if number == 1 else None

    assert VectorReasons(Ranking()).of(Match(1, 0.91349), CARD).why == "cosine 0.913 into layer 7"
    assert VectorReasons(Ranking()).of(Match(2, -0.5), CARD).why == "cosine -0.500"


def test_why_names_the_words_and_another_label_that_matched(store):
    hit = next(h for h in store.search("exceptions handled", mode="keyword", k=48, group=False) if h.feature == 0)
    assert "exception handling" in hit.why
    assert hit.explainer == "gpt-x"
    only = store.search("0", mode="keyword", k=5)
    assert any("in tokens's “" in hit.why for hit in only), "the shown label is another explainer's"


def test_reasons_are_in_fields_too():
    (match,), fakes = [Match(5, 1.0)], Fakes()
    searches = {
        "meaning": lambda n: [Candidate(5, 0.53, 0)],
        "words": lambda n: [Candidate(5, 4.12, 0)],
        "tokens": lambda n: [Candidate(5, 1.0, 5)],
    }
    ranking = TextRanking(searches)
    ranking(1)
    explanation = TextReasons(ranking, Words.of("bracket"), fakes, fakes, fakes, fakes).of(match, CARD)
    assert explanation.reasons == (
        Reason(kind="meaning", score=0.53, rank=1),
        Reason(kind="words", score=4.12, rank=1, words=("brackets",)),
        Reason(kind="tokens", score=1.0, rank=1, words=("bracket",), examples=1, top_examples=2),
    )
    assert explanation.matched == 1 and not explanation.weak


def test_a_token_is_counted_in_every_form_and_as_a_piece_of_a_word():
    class Cyrillic(Fakes):
        def windows(self, number):
            return [Window("ПРИВЕТ", "ПРИ")] * 16 + [Window("При", " при")] * 4

    ranking = TextRanking({"tokens": lambda n: [Candidate(5, 1.0, 5)]})
    (match,) = ranking(1)
    for text in ("при", " При", "ПРИ"):
        explanation = TextReasons(ranking, Words.of(text), Fakes(), Fakes(), None, Cyrillic()).of(match, CARD)
        assert explanation.why == "fires on при in 20 of 20 top examples"
        assert explanation.reasons[0].examples == explanation.reasons[0].top_examples == 20


@pytest.mark.parametrize(
    ("text", "cosine", "weak"),
    [
        ("zebra astrophysics", 0.3, True),
        ("zebra brackets", 0.3, True),
        ("closing brackets", 0.3, False),  # all words
        ("zebra astrophysics", 0.5, False),  # meaning
        ("closing zebra brackets", None, False),  # most words, where nothing is compared by meaning
        ("closing zebra astrophysics", None, True),
    ],
)
def test_weak_hits_have_neither_the_meaning_nor_the_words(text, cosine, weak):
    searches = {"words": lambda n: [Candidate(5, 2.0, 0)]}
    if cosine is not None:
        searches["meaning"] = lambda n: [Candidate(5, cosine, 0)]
    ranking = TextRanking(searches)
    (match,) = ranking(1)
    assert TextReasons(ranking, Words.of(text), Fakes(), Fakes(), Fakes(), None).of(match, CARD).weak == weak


def test_an_answer_says_how_good_it_is(store):
    good = store.search("exception handling", k=3)
    assert not good.weak and good.cosine > 0.7 and (good.words_matched, good.words_asked) == (2, 2)
    assert not any(hit.weak for hit in good[:1])
    weak = store.search("zebra astrophysics", k=3)
    assert weak.weak and all(hit.weak for hit in weak) and weak.cosine < 0.4
    assert (weak.words_matched, weak.words_asked) == (0, 2)
    assert weak.notes[-1].startswith("weak: probably nothing here is about this (the nearest label has a cosine of 0.")
    vectors = store.nearest(good[0].id, k=2)
    assert (vectors.weak, vectors.cosine, vectors.words_asked) == (False, None, None)
    assert vectors[0].reasons[0].kind == "vectors" and vectors.to_arrow()["reasons"][0].as_py()
