"""Search against slow oracles: exact cosines in NumPy, filters by hand."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, NotFound, Query
from featurestore.search import vectors
from tests.support import tiny
from tests.support.exact_search import IDS, LIVE, MATRIX, check_exact, cosines


@pytest.fixture(scope="module")
def store(either):
    return either


def test_nearest_by_feature_is_exact_and_leaves_itself_out(store):
    hits = store.nearest("tiny/0-res/3", k=12)
    check_exact(hits, cosines(MATRIX[3]), [i for i in LIVE if i != 3], 12)


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
        ({"text": "x" * 5000}, BadRequest, "^text: it has 5,000 characters; 4,000 are taken at most: shorten it$"),
        ({"text": "x", "k": 0}, BadRequest, "k: 0 is not a whole number of at least 1"),
        ({"text": "x", "k": 10**9}, BadRequest, "k: 1000000000 is not a whole number of at most 10000"),
        ({"text": "x", "mode": "psychic"}, BadRequest, "mode: 'psychic' is not one of hybrid, keyword, semantic"),
        ({"text": "x", "limt": 3}, BadRequest, "unknown field 'limt', did you mean k\\?"),
        ({"text": "x", "where": "layer ="}, BadRequest, "SQL: Parser Error"),
        ({"text": "x", "where": "nose = 1"}, BadRequest, 'SQL: Binder Error: .*"nose"'),
        ({"text": "x", "where": "1=1) UNION SELECT * FROM (SELECT 1, 2"}, BadRequest, "is more than a condition"),
        (
            {"near": "tiny/0-res"},
            BadRequest,
            "is not a feature id but a dictionary: name a feature of it, as in tiny/0-res/0",
        ),
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
        store.run(Query.of(fields))


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
    with pytest.raises(BadStore, match=r"run `featurestore (index( --rebuild)?|check --repair)`"):
        ask(reopened)
    assert [line.startswith(built) for line in reopened.index() if "index" in line] == [True]
    assert [(hit.id, hit.score) for hit in ask(reopened)] == before
    assert reopened.index() == [] and not reopened.check().problems


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


def test_how_a_query_is_read_is_no_field_of_it(store):
    with pytest.raises(BadRequest, match="unknown field 'strict';"):
        store.search("x", strict=False)


def test_a_given_set_is_ranked_by_a_text(store):
    ids = ["tiny/1-res/3", "tiny/0-res/0", "tiny/0-res/8", "tiny/1-res/5"]
    hits = store.search("exceptions are raised", among=ids, k=4)
    assert {hit.id for hit in hits} == set(ids), "copies are not put together: each was asked about"
    assert {hit.feature for hit in hits[:2]} == {0, 8}
    assert [hit.id for hit in store.rerank("exceptions are raised", ids)] == [hit.id for hit in hits]
    with pytest.raises(featurestore.NotFound, match="no feature 99"):
        store.search("x", among=["tiny/0-res/99"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"near": ["tiny/0-res/1"], "unlike": ["tiny/0-res/1"]}, "unlike: it points where the rest"),
        ({"text": "x", "unlike": ["tiny/0-res/1"]}, "unlike: it goes with near or vector"),
        ({"text": "x", "opposite": True}, "opposite: it goes with near or vector"),
        ({"near": "tiny/0-res/1", "over": ["tokens"]}, "over: tokens says how text is matched"),
        ({"text": "x", "over": ["dreams"]}, "over: 'dreams' is not one of examples, labels, logits, tokens"),
        ({"vector": [1.0, 2.0], "unlike": ["tiny/0-res/1"]}, "it has 2 numbers"),
    ],
)
def test_questions_that_make_no_sense(store, fields, words):
    with pytest.raises(BadRequest, match=words):
        store.run(Query.of(fields))


def test_an_empty_list_matches_nothing_and_a_note_says_so(either):
    for name in ("within", "among"):
        for hits in (either.search("closing", **{name: []}), either.nearest("tiny/0-res/3", **{name: ()}, all=True)):
            assert (list(hits), hits.notes[0]) == ([], f"{name} is an empty list, which matches nothing")
    assert list(either.rerank("closing", [])) == []
    assert either.features([]) == []
    assert len(either.search("closing")) > 0
