"""Measures of the self-test on the demo's real model equal their definitions."""

import dataclasses

import numpy
import pytest
import torch

from featurestore import BadRequest
from ingest import weights
from ingest.inspection.selftest import Read, agrees, measure, measure_values, read_values
from tests.ingest.weights.readers.test_gemma_scope import CLT, first, lower
from tests.support import ROOT
from tests.support.published_weights import made, save, tensors

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"
TOKENS = 200


def test_measures_equal_their_definitions(sae, model, corpus, truth):
    x = torch.cat([read.x for read in read_values(sae, model, corpus)]).double().numpy()
    arrays = {name: getattr(sae, name).double().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    p = (x - arrays["b_dec"]) @ arrays["W_enc"] + arrays["b_enc"]
    acts = numpy.where(p > arrays["threshold"], numpy.maximum(p, 0), 0)
    back = acts @ arrays["W_dec"] + arrays["b_dec"]
    assert truth["tokens"] == len(x) == TOKENS
    assert truth["l0"] == pytest.approx((acts != 0).sum(1).mean(), rel=1e-3)
    explained = 1 - ((x - back) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    assert truth["variance_explained"] == pytest.approx(explained, rel=1e-4)
    assert truth["never_fired"] == pytest.approx((acts == 0).all(0).sum(), abs=2)


def test_slices_of_features_measure_the_same(sae, model, corpus, truth, monkeypatch):
    """A dictionary of a million features is never encoded at once."""
    monkeypatch.setattr("ingest.inspection.selftest.TILE", 100 * TOKENS)
    assert measure(sae, model, corpus) == pytest.approx(truth, rel=1e-4)
    topk = dataclasses.replace(sae, activation="topk", k=20)
    sliced = measure(topk, model, corpus)
    monkeypatch.undo()
    assert measure(topk, model, corpus) == pytest.approx(sliced, rel=1e-4)


def test_another_number_is_promised(sae, model, corpus, truth):
    other = dataclasses.replace(sae, promised_l0=(3 * truth["l0"], 3 * truth["l0"]), promised_by="the path")
    assert agrees(other, truth) is False
    assert agrees(dataclasses.replace(other, promised_l0=(truth["l0"] / 3, 3 * truth["l0"])), truth)
    assert agrees(sae, truth) is None


def test_a_cross_layer_transcoder_explains_nothing_alone(tmp_path, model, corpus):
    found = lower(made(3, d=192, n=64)) | tensors(w_dec=numpy.ones((64, 6, 192), numpy.float32))
    clt = weights.read(save(tmp_path / CLT / "params_layer_3.safetensors", found))
    result = measure(clt, model, corpus)
    assert result["variance_explained"] is None
    assert result["l0"] > 0


def test_weights_of_another_model(tmp_path, model, corpus):
    other = weights.read(first(tmp_path, "gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_5"))
    with pytest.raises(BadRequest, match=r"reads 8 and writes 8 numbers, but .* has 192 at blocks\.3\.hook_resid_post"):
        measure(other, model, corpus)


def test_attention_sinks_are_left_out_and_counted(sae, model, corpus, truth, monkeypatch):
    """One token of a context a hundred times as long as the others would be all of the variance."""
    plain = model.read

    def with_sinks(ids, points):
        found = plain(ids, points)
        for value in found.values():
            value[:, 1] *= 1000  # the first after BOS
        return found

    monkeypatch.setattr(model, "read", with_sinks)
    found = measure(sae, model, corpus)
    assert (found["sinks_left_out"], truth["sinks_left_out"]) == (len(corpus.contexts(255)), 0)
    assert found["tokens"] == truth["tokens"] - found["sinks_left_out"]
    assert found["l0"] == pytest.approx(truth["l0"], rel=0.05)
    assert found["variance_explained"] == pytest.approx(truth["variance_explained"], abs=0.02)


def test_nothing_to_measure_on(sae):
    with pytest.raises(BadRequest, match="no token to measure it on"):
        measure_values(sae, [])


def test_measured_on_one_token(sae):
    x = torch.randn(1, sae.d_in, generator=torch.Generator().manual_seed(0))
    assert measure_values(sae, [Read(x, x)])["variance_explained"] is None


def test_options_that_cannot_be_applied(sae):
    with pytest.raises(BadRequest, match="transposed is given, but W_enc is"):
        weights.read(f"{sae.location}?transposed=true")
    with pytest.raises(BadRequest, match="norm is 'huge'; it is one of none"):
        weights.read(f"{sae.location}?norm=huge")
