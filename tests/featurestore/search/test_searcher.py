"""Search against slow oracles: exact cosines in NumPy, filters by hand."""

import subprocess
import sys

import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, NotFound, Query, Unavailable
from featurestore.search import embedders, keyword, vectors
from tests.support import tiny

MATRIX = numpy.concatenate([tiny.vectors(0), tiny.vectors(1)]).astype(numpy.float16).astype(numpy.float32)
IDS = [f"tiny/{source}/{i}" for source in tiny.SOURCES for i in range(tiny.D_SAE)]
LIVE = [i for i in range(48) if i % 24 not in (22, 23)]


@pytest.fixture(scope="module")
def store(either):
    return either


def cosines(vector):
    unit = MATRIX / numpy.linalg.norm(MATRIX, axis=1, keepdims=True)
    return unit @ (vector / numpy.linalg.norm(vector))


def check_exact(hits, scores, among, k):
    wanted = numpy.sort(scores[among])[::-1][:k]
    assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), abs=1e-5)
    for hit in hits:
        at = IDS.index(hit.id)
        assert at in among
        assert hit.score == pytest.approx(scores[at], abs=1e-5)


def test_nearest_by_feature_is_exact_and_leaves_itself_out(store):
    hits = store.nearest("tiny/0-res/3", k=12)
    check_exact(hits, cosines(MATRIX[3]), [i for i in LIVE if i != 3], 12)


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


def test_nearest_by_vector_is_exact(store):
    vector = numpy.random.default_rng(0).normal(size=8)
    check_exact(store.nearest(vector, k=48), cosines(vector), LIVE, 48)
    assert len(store.nearest(vector, k=48)) == 44
    check_exact(store.nearest(vector, k=48, all=True), cosines(vector), list(range(48)), 48)


@pytest.mark.parametrize(
    ("where", "those"),
    [
        ("layer = 1", [i for i in LIVE if i >= 24]),
        ("feature = 5", [5, 29]),
        ("density between 0.004 and 0.0061 and has_label", [i for i in LIVE if i % 24 in (3, 4, 5)]),
        ("explainer = 'gpt-x'", [i for i in LIVE if i % 24 % 4 == 0]),
        ("label like '%ValueError%' -- comment", [i for i in LIVE if i % 8 == 6]),
        ("false", []),
    ],
)
def test_filters_are_inside_the_search(store, where, those):
    vector = numpy.random.default_rng(1).normal(size=8)
    hits = store.nearest(vector, k=10, where=where)
    check_exact(hits, cosines(vector), those, 10)
    assert len(hits) == min(10, len(those))
    for mode in ("semantic", "keyword", "hybrid"):
        found = store.search("exceptions and brackets", mode=mode, where=where, k=48, group=False)
        labelled = [i for i in those if i % 24 < 22]
        assert {IDS.index(hit.id) for hit in found} <= set(labelled)
        if mode != "keyword":
            assert len(found) == len(labelled), "k results whenever k exist"


def test_within_dictionaries_and_models(store):
    assert {hit.dictionary for hit in store.search("self", within="tiny/1-res")} == {"tiny/1-res"}
    assert {hit.dictionary for hit in store.search("self", within="tiny", k=30, group=False)} == {
        "tiny/0-res",
        "tiny/1-res",
    }
    with pytest.raises(NotFound, match="no dictionary 'tiny/9'; there are: tiny/0-res, tiny/1-res"):
        store.search("self", within="tiny/9")


def test_semantic_scores_are_cosines_of_label_embeddings(store):
    embedder = embedders.open_embedder()
    labels = store.sql("SELECT dictionary || '/' || feature AS id, label FROM labels").to_pylist()
    matrix = embedder([row["label"] for row in labels])
    scores = {}
    for row, score in zip(labels, matrix @ embedder(["handling of errors"])[0], strict=True):
        scores[row["id"]] = max(scores.get(row["id"], -1), float(score))
    hits = store.search("handling of errors", mode="semantic", k=44, group=False)
    assert len(hits) == 44
    for hit in hits:
        assert hit.score == pytest.approx(scores[hit.id], abs=2e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert "exception" in hits[0].label


def test_keyword_stems_phrases_and_negation(store):
    def features(words):
        return {hit.feature % 8 for hit in store.search(words, mode="keyword", k=48)}

    assert features("exception") == {0, 6}
    assert features("imported") == {3}
    assert features('"end of a call"') == {1}
    assert features('"call a of end"') == set()
    assert features("+exceptions -handling") == {6}
    assert features("what's (this: exception") >= {0, 6}, "any text is a query"


def test_hybrid_is_reciprocal_rank_fusion(store):
    asked = {"k": 44, "group": False, "over": "labels"}
    meaning = [hit.id for hit in store.search("exception names", mode="semantic", **asked)]
    words = [hit.id for hit in store.search("exception names", mode="keyword", **asked)]
    wanted = {}
    for ranking in (meaning, words):
        for rank, id in enumerate(ranking, 1):
            wanted[id] = wanted.get(id, 0) + (9 / 1.5 if ranking is meaning else 9 / 3) / (8 + rank)
    hits = store.search("exception names", **asked)
    assert [hit.score for hit in hits] == pytest.approx(sorted(wanted.values(), reverse=True)[:44])
    for hit in hits:
        assert hit.score == pytest.approx(wanted[hit.id])
        assert f"meaning {'' if hit.id in meaning else 'x'}" in hit.why


def test_hidden_features_are_said(store):
    hits = store.nearest("tiny/0-res/3")
    assert hits.notes == ("left out: 2 dead and 2 always-on features (all=true shows them)",)
    assert store.nearest("tiny/0-res/3", all=True).notes == ()
    nothing = store.search("self", where="false")
    assert (len(nothing), nothing.notes) == (0, ("no feature is left by the filter",))


def test_hits_carry_the_best_label(store):
    hit = next(hit for hit in store.search("exception handling", k=48, group=False) if hit.feature == 8)
    assert (hit.explainer, hit.label) == ("gpt-x", "exception handling: raise and except, said a model")


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"text": " "}, BadRequest, "text is empty"),
        ({"text": "x" * 5000}, BadRequest, "text: Expected `str` of length <= 4000"),
        ({"text": "x", "k": 0}, BadRequest, "k: Expected `int` >= 1"),
        ({"text": "x", "k": 10**9}, BadRequest, "k: Expected `int` <= 10000"),
        ({"text": "x", "mode": "psychic"}, BadRequest, "mode: Invalid enum value 'psychic'"),
        ({"text": "x", "limt": 3}, BadRequest, "unknown field `limt`"),
        ({"text": "x", "where": "layer ="}, BadRequest, "SQL: Parser Error"),
        ({"text": "x", "where": "nose = 1"}, BadRequest, 'SQL: Binder Error: .*"nose"'),
        ({"text": "x", "where": "1=1) UNION SELECT * FROM (SELECT 1, 2"}, BadRequest, "is more than a condition"),
        ({"near": "tiny/0-res"}, BadRequest, "is not a feature id: write model/source/index"),
        ({"near": "tiny/7-res/1"}, NotFound, "no dictionary 'tiny/7-res'"),
        ({"near": "tiny/0-res/24"}, NotFound, "d_sae is 24, so indices run 0 to 23"),
        ({"near": "tiny/0-res/1", "space": "other"}, BadRequest, "lives in tiny, not in other"),
        ({"vector": (1.0, 2.0)}, BadRequest, "it has 2 numbers, but vectors of space tiny have 8"),
        ({"vector": (0.0,) * 8}, BadRequest, "all its numbers are zero"),
        ({"vector": (float("nan"),) * 8}, BadRequest, "every number must be finite"),
        ({"vector": (1.0,) * 8, "space": "other"}, NotFound, "no space 'other'; there are: tiny"),
        ({"vector": (1.0,) * 8, "mode": "keyword"}, BadRequest, "the query has no text"),
        ({}, BadRequest, "exactly one of text, near and vector"),
    ],
)
def test_questions_that_cannot_be_answered(store, fields, kind, words):
    with pytest.raises(kind, match=words):
        store.run(Query.of(**fields))


def test_new_vectors_are_found_before_they_are_indexed(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 3)
    vector = tiny.vectors(3)[5]
    hits = store.nearest(vector, k=66)
    assert hits[0].dictionary == "tiny/2-res"
    assert len(hits) == 66
    assert "22 labels are newer" not in "".join(hits.notes)
    noted = store.search("self")
    assert "28 labels are newer than the index: run `featurestore index`" in noted.notes
    before = [(hit.id, hit.score) for hit in hits]
    store.index()
    after = [(hit.id, hit.score) for hit in store.nearest(vector, k=66)]
    assert [id for id, _ in before] == [id for id, _ in after]
    assert [score for _, score in before] == pytest.approx([score for _, score in after], abs=1e-5)
    assert store.index() == [], "a second run has nothing to do"
    assert store.search("self").notes == ("left out: 3 dead and 3 always-on features (all=true shows them)",)


def test_removed_dictionaries_are_not_found(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    with store.writer("tests") as writer:
        writer.remove_dictionary("tiny/0-res")
    for hits in (store.nearest(tiny.vectors(0)[3], k=48, all=True), store.search("self", k=48)):
        assert {hit.dictionary for hit in hits} == {"tiny/1-res"}


def test_a_store_is_searched_with_the_embedder_it_was_built_with(tmp_path, monkeypatch):
    store = tiny.write_tiny_store(tmp_path / "s")
    monkeypatch.setattr(embedders.open_embedder(), "id", "another-model#123")
    with pytest.raises(Unavailable, match=r"embedded with all-MiniLM-L6-v2#\w+, but here .* is another-model#123"):
        store.search("self", mode="semantic")
    store.index()
    assert store.info().embedder == "another-model#123"
    assert len(store.search("self", mode="semantic")) == 10


def test_without_torch_words_are_searched_and_it_is_said(store, monkeypatch):
    monkeypatch.setattr(embedders, "available", lambda setting: False)
    hits = store.search("closing brackets")
    assert "searched by words only" in hits.notes[-1]
    assert hits[0].feature % 8 == 1


def _cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damaged", "ask", "built"),
    [
        ("decoder_index/**/*.faiss", lambda store: store.nearest("tiny/0-res/1"), "decoder index of space tiny"),
        ("label_index/**/index.faiss", lambda store: store.search("self", mode="semantic"), "label index"),
        ("label_index/**/meta.json", lambda store: store.search("self", mode="keyword"), "label index"),
        ("label_index/**/rows.arrow", lambda store: store.search("self"), "label index"),
        ("token_index/**/meta.json", lambda store: store.search("self"), "token index of tiny/"),
    ],
)
def test_damaged_indexes_are_named_and_built_again(tmp_path, damaged, ask, built):
    store = tiny.write_tiny_store(tmp_path / "s")
    before = [(hit.id, hit.score) for hit in ask(store)]
    assert store.index() == [], "nothing is stale"
    _cut(next((tmp_path / "s").glob(damaged)))
    reopened = featurestore.connect(tmp_path / "s")
    with pytest.raises(BadStore, match=r"run `featurestore (index|check --repair)`"):
        ask(reopened)
    assert [line.startswith(built) for line in reopened.index() if "index" in line] == [True]
    assert [(hit.id, hit.score) for hit in ask(reopened)] == before
    assert reopened.index() == [] and not reopened.check().problems


def test_an_index_of_another_format_is_built_again(tmp_path, monkeypatch):
    store = tiny.write_tiny_store(tmp_path / "s")
    monkeypatch.setattr(vectors, "FORMAT", vectors.FORMAT + 1)
    assert [line.startswith("decoder index of space tiny") for line in store.index()] == [True]
    assert store.index() == []


def test_vector_index_equals_a_full_sort(tmp_path):
    rng = numpy.random.default_rng(2)
    data = rng.normal(size=(3000, 16)).astype(numpy.float16)
    data[17] = 0
    assert vectors.build(tmp_path / "x", [data[:1000], data[1000:]]) == 3000
    index = vectors.VectorIndex(tmp_path / "x", [data[:1000], data[1000:]])
    query = rng.normal(size=16).astype(numpy.float32)
    exact = vectors.unit(data) @ vectors.unit(query[None])[0]
    for allowed in (None, rng.random(3000) < 0.01, numpy.arange(3000) == 17):
        rows, scores = index.search(query, 20, allowed)
        masked = exact if allowed is None else numpy.where(allowed, exact, -2)
        some = 3000 if allowed is None else int(allowed.sum())
        numpy.testing.assert_allclose(scores, numpy.sort(masked)[::-1][: min(20, some)], atol=1e-5)
        numpy.testing.assert_allclose(exact[rows], scores, atol=1e-5)


def test_keyword_index_with_many_allowed_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(keyword, "FEW", 10)
    keyword.build(tmp_path / "x", [{"text": f"common word{n}"} for n in range(500)])
    index = keyword.KeywordIndex(tmp_path / "x", 500)
    allowed = keyword.Allowed(numpy.arange(500) >= 480)
    rows, _ = index.search(keyword.Words.of("common"), 30, allowed)
    assert sorted(rows) == list(range(480, 500)), "allowed rows are found however many others match"


def test_embedder_equals_the_published_cosines():
    found = embedders.open_embedder()(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    numpy.testing.assert_allclose(
        found @ found.T, [[1, 0.6660, 0.1046], [0.6660, 1, 0.1411], [0.1046, 0.1411, 1]], atol=1e-3
    )


@pytest.mark.parametrize(
    ("setting", "kind", "words"),
    [
        ("/no/such/model", Unavailable, "no embedder at /no/such/model"),
        ("openai:x", BadRequest, "write openai:MODEL@BASE_URL"),
    ],
)
def test_embedders_that_are_not_there(setting, kind, words):
    with pytest.raises(kind, match=words):
        embedders.open_embedder(setting)


def test_how_a_query_is_read_is_no_field_of_it(store):
    with pytest.raises(BadRequest, match="unknown field `strict`"):
        store.search("x", strict=False)
