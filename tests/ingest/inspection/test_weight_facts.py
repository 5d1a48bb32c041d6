"""Facts that weights alone give: duplicates, outliers, norms."""

import json

import numpy
import pytest
import torch

from ingest import weights
from ingest.inspection.weight_facts import duplicates, facts, outliers
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"


@pytest.fixture(scope="module")
def sae():
    return weights.read(DEMO / "dictionaries" / "2-res-2k")


def test_duplicates_against_all_pairs():
    rng = numpy.random.default_rng(0)
    rows = rng.normal(size=(600, 32)).astype(numpy.float32)
    rows[100] = rows[3]  # the same
    rows[200] = 2 * rows[4]  # of the same direction
    rows[300:320] = rows[5] + 0.08 * rng.normal(size=(20, 32))  # a crowd
    rows[400] = rows[6] + 0.3 * rng.normal(size=32)  # alike, but not so much
    unit = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
    cosine = unit @ unit.T - 2 * numpy.eye(len(rows))
    same, near, pairs = duplicates(torch.from_numpy(rows))
    assert (same, near) == (2, int((cosine.max(1) >= 0.98).sum()))
    assert near > 20
    for a, b, value in pairs:
        assert value == pytest.approx(cosine[a, b], abs=1e-5)
    assert [value for _, _, value in pairs] == sorted((value for _, _, value in pairs), reverse=True)
    assert duplicates(torch.from_numpy(rows[:1])) == (0, 0, [])


def test_outliers():
    values = torch.ones(100) + 0.01 * torch.randn(100, generator=torch.Generator().manual_seed(0))
    values[7], values[8] = 5.0, 0.0
    assert outliers(values) == [7, 8]
    assert outliers(torch.ones(5)) == []


def test_facts(sae):
    found = facts(sae)
    decoder, encoder = sae.W_dec.numpy(), sae.W_enc.numpy()
    cosine = (encoder.T * decoder).sum(1) / numpy.linalg.norm(decoder, axis=1) / numpy.linalg.norm(encoder, axis=0)
    assert found["encoder_decoder_cosine_median"] == pytest.approx(numpy.sort(cosine)[len(cosine) // 2 - 1], rel=1e-4)
    assert found["decoder_norm_largest"] == pytest.approx(numpy.linalg.norm(decoder, axis=1).max())
    assert (found["decoder_rows_zero"], found["format"], found["promised_l0"]) == (0, "SAELens", None)
    json.dumps(found, allow_nan=False)
