"""Neighbourhoods and duplicates against exact scans and full comparisons."""

import pytest

import featurestore
from featurestore import BadRequest
from tests.support.exact_search import IDS, LIVE, MATRIX, cosines, unit


@pytest.fixture(scope="module")
def store(either):
    return either


def test_a_neighbourhood_has_the_edges_of_an_exact_scan(store):
    found = store.neighbourhood("tiny/0-res/3", k=4)
    edges = {(edge.source, edge.target): edge.cosine for edge in found.edges}
    nodes = [node.id for node in found.nodes]
    assert nodes[0] == found.id == "tiny/0-res/3"
    assert sorted(set(nodes)) == sorted(nodes)
    near = [target for source, target in edges if source == "tiny/0-res/3"]
    for source in ["tiny/0-res/3", *near]:
        at = IDS.index(source)
        scores = cosines(MATRIX[at])
        wanted = sorted((scores[i] for i in LIVE if i != at), reverse=True)[:4]
        mine = [(cosine, target) for (one, target), cosine in edges.items() if one == source]
        assert [cosine for cosine, _ in sorted(mine, reverse=True)] == pytest.approx(wanted, abs=1e-5)
        assert all(cosine == pytest.approx(scores[IDS.index(target)], abs=1e-5) for cosine, target in mine)
    assert {id for edge in edges for id in edge} == set(nodes)
    scores = cosines(MATRIX[3])
    assert [node.score for node in found.nodes] == pytest.approx([scores[IDS.index(id)] for id in nodes], abs=1e-5)
    assert store.neighbourhood("tiny/0-res/22", k=2).nodes[0].state == "dead", "a dead feature has neighbours too"


def test_duplicates_are_those_of_a_full_comparison(store):
    full = unit(list(range(48))) @ unit(list(range(48))).T
    ours, theirs = [i for i in LIVE if i < 24], [i for i in LIVE if i >= 24]
    wanted = {(IDS[i], float(full[i, theirs].max())) for i in ours if full[i, theirs].max() >= 0.999}
    found = store.duplicates("tiny/0-res", cosine=0.999)
    assert {pair.id for pair in found.pairs} == {id for id, _ in wanted}
    assert found.compared == len(ours)
    best = dict(wanted)
    for pair in found.pairs:
        assert pair.cosine == pytest.approx(best[pair.id], abs=1e-5)
        assert full[IDS.index(pair.id), IDS.index(pair.other)] == pytest.approx(pair.cosine, abs=1e-5)
    within = store.duplicates("tiny/0-res", against="tiny/0-res", cosine=-1)
    assert len({frozenset((pair.id, pair.other)) for pair in within.pairs}) == len(within.pairs)
    assert all(pair.id != pair.other for pair in within.pairs)
    assert len(store.duplicates("tiny/0-res", cosine=0.5, k=3).pairs) == 3
    for bad in ({"cosine": 2.0}, {"k": 0}, {"against": "tiny/9-res"}):
        with pytest.raises((BadRequest, featurestore.NotFound)):
            store.duplicates("tiny/0-res", **bad)
