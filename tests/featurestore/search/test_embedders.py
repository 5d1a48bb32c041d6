"""Embedders: against published cosines, and those that are missing."""

import numpy
import pytest

from featurestore import BadRequest, Unavailable
from featurestore.search import embedders


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
