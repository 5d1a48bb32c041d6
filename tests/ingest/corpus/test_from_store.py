"""Corpora read back from a store: the same tokens, harvested over again without being stored again."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest, BadStore, NotFound
from ingest import weights
from ingest.corpus import from_store
from ingest.corpus.corpus import tokenise
from ingest.corpus.from_store import corpora, read_corpus
from ingest.harvest.harvest import harvest
from ingest.harvest.write_dictionary import write_corpus
from ingest.model.model import Model
from tests.support import small_models

TEXTS = [*small_models.TEXTS, ("long", "abc" * 600), ("again", small_models.TEXTS[0][1])]


@pytest.fixture
def store(tmp_path):
    with featurestore.create(tmp_path / "s") as made:
        yield made


def write(store, corpus):
    with store.writer("tests") as writer:
        write_corpus(writer, corpus)
    return corpus


@pytest.mark.parametrize("together", [1, 50, 4_000_000])
def test_a_corpus_comes_back_as_it_was_written(store, monkeypatch, together):
    monkeypatch.setattr(from_store, "TOGETHER", together)
    other = write(store, tokenise(small_models.tokenizer(), small_models.TEXTS[1:]))
    corpus = write(store, tokenise(small_models.tokenizer(), TEXTS))
    found = read_corpus(store, corpus.id, small_models.tokenizer())
    assert (found.id, found.tokenizer_id, found.names) == (corpus.id, corpus.tokenizer_id, corpus.names)
    numpy.testing.assert_array_equal(found.data, corpus.data)
    numpy.testing.assert_array_equal(found.offsets, corpus.offsets)
    numpy.testing.assert_array_equal(found.held_out, corpus.held_out)
    assert {(row["corpus"], row["documents"], row["tokens"]) for row in corpora(store)} == {
        (one.id, len(one.names), one.size) for one in (corpus, other)
    }


def test_harvests_over_one_corpus_store_it_once(tmp_path, store):
    model = Model(str(small_models.write_model(tmp_path / "model")))
    saes = {
        f"{layer}-res": weights.read(
            small_models.write_sae(tmp_path / str(layer), hook=f"blocks.{layer}.hook_resid_post")
        )
        for layer in range(3)
    }

    def run(source, documents):
        return harvest(store, model, {source: saes[source]}, documents, model_id="small")

    run("0-res", small_models.TEXTS)
    (there,) = corpora(store)
    run("1-res", iter(small_models.TEXTS))
    run("2-res", lambda tokenizer: read_corpus(store, there["corpus"], tokenizer))
    assert corpora(store) == [there]
    assert {one.corpus for one in store.dictionaries()} == {there["corpus"]}
    # The third, over what was read back, has the tables that a harvest over the texts makes.
    with featurestore.create(tmp_path / "fresh") as fresh:
        harvest(fresh, model, {"2-res": saes["2-res"]}, small_models.TEXTS, model_id="small")
        asked = "FROM {} WHERE dictionary = 'small/2-res' ORDER BY ALL"
        for table in ("features", "examples"):
            assert store.sql(asked.format(table)).equals(fresh.sql(asked.format(table)))


def test_corpora_that_are_not_there_or_of_another_tokenizer(store):
    with pytest.raises(NotFound, match="no corpus nowhere in the store; there are: none"):
        read_corpus(store, "nowhere", small_models.tokenizer())
    corpus = write(store, tokenise(small_models.tokenizer(), TEXTS))
    with pytest.raises(NotFound, match=rf"no corpus ' or 1 in the store; there are: {corpus.id} \(5 documents\)"):
        read_corpus(store, "' or 1", small_models.tokenizer())
    other = small_models.tokenizer()
    other.add_tokens(["abc"])
    with pytest.raises(
        BadRequest, match=rf"corpus {corpus.id} was tokenised by the tokenizer {corpus.tokenizer_id}, but"
    ):
        read_corpus(store, corpus.id, other)


def test_a_corpus_that_another_program_named_keeps_its_name(store):
    corpus = tokenise(small_models.tokenizer(), TEXTS)
    corpus.id = "their's"
    write(store, corpus)
    assert read_corpus(store, "their's", small_models.tokenizer()).id == "their's"


def test_tokens_that_are_not_what_the_id_says_are_refused(store):
    corpus = tokenise(small_models.tokenizer(), TEXTS)
    corpus.id = "0123456789abcdef"
    write(store, corpus)
    with pytest.raises(BadStore, match="the tokens of corpus 0123456789abcdef are others than it is named after"):
        read_corpus(store, corpus.id, small_models.tokenizer())
