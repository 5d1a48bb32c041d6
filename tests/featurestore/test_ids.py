"""A feature is named in any form that people have it in, in every door that takes an id."""

import numpy
import pytest

import featurestore
from featurestore import BadRequest
from featurestore.values.feature import FeatureId, id_text
from featurestore.web import create_app
from tests.support import tiny

ID = "tiny/0-res/3"


@pytest.mark.parametrize(
    "given",
    [
        ID,
        f" {ID} ",
        "tiny@0-res:3",
        "https://www.neuronpedia.org/tiny/0-res/3",
        "https://neuronpedia.org/api/feature/tiny/0-res/3/",
        ("tiny/0-res", 3),
        FeatureId("tiny/0-res", 3),
    ],
    ids=str,
)
def test_forms_of_an_id_mean_the_same(given):
    assert id_text(given) == ID
    assert FeatureId.parse(given) == FeatureId("tiny/0-res", 3)


def test_every_method_takes_values_that_have_an_id(either):
    page = either.feature(("tiny/0-res", 3))
    assert page == either.feature(ID) == either.feature("tiny@0-res:3") == either.feature(page)
    hits = either.nearest(page, k=3)
    assert [hit.id for hit in hits] == [hit.id for hit in either.nearest(ID, k=3)]
    assert [hit.id for hit in either.nearest([page, hits[0]], k=3)] == [
        hit.id for hit in either.nearest([ID, hits[0].id], k=3)
    ]
    assert either.features(hits) == either.features([hit.id for hit in hits])
    numpy.testing.assert_array_equal(either.vectors(hits), either.vectors([hit.id for hit in hits]))
    numpy.testing.assert_array_equal(either.vector(page), either.vector(ID))
    assert either.neighbourhood(page, k=2) == either.neighbourhood(ID, k=2)
    assert either.scores(page) == either.scores(ID)
    among = [hit.id for hit in either.search("x", among=list(hits), all=True)]
    assert among == [hit.id for hit in either.search("x", among=[hit.id for hit in hits], all=True)]


def test_a_dictionary_is_found_by_its_name_on_neuronpedia(tmp_path):
    """Where it is another than here, and no dictionary here has it; pages lead there and back."""
    with featurestore.create(tmp_path / "s") as store:
        with store.writer("tests") as writer:
            tiny.add_corpus(writer)
            row = tiny.dictionary_row("0-res", 0) | {"neuronpedia_id": "gpt2-small/0-res-jb"}
            writer.add("dictionaries", tiny.table([row]), key="tiny/0-res")
            writer.add("features", tiny.table(tiny.feature_rows("tiny/0-res")), key="tiny/0-res")
            writer.add_vectors("tiny/0-res", tiny.vectors(0))
        entry = store.dictionary("gpt2-small/0-res-jb")
        assert (entry.dictionary, entry.neuronpedia_id) == ("tiny/0-res", "gpt2-small/0-res-jb")
        assert entry.neuronpedia_url == "https://www.neuronpedia.org/gpt2-small/0-res-jb"
        for given in ("gpt2-small@0-res-jb:3", "https://www.neuronpedia.org/gpt2-small/0-res-jb/3"):
            assert store.feature(given).id == ID
        http = create_app(store).test_client()
        assert http.get("/v1/features/gpt2-small/0-res-jb/3").json["id"] == ID
        assert 'href="https://www.neuronpedia.org/gpt2-small/0-res-jb/3"' in http.get(f"/features/{ID}").text
        assert 'href="https://www.neuronpedia.org/gpt2-small/0-res-jb"' in http.get("/dictionaries/tiny/0-res").text
        with pytest.raises(BadRequest, match="neuronpedia_id"), store.writer("tests") as writer:
            row = tiny.dictionary_row("1-res", 1) | {"neuronpedia_id": "javascript:alert(1)"}
            writer.add("dictionaries", tiny.table([row]), key="tiny/1-res")


@pytest.mark.parametrize("vector", [(1.0,) * 8, [1] * 8, numpy.ones(8, numpy.float32)], ids=["tuple", "list", "numpy"])
def test_vectors_are_still_vectors(either, vector):
    assert either.nearest(vector, k=2).hits


def test_what_was_meant_is_named(tiny_store):
    import featurestore

    with featurestore.connect(tiny_store) as store:
        with pytest.raises(BadRequest, match=r"'0-res/3' is not a feature id.*, did you mean tiny/0-res/3\?"):
            store.feature("0-res/3")
        with pytest.raises(
            BadRequest, match="not a feature id but a dictionary: name a feature of it, as in tiny/0-res/0"
        ):
            store.nearest("tiny/0-res")
