"""A feature is named in any form that people have it in, in every door that takes an id."""

import numpy
import pytest

from featurestore import BadRequest
from featurestore.values.feature import FeatureId, id_text

ID = "tiny/0-res/3"


@pytest.mark.parametrize(
    "given", [ID, f" {ID} ", "tiny@0-res:3", ("tiny/0-res", 3), FeatureId("tiny/0-res", 3)], ids=str
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
