"""The self-test on the demo's real model: dictionaries misread on purpose are found out, and the way that fits is told."""

import dataclasses
import json
from pathlib import Path

import numpy
import pytest
import torch

from featurestore import BadRequest
from featurestore.cli.main import main
from ingest import weights
from ingest.corpus.corpus import tokenise
from ingest.corpus.sources import documents
from ingest.inspection.alternatives import compare, is_doubtful
from ingest.inspection.selftest import Read, agrees, measure, measure_values, read_values
from ingest.inspection.weight_facts import duplicates, facts, outliers
from ingest.model.model import Model
from tests.ingest.weights.readers.test_gemma_scope import CLT, first, lower
from tests.support import ROOT
from tests.support.published_weights import made, save, tensors

pytestmark = pytest.mark.usefixtures("one_thread")
DEMO = ROOT / "featurestore_demo"
TOKENS = 200


@pytest.fixture(scope="module")
def text():
    return str(Path(json.__file__).parent / "decoder.py")


@pytest.fixture(scope="module")
def model():
    return Model(str(DEMO / "model"))


@pytest.fixture(scope="module")
def corpus(model, text):
    return tokenise(model.tokenizer, documents([text]), TOKENS)


@pytest.fixture(scope="module")
def sae():
    return weights.read(DEMO / "dictionaries" / "2-res-2k")


@pytest.fixture(scope="module")
def truth(sae, model, corpus):
    return measure(sae, model, corpus)


def promising(sae, truth):
    return dataclasses.replace(sae, promised_l0=(truth["l0"], truth["l0"]), promised_by="the test")


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


def test_another_number_is_promised(sae, model, corpus, truth):
    other = dataclasses.replace(sae, promised_l0=(3 * truth["l0"], 3 * truth["l0"]), promised_by="the path")
    assert agrees(other, truth) is False
    assert agrees(dataclasses.replace(other, promised_l0=(truth["l0"] / 3, 3 * truth["l0"])), truth)
    assert agrees(sae, truth) is None


def test_pairs_are_tried_on_fewer_tokens_where_they_cost_much(sae, model, corpus, monkeypatch):
    monkeypatch.setattr("ingest.inspection.alternatives.PAIRS_FLOP", 1.0)
    wrong = mistaken(sae, "two at once", 1)
    verdict = compare(wrong, model, corpus, measure(wrong, model, corpus))
    assert {row["tokens"] for row in verdict.tried} == {TOKENS, 100}
    assert verdict.fits["reading"] == "b_dec subtracted and input as it is"


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


def test_command_on_weights_alone(tmp_path, invoke):
    folder = first(tmp_path)
    done = invoke(main, ["inspect", str(folder)])
    assert done.exit_code == 0, done.output
    assert "promised by" in done.stdout and "the path: average_l0_71" in done.stdout
    assert "not in the files" in done.stdout
    found = json.loads(invoke(main, ["inspect", str(folder), "--lean", "--json"]).stdout)
    assert (found["promised_l0"], found["d_sae"], found["format"]) == ([71, 71], 12, "Gemma Scope")


def test_command_says_what_fits(sae, text, invoke):
    arguments = ["--model", str(DEMO / "model"), "--text", text, "--tokens", "150"]
    wrong = f"{sae.location}?subtract_b_dec=false"
    done = invoke(main, ["inspect", wrong, *arguments])
    assert done.exit_code == 0, done.output
    assert f"This fits: b_dec subtracted. Read it as {sae.location}?subtract_b_dec=true" in done.stdout
    found = json.loads(invoke(main, ["inspect", wrong, *arguments, "--json"]).stdout)
    assert found["fits"] == "b_dec subtracted"
    assert found["location_that_fits"] == f"{sae.location}?subtract_b_dec=true"
    assert found["alternatives"][0]["reading"] == "as read"
    right = json.loads(invoke(main, ["inspect", sae.location, *arguments, "--json"]).stdout)
    assert (right["fits"], right["alternatives"]) == ("as read", None)


def test_command_needs_what_it_compares_on(sae, invoke):
    done = invoke(main, ["inspect", sae.location, "--alternatives"])
    assert (done.exit_code, "--alternatives needs --model DIR and --text PATH" in done.stderr) == (2, True)


def test_options_that_cannot_be_applied(sae):
    with pytest.raises(BadRequest, match="transposed is given, but W_enc is"):
        weights.read(f"{sae.location}?transposed=true")
    with pytest.raises(BadRequest, match="norm is 'huge'; it is one of none"):
        weights.read(f"{sae.location}?norm=huge")
