"""Dictionaries misread on purpose: the reading that fits is found."""

import dataclasses

import pytest
import torch

from ingest import weights
from ingest.inspection.alternatives import compare, is_doubtful
from ingest.inspection.selftest import agrees, measure, read_values
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"
TOKENS = 200


def promising(sae, truth):
    return dataclasses.replace(sae, promised_l0=(truth["l0"], truth["l0"]), promised_by="the test")


def average_scale(sae, model, corpus):
    x = torch.cat([read.x for read in read_values(sae, model, corpus)])
    return sae.d_in**0.5 / float(x.norm(dim=1).mean())


def mistaken(sae, kind, scale):
    """The dictionary with its file saying something wrong, or weights for another unit than it says."""
    if kind == "b_dec":
        return dataclasses.replace(sae, subtract_b_dec=False)
    if kind == "scale on":
        return dataclasses.replace(sae, norm="scale", scale=0.2)
    trained_on_scaled = {
        "W_enc": sae.W_enc / scale,
        "W_dec": sae.W_dec * scale,
        "b_dec": sae.b_dec * scale,
    }
    if kind == "scale off":
        return dataclasses.replace(sae, **trained_on_scaled)
    if kind == "threshold in the other unit":
        other = dataclasses.replace(sae, **trained_on_scaled, norm="scale", scale=scale)
        return dataclasses.replace(other, threshold=sae.threshold / scale)
    if kind == "layer's input":
        return dataclasses.replace(sae, hook_point="blocks.2.hook_resid_pre")
    assert kind == "two at once"
    return dataclasses.replace(sae, subtract_b_dec=False, norm="scale", scale=0.2)


@pytest.mark.parametrize(
    ("kind", "fits", "options"),
    [
        ("b_dec", "b_dec subtracted", "subtract_b_dec=true"),
        ("scale on", "input as it is", "norm=none"),
        ("scale off", "input scaled to the average norm", "scale="),
        ("threshold in the other unit", "threshold times the scale", "threshold_times="),
        ("two at once", "b_dec subtracted and input as it is", "subtract_b_dec=true&norm=none"),
    ],
)
@pytest.mark.parametrize("promise", [True, False], ids=["promised", "not promised"])
def test_what_fits_is_found(sae, model, corpus, truth, kind, fits, options, promise):
    wrong = mistaken(promising(sae, truth) if promise else sae, kind, average_scale(sae, model, corpus))
    found = measure(wrong, model, corpus)
    assert is_doubtful(wrong, found) or (kind, promise) == ("threshold in the other unit", False)
    verdict = compare(wrong, model, corpus, found)
    assert verdict.fits is not None
    assert verdict.fits["reading"] == fits
    assert options in verdict.fits["location"]
    assert verdict.fits["l0"] == pytest.approx(truth["l0"], rel=0.02)
    assert verdict.fits["variance_explained"] == pytest.approx(truth["variance_explained"], abs=0.01)
    assert verdict.tried[0] == {
        "reading": "as read",
        "location": wrong.location,
        **found,
        "agrees": agrees(wrong, found),
    }


def test_the_location_that_fits_is_read_so(sae, model, corpus, truth):
    wrong = weights.read(f"{sae.location}?subtract_b_dec=false&scale=0.2")
    verdict = compare(wrong, model, corpus, measure(wrong, model, corpus))
    again = weights.read(verdict.fits["location"])
    assert measure(again, model, corpus) == pytest.approx(truth)


def test_a_gain_too_few(model, corpus):
    """A transcoder that reads after the norm's gain, described as one that reads before it."""
    right = weights.read(DEMO / "dictionaries" / "3-tc-2k")
    truth = measure(right, model, corpus)
    wrong = dataclasses.replace(promising(right, truth), hook_point="blocks.3.ln2.hook_normalized")
    found = measure(wrong, model, corpus)
    verdict = compare(wrong, model, corpus, found)
    assert found["variance_explained"] < truth["variance_explained"] - 0.2
    assert verdict.fits["reading"] == "reading mlp.hook_in"
    assert verdict.fits["l0"] == truth["l0"]


def test_nothing_fits(sae, model, corpus, truth):
    shuffled = torch.randperm(sae.d_in, generator=torch.Generator().manual_seed(0))
    wrong = dataclasses.replace(promising(sae, truth), W_enc=sae.W_enc[shuffled], W_dec=sae.W_dec[:, shuffled.flip(0)])
    verdict = compare(wrong, model, corpus, measure(wrong, model, corpus))
    assert verdict.fits is None
    assert len(verdict.tried) > 20


def test_what_is_right_is_left_alone(sae, model, corpus, truth):
    right = promising(sae, truth)
    assert agrees(right, truth)
    assert not is_doubtful(right, truth)
    assert compare(right, model, corpus, truth).fits["reading"] == "as read"


def test_pairs_are_tried_on_fewer_tokens_where_they_cost_much(sae, model, corpus, monkeypatch):
    monkeypatch.setattr("ingest.inspection.alternatives.PAIRS_FLOP", 1.0)
    wrong = mistaken(sae, "two at once", 1)
    verdict = compare(wrong, model, corpus, measure(wrong, model, corpus))
    assert {row["tokens"] for row in verdict.tried} == {TOKENS, 100}
    assert verdict.fits["reading"] == "b_dec subtracted and input as it is"
