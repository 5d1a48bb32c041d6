"""encode() of each architecture against its formula in NumPy, and the reader's refusals."""

import json

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

from featurestore import BadRequest, NotFound
from ingest import weights
from tests.support import small_models

D, N = 8, 12


def write(folder, tensors, **config):
    folder.mkdir()
    save_file(tensors, folder / "sae_weights.safetensors")
    base = {"d_in": D, "d_sae": N, "metadata": {"hook_name": "blocks.1.hook_resid_post"}}
    (folder / "cfg.json").write_text(json.dumps(base | config))
    return folder


def plain(**more):
    return {name: t for name, t in small_models.tensors(D, N, D, 5).items() if name != "threshold"} | more


def vector(seed):
    return torch.tensor(numpy.random.default_rng(seed).normal(size=N), dtype=torch.float32)


def arrays(tensors):
    return {name: tensor.double().numpy() for name, tensor in tensors.items()}


def relu(x):
    return numpy.maximum(x, 0)


def standard(x, t):
    return relu((x - t["b_dec"]) @ t["W_enc"] + t["b_enc"])


def standard_unsubtracted(x, t):
    return relu(x @ t["W_enc"] + t["b_enc"])


def jumprelu(x, t):
    pre = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    return numpy.where(pre > t["threshold"], relu(pre), 0)


def topk(x, t, k=3):
    pre = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    bar = numpy.sort(pre, axis=1)[:, -k][:, None]
    return numpy.where(pre >= bar, relu(pre), 0)


def abstopk(x, t, k=3):
    pre = (x - t["b_dec"]) @ t["W_enc"] + t["b_enc"]
    bar = numpy.sort(abs(pre), axis=1)[:, -k][:, None]
    return numpy.where(abs(pre) >= bar, pre, 0)


def gated(x, t):
    x = x - t["b_dec"]
    gate = x @ t["W_enc"] + t["b_gate"] > 0
    return gate * relu(x @ (t["W_enc"] * numpy.exp(t["r_mag"])) + t["b_mag"])


def layer_normed(x, t):
    x = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-5)
    return standard(x, t)


def rescaled(x, t):
    return standard(x * D**0.5 / numpy.linalg.norm(x, axis=1, keepdims=True), t)


without_b_enc = {name: tensor for name, tensor in plain().items() if name != "b_enc"}
skip = {"W_skip": torch.eye(D)}
out = {"metadata": {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}, "d_out": D}
CASES = {
    "standard": (plain(), {"architecture": "standard"}, standard),
    "unsubtracted": (plain(), {"apply_b_dec_to_input": False}, standard_unsubtracted),
    "jumprelu": (plain(threshold=vector(1).abs()), {"architecture": "jumprelu"}, jumprelu),
    "jumprelu, thresholds below 0": (plain(threshold=-vector(1).abs()), {"architecture": "jumprelu"}, jumprelu),
    "topk": (plain(), {"architecture": "topk", "k": 3}, topk),
    "topk before version 6": (plain(), {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}, topk),
    "gated": (
        without_b_enc | {"b_gate": vector(2), "b_mag": vector(3), "r_mag": vector(4)},
        {"architecture": "gated"},
        gated,
    ),
    "layer_norm": (plain(), {"normalize_activations": "layer_norm"}, layer_normed),
    "constant_norm_rescale": (plain(), {"normalize_activations": "constant_norm_rescale"}, rescaled),
    "abstopk": (plain(), {"architecture": "abstopk", "k": 3}, abstopk),
    "checkpoint of batchtopk": (
        plain(topk_threshold=torch.tensor(0.4)),
        {"architecture": "batchtopk", "k": 3},
        lambda x, t: jumprelu(x, t | {"threshold": t["topk_threshold"]}),
    ),
    "log_threshold": (
        plain(log_threshold=vector(1)),
        {"architecture": "jumprelu"},
        lambda x, t: jumprelu(x, t | {"threshold": numpy.exp(t["log_threshold"])}),
    ),
    "transcoder": (plain(), {"architecture": "transcoder"} | out, standard_unsubtracted),
    "skip_transcoder": (plain(**skip), {"architecture": "skip_transcoder"} | out, standard_unsubtracted),
}


@pytest.mark.parametrize("name", CASES)
def test_encode_equals_its_formula(tmp_path, name):
    tensors, config, formula = CASES[name]
    sae = weights.read(write(tmp_path / "sae", tensors, **config))
    x = numpy.random.default_rng(9).normal(size=(40, D))
    found = sae.encode(torch.tensor(x, dtype=torch.float32)).numpy()
    wanted = formula(x, arrays(tensors))
    assert (wanted != 0).any()
    numpy.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_nan_is_active_rather_than_lost(tmp_path, name):
    tensors, config, _ = CASES[name]
    sae = weights.read(write(tmp_path / "sae", tensors, **config))
    x = torch.zeros(2, D)
    x[0, 3] = float("nan")
    assert sae.encode(x)[0].isnan().any()


def test_skip_is_added_when_decoding(tmp_path):
    tensors, config, _ = CASES["skip_transcoder"]
    sae = weights.read(write(tmp_path / "sae", tensors, **config))
    x = torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    acts = sae.encode(x)
    torch.testing.assert_close(sae.decode(acts, x), acts @ sae.W_dec + sae.b_dec + x)


def test_flat_config_of_early_versions(tmp_path):
    folder = write(tmp_path / "sae", plain(), metadata=None, hook_point="blocks.3.hook_resid_pre", prepend_bos=False)
    sae = weights.read(folder)
    assert (sae.hook_point, sae.prepend_bos, sae.subtract_b_dec) == ("blocks.3.hook_resid_pre", False, True)


def test_scale_of_the_average_norm(tmp_path):
    """expected_average_only_in: where SAELens would fold it into the weights, the input is multiplied."""
    x = numpy.random.default_rng(9).normal(size=(40, D))
    folder = write(tmp_path / "sae", plain(), normalize_activations="expected_average_only_in")
    wanted = standard(1.7 * x, arrays(plain()))
    folded = {"W_enc": 1.7, "W_dec": 1 / 1.7, "b_dec": 1 / 1.7}
    numpy.testing.assert_allclose(
        standard(x, {name: array * folded.get(name, 1) for name, array in arrays(plain()).items()}), wanted, rtol=1e-5
    )
    given = weights.read(f"{folder}?scale=1.7")
    (folder / "runner_cfg.json").write_text(json.dumps({"norm_scaling_factor": 1.7}))
    for sae in (given, weights.read(folder)):
        found = sae.encode(torch.tensor(x, dtype=torch.float32)).numpy()
        numpy.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_centred_streams_and_names_of_two_meanings(tmp_path):
    metadata = {
        "hook_name": "blocks.1.hook_resid_pre",
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
    }
    assert weights.read(write(tmp_path / "centred", plain(), metadata=metadata)).centred
    metadata = {"hook_name": "blocks.1.hook_mlp_in", "hf_hook_name": "model.layers.1.pre_feedforward_layernorm.output"}
    metadata |= {"hook_name_out": "blocks.1.hook_mlp_out", "hf_hook_name_out": "model.layers.1.mlp.output"}
    sae = weights.read(write(tmp_path / "two", plain(), architecture="transcoder", metadata=metadata))
    assert sae.hook_point == "model.layers.1.pre_feedforward_layernorm.output"
    assert sae.hook_point_out == "blocks.1.hook_mlp_out"
    assert not sae.centred


def test_missing_directory(tmp_path):
    with pytest.raises(NotFound, match="no such directory"):
        weights.read(tmp_path / "none")


def test_unknown_format(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(BadRequest, match=r"no known format: it holds notes\.txt"):
        weights.read(tmp_path)


def test_half_of_the_files(tmp_path):
    folder = write(tmp_path / "sae", plain())
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(BadRequest, match=r"it holds cfg\.json; .*sae_weights\.safetensors must be there"):
        weights.read(folder)


def test_scaling_factors_of_old_files(tmp_path):
    weights.read(write(tmp_path / "ones", plain(scaling_factor=torch.ones(N))))
    with pytest.raises(BadRequest, match="scaling_factor is not 1 everywhere"):
        weights.read(write(tmp_path / "twos", plain(scaling_factor=2 * torch.ones(N))))


def test_the_location_is_absolute(tmp_path, monkeypatch):
    write(tmp_path / "sae", plain())
    monkeypatch.chdir(tmp_path)
    assert weights.read("sae").location == str(tmp_path / "sae")


def test_truncated_weights(tmp_path):
    folder = write(tmp_path / "sae", plain())
    file = folder / "sae_weights.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(BadRequest, match="cannot be read"):
        weights.read(folder)


def test_shape_that_disagrees_with_the_config(tmp_path):
    folder = write(tmp_path / "sae", plain(), d_sae=13)
    with pytest.raises(BadRequest, match=r"W_enc has shape \(8, 12\), but cfg.json promises \(8, 13\)"):
        weights.read(folder)


def test_missing_tensor(tmp_path):
    folder = write(tmp_path / "sae", plain(), architecture="jumprelu")
    with pytest.raises(BadRequest, match="has no tensor threshold; it has W_dec"):
        weights.read(folder)


def test_nan_weights(tmp_path):
    tensors = plain()
    tensors["W_enc"][0, 0] = float("nan")
    with pytest.raises(BadRequest, match="W_enc holds NaN"):
        weights.read(write(tmp_path / "sae", tensors))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architecture": "oracle"}, "architecture 'oracle' cannot be read"),
        ({"architecture": "temporal"}, "'temporal' cannot be read: its activations depend on other tokens"),
        ({"architecture": "matching_pursuit"}, "'matching_pursuit' cannot be read: .* no single linear encoder"),
        ({"normalize_activations": "by_moon"}, "normalize_activations 'by_moon' is not known"),
        ({"normalize_activations": "expected_average_only_in"}, "needs a scale that the files do not hold"),
        ({"metadata": {}}, "hook_name is missing"),
        ({"d_in": "eight"}, "d_in is 'eight'"),
        ({"architecture": "topk"}, "k is None"),
        ({"architecture": "topk", "k": N + 1}, "k is 13, but there are 12 features"),
        ({"activation_fn_str": "tanh-relu"}, "activation_fn 'tanh-relu' cannot be read"),
        ({"hook_point_head_index": 3}, "reads one attention head"),
        ({"metadata": ["x"]}, "metadata is .*; an object is wanted"),
        ({"architecture": "transcoder"}, "must name metadata.hook_name_out"),
    ],
)
def test_configs_that_cannot_be(tmp_path, config, words):
    with pytest.raises(BadRequest, match=words):
        weights.read(write(tmp_path / "sae", plain(), **config))


def test_config_that_is_no_json(tmp_path):
    folder = write(tmp_path / "sae", plain())
    (folder / "cfg.json").write_text("{")
    with pytest.raises(BadRequest, match=r"cfg\.json cannot be read"):
        weights.read(folder)


def test_half_precision_is_read_as_float32(tmp_path):
    folder = write(tmp_path / "sae", {name: tensor.half() for name, tensor in plain().items()})
    sae = weights.read(folder)
    assert sae.W_enc.dtype == torch.float32
    torch.testing.assert_close(sae.W_enc, load_file(folder / "sae_weights.safetensors")["W_enc"].float())
