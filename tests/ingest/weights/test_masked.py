"""Masked, zero and broken features, of a dictionary read by a map."""

import numpy
import pytest

from featurestore import BadRequest
from ingest import weights
from tests.support.published_weights import D, N, encoded, inputs, jumped, made, pre, save, tensors

X = inputs()
MAP = "?hook_point=blocks.0.hook_resid_post&map=W_enc:W_enc,b_enc:b_enc,W_dec:W_dec,b_dec:b_dec,threshold:threshold"
OTHERS = [0, *range(4, N)]


def read(folder, w, options=""):
    parts = {name: w[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    return weights.read(f"{save(folder / 'x.pt', tensors(**parts))}{MAP}{options}")


def test_masked_features_never_fire_and_the_others_are_as_they_were(tmp_path):
    w = made()
    wanted = jumped(pre(X, w), w["threshold"])
    w["threshold"][1] = numpy.inf
    w["b_enc"][2] = -numpy.inf
    w["W_dec"][3] = 0
    sae = read(tmp_path, w)
    activations = encoded(sae, X)
    assert not activations[:, [1, 2]].any()
    numpy.testing.assert_allclose(activations[:, OTHERS], wanted[:, OTHERS], rtol=2e-4, atol=2e-5)
    assert any("2 of 12 features (1, 2) are masked" in note for note in sae.inferred)
    assert any("1 of 12 features (3) have a decoder vector of zeros" in note for note in sae.inferred)


@pytest.mark.parametrize(("part", "value"), [("W_enc", numpy.nan), ("b_enc", numpy.inf), ("threshold", -numpy.inf)])
def test_broken_features_are_refused_by_index_or_dropped(tmp_path, part, value):
    w = made()
    w[part][(Ellipsis, 5)] = value
    with pytest.raises(BadRequest, match=r"1 of 12 features \(5\).*drop_bad=true"):
        read(tmp_path, w)
    sae = read(tmp_path, w, "&drop_bad=true")
    assert not encoded(sae, X)[:, 5].any()
    assert numpy.isfinite(encoded(sae, X)).all()
    assert sae.W_enc.shape == (D, N)
