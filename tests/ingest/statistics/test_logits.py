"""Effects on logits against float64 and full sorts; norms and cosines against NumPy."""

import dataclasses

import numpy
import pytest
import torch

from ingest import weights
from ingest.statistics import logits
from ingest.statistics.logits import BINS, LOGITS, compute_logit_effects, compute_norms, make_logit_column
from tests.support import small_models


@pytest.mark.parametrize("vocabulary", [7, 1500, 2 * logits.CHUNKS, 5000])
def test_effects_equal_full_sorts(vocabulary, monkeypatch):
    monkeypatch.setattr(logits, "BLOCK_ELEMENTS", 9 * vocabulary)
    monkeypatch.setattr(logits, "ROWS_ELEMENTS", 4 * vocabulary)
    generator = torch.Generator().manual_seed(0)
    unembedding = torch.randn(vocabulary, 16, generator=generator)
    unembedding[:3] *= 4  # the strongest ones of many rows are in few chunks
    W_dec = torch.randn(20, 16, generator=generator)
    W_dec[5] = 0
    found = compute_logit_effects(W_dec, unembedding, centred=True)
    exact = ((W_dec - W_dec.mean(1, keepdim=True)).double() @ unembedding.double().T).numpy()
    most = min(LOGITS, vocabulary)
    ascending = numpy.sort(exact, axis=1)
    numpy.testing.assert_allclose(found.values, ascending[:, ::-1][:, :most], atol=1e-5)
    numpy.testing.assert_allclose(found.low_values, ascending[:, :most], atol=1e-5)
    for ids, values in ((found.ids, found.values), (found.low_ids, found.low_values)):
        numpy.testing.assert_allclose(numpy.take_along_axis(exact, ids, 1), values, atol=1e-5)
        assert all(len(set(row)) == most for row in ids.tolist())
    live = numpy.arange(20) != 5
    away = exact[live] - exact[live].mean(1, keepdims=True)
    spread = away.std(1, keepdims=True)
    numpy.testing.assert_allclose(found.mean, exact.mean(1), atol=1e-5)
    numpy.testing.assert_allclose(found.std[live], spread[:, 0], rtol=1e-4)
    numpy.testing.assert_allclose(found.skewness[live], ((away / spread) ** 3).mean(1), atol=1e-3)
    numpy.testing.assert_allclose(found.kurtosis[live], ((away / spread) ** 4).mean(1), rtol=1e-3)
    assert (found.histogram.sum(1) == vocabulary).all()
    assert found.histogram[5].tolist() == [vocabulary, *[0] * (BINS - 1)]
    for row, counts in zip(exact[live], found.histogram[live], strict=True):
        assert abs(numpy.histogram(row, BINS)[0] - counts).sum() <= 2  # one on an edge may fall on either side
    assert (found.std[5], found.mean[5]) == (0, 0)
    assert numpy.isnan(found.kurtosis[5])


def test_columns_of_logits_hold_texts_and_values():
    ids, values = numpy.array([[2, 0], [1, 1]]), numpy.array([[0.5, 0.25], [2, 1]], numpy.float32)
    column = make_logit_column(ids, values, ["a", "b", "c"]).to_pylist()
    assert [[(effect["token"], effect["value"]) for effect in row] for row in column] == [
        [("c", 0.5), ("a", 0.25)],
        [("b", 2), ("b", 1)],
    ]


def test_norms_and_cosines_equal_numpy(tmp_path):
    sae = weights.read(small_models.write_sae(tmp_path / "sae", hook="blocks.0.hook_resid_post"))
    W_enc, W_dec = sae.W_enc.double().numpy(), sae.W_dec.double().numpy()
    decoder, encoder, cosine = compute_norms(sae, 3, 9)
    numpy.testing.assert_allclose(decoder, numpy.linalg.norm(W_dec[3:9], axis=1), rtol=1e-5)
    numpy.testing.assert_allclose(encoder, numpy.linalg.norm(W_enc[:, 3:9], axis=0), rtol=1e-5)
    products = (W_enc.T * W_dec).sum(1) / numpy.linalg.norm(W_enc, axis=0) / numpy.linalg.norm(W_dec, axis=1)
    numpy.testing.assert_allclose(cosine, products[3:9], rtol=1e-4)


def test_cosines_need_equal_widths(tmp_path):
    sae = weights.read(small_models.write_sae(tmp_path / "sae", hook="blocks.0.hook_resid_post"))
    narrow = dataclasses.replace(sae, W_dec=sae.W_dec[:, :5])
    decoder, _, cosine = compute_norms(narrow, 0, 4)
    assert (decoder.shape, cosine) == ((4,), None)


def test_zero_vectors_have_no_cosine(tmp_path):
    sae = weights.read(small_models.write_sae(tmp_path / "sae", hook="blocks.0.hook_resid_post"))
    sae.W_dec[2] = 0
    decoder, _, cosine = compute_norms(sae, 0, sae.d_sae)
    assert decoder[2] == 0
    assert numpy.flatnonzero(numpy.isnan(cosine)).tolist() == [2]
