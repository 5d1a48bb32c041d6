"""Reasons of hits in words, from fakes of the indexes that know them."""

import pytest

from featurestore.search.cursor import Match
from featurestore.search.fusion import Candidate, TextRanking
from featurestore.search.hit_reasons import TextReasons, VectorReasons
from featurestore.search.keyword import Words
from featurestore.snapshot.feature_page import Card
from featurestore.values.feature import LogitEffect


@pytest.fixture(scope="module")
def store(either):
    return either


CARD = Card("closing brackets", "gpt-x", 0.01, 3.0, "live")


class Fakes:
    """A label index, a token index, a catalog and pages of one feature."""

    def label(self, row):
        return [("closing brackets", "gpt-x"), ("a" * 99 + " brackets", "tokens")][row]

    def windows(self, number):
        return ["the closing bracket", "nothing here"]

    def id(self, number):
        return number

    def top_logits(self, id):
        return (LogitEffect(" (", 2.0), LogitEffect(" bracket", 1.25))


def explain(text="closing brackets", **searches):
    found = {name: (lambda n, at=candidate: [at]) for name, candidate in searches.items()}
    ranking = TextRanking(found)
    (match,) = ranking(1)
    fakes = Fakes()
    return TextReasons(ranking, Words.of(text), fakes, fakes, fakes, fakes).of(match, CARD)


def test_one_search_has_no_rank():
    assert explain(meaning=Candidate(5, 0.531, 0)) == "meaning 0.53"
    assert explain(words=Candidate(5, 4.12, 0)) == "words 4.1: closing brackets"
    assert explain("xyz", words=Candidate(5, 4.12, 0)) == "words 4.1"


def test_fused_searches_have_ranks():
    reason = explain(meaning=Candidate(5, 0.531, 0), words=Candidate(5, 4.12, 0))
    assert reason == "meaning 0.53 (#1), words 4.1: closing brackets (#1)"


def test_another_label_is_quoted_and_shortened():
    assert explain(meaning=Candidate(5, 0.5, 1)) == f"meaning 0.50 in tokens's “{'a' * 59}…”"


def test_tokens_and_logits_name_what_matched():
    assert explain("+brackets", tokens=Candidate(5, 1.0, 5)) == "fires on bracket in 1 of 2 top examples"
    assert explain("->", tokens=Candidate(5, 1.0, 5)) == "fires on '->'"
    assert explain("bracket", logits=Candidate(5, 1.0, 5)) == "raises ' bracket' +1.25 (its #2)"
    assert explain("(", logits=Candidate(5, 1.0, 5)) == "raises ' (' +2.00 (its #1)"
    assert explain("other", logits=Candidate(5, 1.0, 5)) == "raises 'other'"


def test_vectors_have_a_cosine_and_perhaps_a_layer():
    class Ranking:
        def layer(self, number):
            return 7 if number == 1 else None

    assert VectorReasons(Ranking()).of(Match(1, 0.91349), CARD) == "cosine 0.913 into layer 7"
    assert VectorReasons(Ranking()).of(Match(2, -0.5), CARD) == "cosine -0.500"


def test_why_names_the_words_and_another_label_that_matched(store):
    hit = next(h for h in store.search("exceptions handled", mode="keyword", k=48, group=False) if h.feature == 0)
    assert "exception handling" in hit.why
    assert hit.explainer == "gpt-x"
    only = store.search("0", mode="keyword", k=5)
    assert any("in tokens's “" in hit.why for hit in only), "the shown label is another explainer's"
