"""Rankings of features by text against sums of scores by hand."""

import subprocess
import sys

import pytest

from featurestore.search.cursor import Match
from featurestore.search.fusion import DEPTH, MIN_DEPTH, Candidate, Evidence, TextRanking
from featurestore.search.words import rarity, word_query


def search(*numbers, asked=None):
    """A search that finds these features, best first, and notes how deep it was asked to look."""

    def best(n):
        if asked is not None:
            asked.append(n)
        return [Candidate(number, 10.0 - rank, 100 + number) for rank, number in enumerate(numbers)][:n]

    return best


def test_one_search_keeps_its_scores_and_has_no_ranks():
    ranking = TextRanking({"words": search(4, 2)})
    assert ranking(10) == [Match(4, 10.0), Match(2, 9.0)]
    assert ranking(1) == [Match(4, 10.0)]
    assert ranking.evidence(2) == {"words": Evidence(102, 9.0, None)}


def found(**strengths):
    """Searches that find features with these cosines or shares, by name and number."""
    return {
        name: lambda n, of=of: [
            Candidate(number, strength, number, strength)
            for number, strength in sorted(of.items(), key=lambda entry: -entry[1])
        ][:n]
        for name, of in strengths.items()
    }


def test_several_searches_are_fused_by_their_scores():
    ranking = TextRanking(
        found(
            meaning={1: 0.6, 2: 0.55, 3: 0.4},
            words={2: 1.0, 3: 0.75, 1: 0.5},
            tokens={3: 1.0, 1: 0.5},
        )
    )
    # Words count by the third power of the share, tokens by the square; no text has more than 1.3.
    total = 1 + 0.8 * 1.3**3 + 0.4 * 1.3**2
    of_words = {1: 0.125, 2: 1.0, 3: 0.421875}
    of_tokens = {1: 0.25, 2: 0.0, 3: 1.0}
    cosines = {1: 0.6, 2: 0.55, 3: 0.4}
    wanted = {n: (cosines[n] + 0.8 * of_words[n] + 0.4 * of_tokens[n]) / total for n in (1, 2, 3)}
    matches = ranking(3)
    assert [match.number for match in matches] == [2, 3, 1]
    assert [match.score for match in matches] == pytest.approx([wanted[match.number] for match in matches])
    assert ranking.evidence(3) == {
        "meaning": Evidence(3, 0.4, 3),
        "words": Evidence(3, 0.75, 2),
        "tokens": Evidence(3, 1.0, 1),
    }


def test_without_cosines_every_share_of_the_words_counts():
    ranking = TextRanking(found(words={1: 0.2, 2: 0.4}, tokens={3: 0.3}))
    assert [match.number for match in ranking(3)] == [2, 1, 3]


def test_a_feature_without_a_label_counts_like_the_last_of_the_nearest():
    ranking = TextRanking(found(meaning={1: 0.5, 2: 0.3}, tokens={9: 1.0}))
    scores = {match.number: match.score * (1 + 0.4 * 1.3**2) for match in ranking(3)}
    assert scores == pytest.approx({9: 0.3 + 0.4, 1: 0.5, 2: 0.3})


def test_what_no_text_exceeds_has_a_score_of_1():
    ranking = TextRanking(found(meaning={7: 1.0}, **{name: {7: 1.3} for name in ("words", "tokens", "logits")}))
    assert ranking(5) == [Match(7, pytest.approx(1.0))]


def test_what_a_full_list_lacks_is_looked_up_where_it_may_be_among_the_best():
    cosines = {number: 0.9 - number / 1000 for number in range(MIN_DEPTH)} | {500: 0.2, 501: 0.7}
    words = {0: 1.1, 500: 1.0, 501: 0.9}
    asked = []

    def look_up(numbers):
        asked.extend(numbers)
        return [Candidate(number, cosines[number], number) for number in numbers]

    ranking = TextRanking(found(meaning=cosines, words=words), {"meaning": look_up})
    scores = {match.number: match.score * (1 + 0.8 * 1.3**3) for match in ranking(5)}
    assert sorted(asked) == [500, 501]
    assert scores[0] == pytest.approx(0.9 + 0.8 * 1.1**3)
    assert scores[500] == pytest.approx(0.2 + 0.8)
    assert scores[501] == pytest.approx(0.7 + 0.8 * 0.9**3)
    assert ranking.evidence(501) == {"words": Evidence(501, 0.9, 3), "meaning": Evidence(501, 0.7, None)}
    asked.clear()
    few = TextRanking(found(meaning=cosines, words={500: 0.01}), {"meaning": look_up})
    few(5)
    assert asked == []  # no cosine that the list leaves open would bring it among the best


def test_equal_scores_come_in_the_order_of_numbers():
    ranking = TextRanking(found(tokens={9: 0.5}, logits={3: 0.5}))
    assert [match.number for match in ranking(2)] == [3, 9]


def test_fused_searches_look_deeper_than_the_answer():
    asked = []
    ranking = TextRanking({"meaning": search(1, asked=asked), "words": search(2, asked=asked)})
    ranking(1)
    ranking(40)
    assert asked == [MIN_DEPTH] * 2 + [DEPTH * 40] * 2


def test_an_error_of_a_search_beside_is_raised():
    def fails(n):
        raise ValueError("beside")

    with pytest.raises(ValueError, match="beside"):
        TextRanking({"meaning": search(1), "words": fails})(1)


@pytest.fixture(scope="module")
def store(either):
    return either


def test_hybrid_adds_the_cosine_and_the_share_of_words_of_every_label(store):
    asked = {"k": 44, "group": False, "over": "labels", "all": True}
    text = "exception names"
    cosines = {hit.id: hit.score for hit in store.search(text, mode="semantic", **asked | {"k": 10_000})}
    words = store.search(text, mode="keyword", **asked | {"k": 10_000})
    labels = store.sql("SELECT label FROM labels", max_rows=None)["label"].to_pylist()
    stems, forms = (
        tuple(sum(word in split(label) for label in labels) for word in split(text))
        for split in (word_query.stem_words, word_query.split_words)
    )
    full = rarity.full_score(rarity.Rarity(len(labels), stems, forms))
    shares = {hit.id: min(1.3, hit.score / full) for hit in words}
    least = sorted(cosines.values(), reverse=True)[:MIN_DEPTH][-1]

    def score(id):
        share = shares.get(id, 0.0)
        return (cosines.get(id, least) + 0.8 * share**3) / (1 + 0.8 * 1.3**3)

    hits = store.search(text, **asked)
    assert [hit.score for hit in hits] == pytest.approx(sorted(map(score, cosines), reverse=True)[:44], abs=1e-4)
    for hit in hits:
        assert hit.score == pytest.approx(score(hit.id), abs=1e-4)


FORKS = """
import os, signal, sys, featurestore

store = featurestore.connect(sys.argv[1])
ask = lambda: [hit.id for hit in store.search("+exception handling", over=("labels", "tokens"))]
before = ask()
child = os.fork()
if not child:
    signal.alarm(20)  # it ends a process that waits
    os._exit(ask() != before)
print(len(before) > 0, os.waitpid(child, 0)[1])
"""


def test_a_forked_process_searches_in_several_ways_at_once(tiny_store):
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tiny_store)]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "True 0\n"


@pytest.mark.parametrize("n", [10, 20])
def test_a_feature_that_few_words_found_counts_with_its_cosine_however_long_the_answer(n):
    cosines = dict.fromkeys(range(20), 0.7) | dict.fromkeys(range(20, 50), 0.62) | dict.fromkeys(range(50, 250), 0.55)
    look_up = {500: 0.05}
    ranking = TextRanking(
        found(meaning=cosines, words={500: 0.5}),
        {"meaning": lambda numbers: [Candidate(number, look_up[number], number) for number in numbers]},
    )
    assert [match.number for match in ranking(n)] == list(range(n))
