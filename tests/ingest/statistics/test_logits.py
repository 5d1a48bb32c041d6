"""Effects on logits of a vocabulary wide enough for the quick way, against float64 and full sorts."""

import numpy
import pytest
import torch

from ingest.statistics import logits
from ingest.statistics.logits import BINS, LOGITS, logit_effects


@pytest.mark.parametrize("vocabulary", [7, 1500, 2 * logits.CHUNKS, 5000])
def test_effects_equal_full_sorts(vocabulary, monkeypatch):
    monkeypatch.setattr(logits, "BLOCK_ELEMENTS", 9 * vocabulary)
    monkeypatch.setattr(logits, "ROWS_ELEMENTS", 4 * vocabulary)
    generator = torch.Generator().manual_seed(0)
    unembedding = torch.randn(vocabulary, 16, generator=generator)
    unembedding[:3] *= 4  # the strongest ones of many rows are in few chunks
    W_dec = torch.randn(20, 16, generator=generator)
    W_dec[5] = 0
    found = logit_effects(W_dec, unembedding, centred=True)
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
