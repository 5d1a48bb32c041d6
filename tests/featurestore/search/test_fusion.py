"""Rankings of features by text against reciprocal-rank fusion by hand."""

import subprocess
import sys

import pytest

from featurestore.search import keyword
from featurestore.search.cursor import Match
from featurestore.search.fusion import DEPTH, FUSION, MIN_DEPTH, Candidate, Evidence, TextRanking


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


def test_several_searches_are_fused_by_their_ranks():
    ranking = TextRanking({"meaning": search(1, 2, 3), "words": search(3, 1)})
    weights = {"meaning": 1 / 1.8, "words": 0.8 / 1.8}
    wanted = {
        number: sum(weights[name] * (FUSION + 1) / (FUSION + rank) for name, rank in ranks.items())
        for number, ranks in {1: {"meaning": 1, "words": 2}, 2: {"meaning": 2}, 3: {"meaning": 3, "words": 1}}.items()
    }
    matches = ranking(3)
    assert [match.number for match in matches] == sorted(wanted, key=lambda number: -wanted[number])
    assert [match.score for match in matches] == pytest.approx(sorted(wanted.values(), reverse=True))
    assert ranking.evidence(3) == {"meaning": Evidence(103, 8.0, 3), "words": Evidence(103, 10.0, 1)}


def test_what_is_first_everywhere_has_a_score_of_1():
    ranking = TextRanking({name: search(7) for name in ("meaning", "words", "tokens", "logits")})
    assert ranking(5) == [Match(7, pytest.approx(1.0))]


def test_equal_scores_come_in_the_order_of_numbers():
    ranking = TextRanking({"words": search(9), "tokens": search(3)})
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


def test_hybrid_is_reciprocal_rank_fusion(store):
    asked = {"k": 44, "group": False, "over": "labels"}
    meaning = [hit.id for hit in store.search("exception names", mode="semantic", **asked)]
    words = store.search("exception names", mode="keyword", **asked)
    labels = store.sql("SELECT label FROM labels", max_rows=None)["label"].to_pylist()
    full = keyword.full_score(len(labels), [sum(word in label for label in labels) for word in ("exception", "name")])
    wanted = {id: 9 / 1.8 / (8 + rank) for rank, id in enumerate(meaning, 1)}
    for rank, hit in enumerate(words, 1):
        share = min(1, hit.reasons[0].score / full)
        wanted[hit.id] = wanted.get(hit.id, 0) + 9 * 0.8 / 1.8 * share / (8 + rank)
    hits = store.search("exception names", **asked)
    assert [hit.score for hit in hits] == pytest.approx(sorted(wanted.values(), reverse=True)[:44])
    for hit in hits:
        assert hit.score == pytest.approx(wanted[hit.id])
        assert f"meaning {'' if hit.id in meaning else 'x'}" in hit.why


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
