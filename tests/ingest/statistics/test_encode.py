"""Non-zero activations in compact form against the dense array that Sae.encode gives."""

import numpy
import pytest
import torch

from ingest.sae import Sae
from ingest.statistics import encode
from ingest.statistics.encode import encode_active

TOKENS, D_IN, D_SAE = 30, 8, 23


def make_sae(activation: str) -> Sae:
    generator = torch.Generator().manual_seed(4)
    W_enc = torch.randn(D_IN, D_SAE, generator=generator)
    W_enc[:, 5] = 0  # a feature that is never active
    return Sae(
        W_enc=W_enc,
        b_enc=torch.zeros(D_SAE),
        W_dec=W_enc.T.contiguous(),
        b_dec=torch.zeros(D_IN),
        activation=activation,
        architecture=activation,
        hook_point="blocks.0.hook_resid_post",
        location="nowhere",
        hash="0" * 16,
        k=4,
    )


@pytest.mark.parametrize("slice_elements", [1, 200, 8_000_000])
@pytest.mark.parametrize(("first", "last"), [(0, D_SAE), (0, 1), (3, 11), (20, D_SAE)])
@pytest.mark.parametrize("activation", ["relu", "topk", "abstopk"])
def test_entries_equal_the_dense_array(activation, first, last, slice_elements, monkeypatch):
    monkeypatch.setattr(encode, "TILE_ELEMENTS", slice_elements)
    sae = make_sae(activation)
    x = torch.randn(TOKENS, D_IN, generator=torch.Generator().manual_seed(5))
    feature, token, value = encode_active(sae, x, first, last)
    assert (feature.dtype, token.dtype, value.dtype) == (torch.int64, torch.int64, torch.float32)
    dense = sae.encode(x).numpy()[:, first:last]
    features, tokens = numpy.nonzero(dense.T)
    assert (feature.tolist(), token.tolist()) == (features.tolist(), tokens.tolist())
    numpy.testing.assert_allclose(value, dense[tokens, features], rtol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "topk"])
def test_inputs_on_which_nothing_is_active(activation):
    sae = make_sae(activation)
    for x in (torch.zeros(3, D_IN), torch.zeros(0, D_IN)):
        assert [len(column) for column in encode_active(sae, x, 0, D_SAE)] == [0, 0, 0]
