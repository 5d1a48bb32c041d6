"""What a dictionary lacks is shown as absent in every door: a matrix of what is absent and where it is asked for."""

import json

import httpx2
import numpy
import pytest

import featurestore
from featurestore import BadRequest, NotFound
from featurestore.cli.main import main
from featurestore.client import Client
from featurestore.web import create_app
from tests.support import tiny

D_SAE = 12
# What each dictionary of the store has beside its own row.
HELD = {
    "row": (),
    "labels": ("labels",),
    "gaps": ("gaps",),
    "no-vectors": ("features", "examples", "labels"),
    "no-statistics": ("vectors", "labels"),
    "no-examples": ("features", "vectors"),
    "no-counts": ("densities", "silent", "labels"),
    "vectors": ("vectors",),
    "whole": ("features", "examples", "vectors", "labels"),
}
WITH_VECTORS = [source for source, held in HELD.items() if "vectors" in held]
LABEL = "the same label everywhere"
EDGES = [0.0, 0.5, 1.0, 2.5]


def dictionary_row(source):
    row = {"dictionary": f"tiny/{source}", "model": "tiny", "source": source, "kind": "sae", "d_sae": D_SAE}
    row |= {"tool": "tests", "created_at": tiny.WHEN, "origin": "import", "import_format": "labels", "decimals": 3}
    if "vectors" in HELD[source]:
        row |= {"d_out": tiny.D_OUT, "space": "tiny"}
    return row | ({"kind": "vectors"} if source == "vectors" else {})


def rows_of(kind, name):
    """The table and the rows of what a dictionary holds."""
    if kind == "gaps":
        return "features", [{"dictionary": name, "feature": feature, "density": 0.1} for feature in (3, 7)]
    if kind == "densities":
        bins = {"histogram": [5, 0, 1], "histogram_edges": EDGES, "extra": json.dumps({"neuron_alignment": [1]})}
        logits = {"top_logits": [{"token": None, "value": 1.0, "id": 7}]}
        return "features", [
            {"dictionary": name, "feature": feature, "density": [0.01, 0.0, 0.5][feature % 3]} | bins | logits
            for feature in range(D_SAE)
        ]
    if kind == "silent":
        window = {"corpus": tiny.CORPUS, "document": 0, "start": 0, "length": 4, "position": None, "activation": 0.0}
        place = {"band": "interval 1 of 5", "rank": 0, "band_share": 0.25, "repeated": True, "extra": '{"dfa": [1, 2]}'}
        lists = {"offsets": [], "activations": []}
        return "examples", [{"dictionary": name, "feature": f} | place | window | lists for f in range(D_SAE)]
    if kind == "labels":
        common = {"dictionary": name, "label": LABEL, "explainer": "somebody", "imported": True}
        who = {"tool": "tests", "created_at": tiny.WHEN}
        return "labels", [common | who | {"feature": feature} for feature in range(2, D_SAE)]
    make = {"features": tiny.feature_rows, "examples": tiny.example_rows}[kind]
    return kind, [row for row in make(name) if row["feature"] < D_SAE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("absent") / "s"
    store = featurestore.create(path)
    with store.writer("tests") as writer:
        row = {"tokenizer": tiny.TOKENIZER, "pieces": tiny.PIECES, "bytes": tiny.BYTES, "collected": True}
        writer.add("tokenizers", tiny.table([row]), key=tiny.TOKENIZER)
        documents = [
            {"document": i, "name": None, "tokenizer": tiny.TOKENIZER, "length": len(tokens)}
            for i, tokens in enumerate(tiny.DOCUMENTS)
        ]
        stream = numpy.concatenate(tiny.DOCUMENTS)
        writer.add_corpus(tiny.CORPUS, tiny.table(documents), stream, excerpts=True)
        for source, held in HELD.items():
            name = f"tiny/{source}"
            writer.add("dictionaries", tiny.table([dictionary_row(source)]), key=name)
            for kind in held:
                if kind == "vectors":
                    writer.add_vectors(name, tiny.vectors(0)[:D_SAE])
                else:
                    table, rows = rows_of(kind, name)
                    writer.add(table, tiny.table(rows), key=name)
    store.index()
    store.close()
    return path


@pytest.fixture(scope="module")
def local(folder):
    with featurestore.connect(folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def web(local):
    return create_app(local).test_client()


@pytest.fixture(scope="module", params=["local", "http"])
def store(request, local):
    """The store, and a client of its service."""
    if request.param == "local":
        yield local
        return
    with Client("http://x", transport=httpx2.WSGITransport(app=create_app(local))) as client:
        yield client


EVERY = pytest.mark.parametrize("source", HELD)


@EVERY
def test_a_feature_says_what_it_lacks(store, source):
    held = HELD[source]
    feature = store.feature(f"tiny/{source}/3")
    assert feature.label == (LABEL if "labels" in held else None)
    assert bool(feature.examples) == bool({"examples", "silent"} & set(held))
    assert feature.state == ("live" if {"features", "gaps", "densities"} & set(held) else "unharvested")
    assert (feature.active_tokens is None) == ("features" not in held)
    assert (feature.histogram_edges is None) == (feature.histogram is None)
    assert store.feature(f"tiny/{source}/4").feature == 4  # between two rows that were given
    if source == "no-counts":
        assert feature.histogram == (5, 0, 1)
        assert feature.histogram_edges == tuple(EDGES)
        assert feature.top_logits[0].token == "#7"
        assert feature.top_logits[0].id == 7
        assert [store.feature(f"tiny/{source}/{n}").state for n in range(3)] == ["live", "dead", "always-on"]
        (example,) = feature.examples
        assert (example.position, example.peak, example.repeated, example.held_out) == (None, -1, True, False)
        assert not any(example.activations)


@EVERY
@pytest.mark.parametrize("page", ["/features/tiny/{}/3", "/features/tiny/{}/4", "/dictionaries/tiny/{}"])
def test_pages_show_what_is_there(web, source, page):
    answer = web.get(page.format(source))
    assert answer.status_code == 200, answer.text[:500]
    assert "None" not in answer.text.replace('<p class="quiet">None.</p>', "")
    assert "nan" not in answer.text.casefold().replace("finance", "")


def test_home_and_every_list_of_dictionaries(store, web, invoke, folder):
    assert web.get("/").status_code == 200
    assert [dictionary.source for dictionary in store.dictionaries()] == sorted(HELD)
    assert store.dictionary("tiny/labels").hook_point is None
    assert store.info().features == D_SAE * len(HELD)
    assert repr(store.dictionary("tiny/labels")) == "<Dictionary tiny/labels: 12 features, sae>"
    assert store.dictionary("tiny/labels")._repr_html_()
    assert invoke(main, ["info", "--store", str(folder)]).exit_code == 0


@EVERY
def test_a_vector_is_there_or_said_to_be_missing(store, source):
    id = f"tiny/{source}/3"
    if source in WITH_VECTORS:
        assert store.vector(id).shape == (tiny.D_OUT,)
        assert {hit.dictionary.partition("/")[2] for hit in store.nearest(id, k=100, all=True)} <= set(WITH_VECTORS)
        assert store.neighbourhood(id, 3).nodes
        return
    for ask in (store.vector, store.nearest, lambda id: store.neighbourhood(id, 3)):
        with pytest.raises(NotFound, match=f"no decoder vectors of tiny/{source}: .* attach-weights tiny/{source}"):
            ask(id)


def test_a_vector_finds_those_that_have_one(store):
    hits = store.nearest([1.0] + [0.0] * 7, k=100, all=True)
    assert {hit.dictionary.partition("/")[2] for hit in hits} == set(WITH_VECTORS)


@pytest.mark.parametrize("mode", ["keyword", "semantic", "hybrid"])
def test_searches_find_labels_whatever_else_is_absent(store, mode):
    hits = store.search(LABEL, mode=mode, k=100, all=True)
    of_hits = {id.rpartition("/")[0].partition("/")[2] for hit in hits for id in (hit.id, *hit.copies)}
    assert of_hits >= {source for source, held in HELD.items() if "labels" in held}
    # Without vectors nothing is known to be a copy of another.
    lone = {hit.dictionary for hit in hits if hit.dictionary == "tiny/labels"}
    assert lone == {"tiny/labels"}


@EVERY
def test_a_search_within_one_dictionary(store, source):
    assert len(store.search("raise", mode="keyword", within=f"tiny/{source}", k=5, all=True)) >= 0
    assert len(store.search(LABEL, within=f"tiny/{source}", k=5, where="density IS NULL", all=True)) >= 0


def test_sql_has_a_row_for_every_feature(store):
    rows = store.sql("SELECT source, count(*) AS n, count(density) AS known FROM features GROUP BY source").to_pylist()
    assert {row["source"]: row["n"] for row in rows} == dict.fromkeys(HELD, D_SAE)
    known = {row["source"]: row["known"] for row in rows}
    assert known["gaps"] == 2
    assert known["labels"] == known["row"] == 0
    silent = store.sql("SELECT tokens, position FROM examples WHERE dictionary = 'tiny/no-counts' AND feature = 0")
    assert silent.to_pylist() == [{"tokens": ["def", " x", "(", " self"], "position": None}]
    states = store.sql("SELECT DISTINCT state FROM features WHERE source = 'no-counts'")["state"].to_pylist()
    assert sorted(states) == ["always-on", "dead", "live"]
    assert store.sql("SELECT count(*) AS n FROM labels WHERE imported")["n"].to_pylist() == [10 * 5]


def test_comparing_dictionaries(local):
    assert local.duplicates("tiny/whole", "tiny/vectors", cosine=0.9, k=5).pairs
    with pytest.raises(NotFound, match="no decoder vectors of tiny/no-vectors"):
        local.duplicates("tiny/no-vectors")
    with pytest.raises((BadRequest, NotFound)):
        local.duplicates("tiny/whole", "tiny/labels")


@EVERY
@pytest.mark.parametrize("command", [["feature", "{}"], ["search", "label", "--mode", "keyword", "--within", "{d}"]])
def test_commands_show_what_is_there(invoke, folder, source, command):
    words = [word.format(f"tiny/{source}/3", d=f"tiny/{source}") for word in command]
    for more in ([], ["--json"]):
        result = invoke(main, [*words, "--store", str(folder), *more])
        assert result.exit_code == 0, result.output


def test_the_store_is_whole_and_can_be_maintained(local):
    assert local.check().problems == ()
    local.compact()
    local.index()
    assert local.check().problems == ()
    assert local.compact() == []
    # A person's own label comes before an imported one.
    assert local.feature("tiny/labels/3").label == LABEL
    local.set_label("tiny/labels/3", "what I say")
    assert local.feature("tiny/labels/3").label == "what I say"
    assert [label.imported for label in local.feature("tiny/labels/3").labels] == [None, True]
