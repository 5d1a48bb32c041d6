"""Searches of other kinds: several features, less others, the opposite, given sets, tokens, pages, copies."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest, Query
from featurestore.search import keyword as text
from featurestore.search import token_index
from tests.featurestore.search.test_searcher import IDS, LIVE, MATRIX, check_exact, cosines
from tests.support import tiny


@pytest.fixture(scope="module")
def store(either):
    return either


def unit(rows):
    return MATRIX[rows] / numpy.linalg.norm(MATRIX[rows], axis=-1, keepdims=True)


def test_centroid_and_difference(store):
    hits = store.nearest(["tiny/0-res/1", "tiny/0-res/2"], k=12)
    wanted = unit([1, 2]).mean(axis=0)
    check_exact(hits, cosines(wanted), [i for i in LIVE if i not in (1, 2)], 12)
    hits = store.nearest(["tiny/0-res/1", "tiny/0-res/2"], unlike="tiny/1-res/2", k=12)
    check_exact(hits, cosines(wanted - unit([26])[0]), [i for i in LIVE if i not in (1, 2, 26)], 12)
    vector = numpy.random.default_rng(0).normal(size=8)
    hits = store.nearest(vector, unlike=["tiny/0-res/5"], k=12)
    check_exact(hits, cosines(vector / numpy.linalg.norm(vector) - unit([5])[0]), [i for i in LIVE if i != 5], 12)


def test_the_least_similar_come_first_when_the_opposite_is_asked_for(store):
    vector = numpy.random.default_rng(1).normal(size=8)
    hits = store.nearest(vector, opposite=True, k=44)
    scores = cosines(vector)
    assert [hit.score for hit in hits] == pytest.approx(sorted(scores[LIVE]), abs=1e-5)
    assert hits[0].why == f"cosine {hits[0].score:.3f}"


def test_a_given_set_is_ranked_by_a_text(store):
    ids = ["tiny/1-res/3", "tiny/0-res/0", "tiny/0-res/8", "tiny/1-res/5"]
    hits = store.search("exceptions are raised", among=ids, k=4)
    assert {hit.id for hit in hits} == set(ids), "copies are not put together: each was asked about"
    assert {hit.feature for hit in hits[:2]} == {0, 8}
    assert [hit.id for hit in store.rerank("exceptions are raised", ids)] == [hit.id for hit in hits]
    with pytest.raises(featurestore.NotFound, match="no feature 99"):
        store.search("x", among=["tiny/0-res/99"])


@pytest.mark.parametrize(
    "either", ["local"], indirect=True
)  # tests/featurestore/test_doors.py compares pages over HTTP with these
@pytest.mark.parametrize("mode", ["semantic", "keyword", "hybrid"])
@pytest.mark.parametrize("group", [True, False])
def test_pages_have_every_hit_once(store, mode, group):
    whole = store.search("exceptions and self", mode=mode, k=44, group=group)
    seen, cursor = [], None
    for _ in range(40):
        page = store.search("exceptions and self", mode=mode, k=6, group=group, cursor=cursor)
        seen += [hit.id for hit in page]
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert set(seen) == {hit.id for hit in whole}
    assert seen[:6] == [hit.id for hit in whole[:6]]
    iterated = [hit.id for page in store.pages(text="exceptions and self", mode=mode, k=6, group=group) for hit in page]
    assert iterated == seen


def test_pages_of_nearest_vectors_are_exact(store):
    seen = [hit for page in store.pages(near="tiny/0-res/3", k=7) for hit in page]
    assert [hit.score for hit in seen] == [hit.score for hit in store.nearest("tiny/0-res/3", k=43)]
    assert len({hit.id for hit in seen}) == 43


def test_cursors_belong_to_their_query(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s")
    page = store.search("self", k=2)
    with pytest.raises(BadRequest, match="belongs to another query"):
        store.search("brackets", k=2, cursor=page.next)
    with pytest.raises(BadRequest, match="is no cursor; take the `next`"):
        store.search("self", k=2, cursor="forged!")
    with store.writer("tests") as writer:
        tiny.add_dictionary(writer, "2-res", 2)
    assert any(
        "has changed since the page before" in note for note in store.search("self", k=2, cursor=page.next).notes
    )


def test_copies_are_shown_as_one(tmp_path):
    store = featurestore.create(tmp_path / "s")
    with store.writer("tests") as writer:
        for layer, source in enumerate(tiny.SOURCES):
            name = f"tiny/{source}"
            writer.add("dictionaries", tiny.table([tiny.dictionary_row(source, layer)]), key=name)
            writer.add("features", tiny.table(tiny.feature_rows(name)), key=name)
            said = [{"label": f"Axis {i % 4}!" if layer else f"axis {i % 4}", "feature": i} for i in range(22)]
            common = {"dictionary": name, "explainer": "x", "tool": "tests", "created_at": tiny.WHEN}
            writer.add("labels", tiny.table([common | row for row in said]), key=name)
            writer.add_vectors(name, tiny.vectors(layer))
    store.index()
    hits = store.search("axis 2", k=44)
    groups = [{hit.id, *hit.copies} for hit in hits]
    assert sorted(id for group in groups for id in group) == sorted(id for id in IDS if int(id.split("/")[2]) < 22)
    for group in groups:  # features of a group have one label, and lie near the first of it
        rows = [IDS.index(id) for id in group]
        assert len({row % 24 % 4 for row in rows}) == 1
    for hit, group in zip(hits, groups, strict=True):
        first = unit([IDS.index(hit.id)])[0]
        assert all(unit([IDS.index(id)])[0] @ first > 0.9 for id in group)
    # Whoever is first of its label apart from another is too far from it.
    for one in hits:
        for other in hits:
            if one.id < other.id and IDS.index(one.id) % 24 % 4 == IDS.index(other.id) % 24 % 4:
                assert unit([IDS.index(one.id)])[0] @ unit([IDS.index(other.id)])[0] <= 0.9
    assert len(store.search("axis 2", k=44, group=False)) == 44


def test_tokens_of_top_examples_and_logits(store):
    hits = store.search("self", over="tokens", k=48)
    assert len(hits) == 0, "it stands in a window, but no feature fires on it at half strength"
    hits = store.search("x", over="tokens", k=48, group=False)
    assert {IDS.index(hit.id) for hit in hits} == set(LIVE), "all fire on the second token of the first document"
    assert hits[0].why.startswith("fires on x in 1 of 2 top examples")
    parts = store.search("caf*", over="tokens", k=48, group=False)
    assert parts[0].why == "fires on cafédef in 1 of 2 top examples", "two bytes of a word fired: it is that word"
    raised = store.search("valueerror", over="logits", k=48, group=False)
    assert {IDS.index(hit.id) for hit in raised} == set(LIVE)
    assert raised[0].why == "raises ' ValueError' +2.50 (its #1)"
    assert store.search(")", over="logits", k=1)[0].why == "raises ')' +1.50 (its #2)"
    both = store.search("x", over=["tokens", "labels"], mode="keyword", k=5)
    assert "fires on x" in both[0].why
    with pytest.raises(BadRequest, match="tokens are searched by words"):
        store.search("x", over="tokens", mode="semantic")


def test_words_of_top_examples_are_whole_and_phrases_stand_together(tmp_path):
    """A slow reading of the windows gives the same words as the index was built of."""
    store = tiny.write_tiny_store(tmp_path / "s")
    index = store._now.searcher._token_index()
    for number in (0, 7, 30):
        page = store.feature(IDS[number])
        wanted = []
        for example in page.examples:
            if example.band != "top":
                continue
            strong = [i for i, a in enumerate(example.activations) if a >= 0.5 * max(example.activations)]
            inside = set()
            for i in strong:
                low = high = i
                text = example.tokens  # the second byte of a character is shown on the first, and is empty
                while low > 0 and (text[low][:1] or "x").isalnum() and (text[low - 1][-1:] or "x").isalnum():
                    low -= 1
                while (
                    high + 1 < len(text) and (text[high][-1:] or "x").isalnum() and (text[high + 1] or "x")[0].isalnum()
                ):
                    high += 1
                inside.update(range(low, high + 1))
            words = [("" if i - 1 in inside else token_index.GAP) + example.tokens[i] for i in sorted(inside)]
            wanted.append("".join(words))
        assert [window.strip(token_index.GAP) for window in index.windows(number)] == [
            window.strip(token_index.GAP) for window in wanted
        ]


def test_why_names_the_words_and_another_label_that_matched(store):
    hit = next(h for h in store.search("exceptions handled", mode="keyword", k=48, group=False) if h.feature == 0)
    assert "exception handling" in hit.why
    assert hit.explainer == "gpt-x"
    only = store.search("0", mode="keyword", k=5)
    assert any("in tokens's “" in hit.why for hit in only), "the shown label is another explainer's"


def test_plus_and_minus_are_about_words(store):
    hits = store.search("exceptions -handling", k=48, group=False)
    assert {hit.feature % 8 for hit in hits} == {6}
    assert "searched by words only: + and - say which words a label must and must not have" in hits.notes
    with pytest.raises(BadRequest, match="only says what must not be there"):
        store.search("-handling", mode="keyword")


def test_prefixes_and_tokens_that_are_no_words(tmp_path):
    rows = [
        {"text": "exceptional", "text_tokens": ["->"]},
        {"text": "exempt", "text_tokens": [" ->", "x"]},
        {"text": "os.path joins", "text_tokens": []},
    ]
    text.build(tmp_path / "x", rows, tokens=("text",), stored=True)
    index = text.KeywordIndex(tmp_path / "x", 3)

    def found(words, **more):
        return sorted(index.search(text.Words.of(words), 5, **more)[0].tolist())

    assert found("exceptio*") == [0]
    assert found("ex*") == [0, 1]
    assert found("exceptions") == [0], "stems of both are one"
    assert found("excepts") == [0]
    assert found("exc") == []
    assert found("->", tokens=True) == [0, 1]
    assert found("->") == []
    assert found("joined os.path") == [2]
    assert [index.texts(row) for row in (2, 0)] == [{"text": "os.path joins"}, {"text": "exceptional"}]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"near": ["tiny/0-res/1"], "unlike": ["tiny/0-res/1"]}, "unlike: it points where the rest"),
        ({"text": "x", "unlike": ["tiny/0-res/1"]}, "unlike: it goes with near or vector"),
        ({"text": "x", "opposite": True}, "opposite: it goes with near or vector"),
        ({"near": "tiny/0-res/1", "over": ["tokens"]}, "over: tokens says how text is matched"),
        ({"text": "x", "over": ["dreams"]}, "Invalid enum value 'dreams'"),
        ({"vector": [1.0, 2.0], "unlike": ["tiny/0-res/1"]}, "it has 2 numbers"),
    ],
)
def test_questions_that_make_no_sense(store, fields, words):
    with pytest.raises(BadRequest, match=words):
        store.run(Query.of(**fields))


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


def test_probes_are_read_from_files(tmp_path):
    import torch
    from safetensors.torch import save_file

    from featurestore.cli import vector_files

    vector = torch.tensor([0.5, -1.0, 2.0])
    numpy.save(tmp_path / "v.npy", vector.numpy())
    numpy.save(tmp_path / "m.npy", numpy.stack([vector, 2 * vector]))
    save_file({"a": vector, "b": vector.bfloat16()[None]}, tmp_path / "v.safetensors")
    torch.save(vector, tmp_path / "v.pt")
    torch.save({"w": torch.stack([vector, vector])}, tmp_path / "d.pt")
    for name in ("v.npy", "m.npy::0", "v.safetensors:a", "v.safetensors:b", "v.pt", "d.pt:w:1"):
        assert vector_files.is_file(name)
        numpy.testing.assert_array_equal(vector_files.read(str(tmp_path / name)), vector.numpy())
    assert not vector_files.is_file("gpt2-small/8-res-jb/12")
    (tmp_path / "x.pt").write_bytes(b"junk")
    (tmp_path / "x.npy").write_bytes(b"junk")
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    torch.save([1, 2], tmp_path / "list.pt")
    for name, kind, words in [
        ("m.npy", BadRequest, r"shape \(2, 3\); one vector is wanted, or a row's number as in FILE::0"),
        ("m.npy::7", featurestore.NotFound, "no row 7"),
        ("v.safetensors", BadRequest, "2 tensors; say which"),
        ("v.safetensors:c", featurestore.NotFound, "no tensor 'c'; there are: a, b"),
        ("none.npy", featurestore.NotFound, "no file"),
        ("x.pt", BadRequest, "loads safely"),
        ("x.npy", BadRequest, "not a .npy file"),
        ("x.safetensors", BadRequest, "not a readable .safetensors file"),
        ("list.pt", BadRequest, "holds a list"),
    ]:
        with pytest.raises(kind, match=words):
            vector_files.read(str(tmp_path / name))


def test_a_store_without_labels_is_searched_by_tokens(tmp_path):
    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    with pytest.raises(featurestore.Unavailable, match="labels are not indexed yet"):
        store.search("x")
    with store.writer("tests") as writer:
        for name in store.dictionaries():
            writer.remove("labels", name.dictionary)
    store.index()
    hits = store.search("x", k=3)
    assert hits[0].why.startswith("fires on x")
    assert hits[0].label is None
    assert "searched the tokens that top examples fire on only" in hits.notes[-1]


def test_embedding_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    from featurestore.search import embedders, label_vectors

    store = tiny.write_tiny_store(tmp_path / "s", index=False)
    monkeypatch.setattr(label_vectors, "BATCH", 8)
    real = embedders.open_embedder()
    embedded = []

    class Failing:
        setting, id = real.setting, real.id

        def __init__(self, most):
            self.most = most

        def __call__(self, texts, stage=None):
            if len(embedded) >= self.most:
                raise KeyboardInterrupt
            embedded.extend(texts)
            return real(texts)

    monkeypatch.setattr(embedders, "open_embedder", lambda setting: Failing(10))
    with pytest.raises(KeyboardInterrupt):
        store.index()
    assert len(embedded) == 16
    monkeypatch.setattr(embedders, "open_embedder", lambda setting: Failing(10**9))
    assert any(line.startswith("embedded ") for line in store.index())
    labels = store.sql("SELECT DISTINCT label FROM labels")["label"].to_pylist()
    assert sorted(embedded) == sorted(labels), "each text once, in both runs together"
    hits = store.search("exception handling", mode="semantic", k=44, group=False)
    monkeypatch.setattr(embedders, "open_embedder", lambda setting: real)
    fresh = tiny.write_tiny_store(tmp_path / "t")
    again = fresh.search("exception handling", mode="semantic", k=44, group=False)
    assert [hit.score for hit in hits] == [hit.score for hit in again]


@pytest.mark.parametrize("indexed", [True, False])
def test_cross_layer_transcoders_have_a_vector_for_each_layer(tmp_path, indexed):
    store = tiny.write_tiny_store(tmp_path / "s")
    rng = numpy.random.default_rng(3)
    many = rng.normal(size=(24, 3, 8)).astype(numpy.float16)
    with store.writer("tests") as writer:
        row = tiny.dictionary_row("2-clt", 2) | {"kind": "clt"}
        writer.add("dictionaries", tiny.table([row]), key="tiny/2-clt")
        writer.add("features", tiny.table(tiny.feature_rows("tiny/2-clt")), key="tiny/2-clt")
        writer.add_vectors("tiny/2-clt", many, targets=[2, 3, 5])
        with pytest.raises(BadRequest, match=r"shape \(24, 3, 8\); \(rows, 2, d_out\) is wanted"):
            writer.add_vectors("tiny/3-clt", many, targets=[2, 3])
    if indexed:
        store.index()
    directions = many.astype(numpy.float32) / numpy.linalg.norm(many.astype(numpy.float32), axis=2, keepdims=True)
    vector = rng.normal(size=8)
    of_layer = directions @ (vector / numpy.linalg.norm(vector))
    hits = store.nearest(vector, k=24, within="tiny/2-clt", all=True)
    assert [hit.score for hit in hits] == pytest.approx(sorted(of_layer.max(axis=1), reverse=True), abs=1e-5)
    for hit in hits:
        layer = [2, 3, 5][int(of_layer[hit.feature].argmax())]
        assert hit.why == f"cosine {hit.score:.3f} into layer {layer}"
    whole = store.nearest(vector, k=72, all=True)
    assert len({hit.id for hit in whole}) == len(whole) == 72
    wanted = numpy.sort(numpy.concatenate([cosines(vector), of_layer.max(axis=1)]))[::-1]
    assert [hit.score for hit in whole] == pytest.approx(wanted.tolist(), abs=1e-5)
    numpy.testing.assert_array_equal(store.vector("tiny/2-clt/4", target=5), many[4, 2].astype(numpy.float32))
    numpy.testing.assert_array_equal(store.vector("tiny/2-clt/4"), many[4, 0].astype(numpy.float32))
    with pytest.raises(featurestore.NotFound, match="no decoder vector into layer 4; there are: 2, 3, 5"):
        store.vector("tiny/2-clt/4", target=4)
    assert store.check().problems == ()
