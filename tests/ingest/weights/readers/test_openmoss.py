"""OpenMOSS's dictionaries: Llama Scope, its R1-Distill set and what llamascopium writes, held to their formulas."""

import json

import numpy
import pytest
import torch

from featurestore import BadRequest
from ingest import weights
from tests.support.published_weights import (
    D,
    N,
    close,
    decoded,
    encoded,
    inputs,
    jumped,
    k_largest,
    made,
    pre,
    relu,
    same,
    save,
    tensors,
)

HOOK = "blocks.15.hook_resid_post"
NORM_IN, NORM_OUT = 5.0, 7.0
SCALE_IN, SCALE_OUT = D**0.5 / NORM_IN, D**0.5 / NORM_OUT
X = inputs()


def linear(w, dtype=torch.float32):
    found = tensors(**{"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"]})
    found |= tensors(**{"decoder.weight": w["W_dec"].T, "decoder.bias": w["b_dec"]})
    return {name: tensor.to(dtype) for name, tensor in found.items()}


def llama_scope(root, w, dtype=torch.float32, **config):
    base = {
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
        "d_model": D,
        "d_sae": N,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.8,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": NORM_IN, "out": NORM_IN},
        "top_k": 4,
    }
    save(root / "checkpoints" / "final.safetensors", linear(w, dtype))
    (root / "hyperparams.json").write_text(json.dumps(base | config))
    return root


def test_llama_scope(tmp_path):
    """The threshold is compared with pre-activations of the scaled input, as OpenMOSS's code does."""
    w = made()
    sae = weights.read(llama_scope(tmp_path, w))
    acts = jumped(pre(X * SCALE_IN, w), 0.8)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), (acts @ w["W_dec"] + w["b_dec"]) / SCALE_IN)
    assert (sae.hook_point, sae.model_name, sae.kind) == (HOOK, "meta-llama/Llama-3.1-8B", "sae")
    assert (sae.promised_l0, sae.subtract_b_dec) == ((4, 4), False)
    assert weights.read(tmp_path / "checkpoints" / "final.safetensors").hook_point == HOOK


def test_llama_scope_with_the_threshold_in_the_other_unit(tmp_path):
    """SAELens multiplies it by the scale: whoever finds that this fits says so."""
    w = made()
    folder = llama_scope(tmp_path, w)
    sae = weights.read(f"{folder}?threshold_times={SCALE_IN}")
    same(encoded(sae, X), jumped(pre(X * SCALE_IN, w), 0.8 * SCALE_IN))


def test_llama_scope_is_read_in_half_precision(tmp_path):
    w = made()
    sae = weights.read(llama_scope(tmp_path, w, torch.bfloat16))
    rounded = {name: torch.tensor(array).bfloat16().float().numpy() for name, array in w.items()}
    same(encoded(sae, X), jumped(pre(X * SCALE_IN, rounded), 0.8))


def test_llama_scope_without_its_weights(tmp_path):
    folder = llama_scope(tmp_path, made())
    (folder / "checkpoints" / "final.safetensors").unlink()
    with pytest.raises(BadRequest, match=r"hyperparams\.json but no checkpoints/final\.safetensors"):
        weights.read(folder)


def test_llama_scope_whose_norm_nobody_says(tmp_path):
    folder = llama_scope(tmp_path, made(), dataset_average_activation_norm=None)
    with pytest.raises(BadRequest, match="norm_activation is dataset-wise, but the average norm at .* is None"):
        weights.read(folder)
    assert weights.read(f"{folder}?scale=0.5").scale == 0.5


def test_r1_distill(tmp_path):
    w = made()
    config = {"hook_point_in": HOOK, "hook_point_out": HOOK, "d_model": D, "expansion_factor": N / D}
    (tmp_path / "config.json").write_text(json.dumps(config | {"norm_activation": "inference"}))
    more = tensors(log_jumprelu_threshold=numpy.log(w["threshold"]))
    save(tmp_path / "sae_weights.safetensors", linear(w) | more)
    sae = weights.read(tmp_path)
    same(encoded(sae, X), jumped(pre(X, w), w["threshold"]))
    assert sae.format == "Llama Scope"


def current(root, w, file="sae_weights.safetensors", more=None, **config):
    base = {
        "sae_type": "sae",
        "d_model": D,
        "expansion_factor": N / D,
        "act_fn": "relu",
        "hook_point_in": HOOK,
        "hook_point_out": HOOK,
        "norm_activation": "inference",
        "sparsity_include_decoder_norm": False,
        "top_k": 3,
    }
    found = tensors(W_E=w["W_enc"], b_E=w["b_enc"], W_D=w["W_dec"], b_D=w["b_dec"], **(more or {}))
    save(root / file, {"sae": found, "version": "2.0"} if file.endswith(".pt") else found)
    (root / "config.json").write_text(json.dumps(base | config))
    return root


@pytest.mark.parametrize(
    "file", ["sae_weights.safetensors", "sae_weights.pt", "checkpoints/pruned.safetensors", "checkpoints/final.pt"]
)
def test_current_files(tmp_path, file):
    w = made()
    sae = weights.read(current(tmp_path, w, file))
    same(encoded(sae, X), relu(pre(X, w)))
    assert (sae.format, sae.kind) == ("OpenMOSS", "sae")
    assert weights.read(tmp_path / file).hook_point == HOOK


@pytest.mark.parametrize("by_norm", [True, False])
@pytest.mark.parametrize("activation", ["jumprelu", "topk"])
def test_gates_on_pre_activations_times_decoder_norms(tmp_path, activation, by_norm):
    w = made()
    threshold = {"activation_function.log_jumprelu_threshold": numpy.log(w["threshold"])}
    sae = weights.read(current(tmp_path, w, more=threshold, act_fn=activation, sparsity_include_decoder_norm=by_norm))
    p = pre(X, w)
    ranked = p * numpy.linalg.norm(w["W_dec"], axis=1) if by_norm else p
    wanted = k_largest(p, 3, ranked) if activation == "topk" else numpy.where(ranked > w["threshold"], p, 0)
    same(encoded(sae, X), wanted)
    close(decoded(sae, X), wanted @ w["W_dec"] + w["b_dec"])


def test_norms_of_a_transcoder_in_the_file(tmp_path):
    w, out = made(), "blocks.15.hook_mlp_out"
    norms = {f"dataset_average_activation_norm.{HOOK}": NORM_IN, f"dataset_average_activation_norm.{out}": NORM_OUT}
    more = {name: numpy.array(value, numpy.float32) for name, value in norms.items()}
    sae = weights.read(current(tmp_path, w, more=more, hook_point_out=out, norm_activation="dataset-wise"))
    acts = relu(pre(X * SCALE_IN, w))
    same(encoded(sae, X), acts)
    close(decoded(sae, X), (acts @ w["W_dec"] + w["b_dec"]) / SCALE_OUT)
    assert (sae.kind, sae.hook_point_out) == ("transcoder", out)


def test_norm_of_each_token(tmp_path):
    w = made()
    sae = weights.read(current(tmp_path, w, norm_activation="token-wise"))
    same(encoded(sae, X), relu(pre(X * D**0.5 / numpy.linalg.norm(X, axis=1, keepdims=True), w)))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"norm_activation": "batch-wise"}, "'batch-wise' depends on what else is in a batch"),
        ({"act_fn": "batchtopk"}, "act_fn 'batchtopk' chooses among the features of many tokens"),
        ({"use_glu_encoder": True}, "use_glu_encoder"),
        ({"sae_type": "lorsa"}, "sae_type 'lorsa' cannot be read; known: sae, clt"),
        ({"d_model": None}, "d_model is None"),
        ({"d_model": 16}, r"W_D has shape \(12, 8\), but config.json promises \(24, 16\)"),
        ({"hook_point_in": None}, "hook_point_in is None; a text is wanted"),
    ],
)
def test_current_ones_that_cannot_be(tmp_path, config, words):
    with pytest.raises(BadRequest, match=words):
        weights.read(current(tmp_path, made(), **config))


def test_batch_topk_with_the_k_largest_of_each_token(tmp_path):
    w = made()
    folder = current(tmp_path, w, act_fn="batchtopk")
    same(encoded(weights.read(f"{folder}?k=3"), X), k_largest(pre(X, w), 3))


def test_checkpoints_in_shards_are_refused(tmp_path):
    folder = current(tmp_path, made())
    (folder / "sae_weights.safetensors").unlink()
    (folder / "sae_weights.dcp").mkdir()
    with pytest.raises(BadRequest, match=r"sae_weights\.dcp is a checkpoint in shards; save it as"):
        weights.read(folder)


@pytest.mark.parametrize("scaled", [True, False])
def test_cross_layer_decoders_lie_with_the_layer_they_write_to(tmp_path, scaled):
    """W_D.j (j + 1, n, d) holds what layers 0 to j write to layer j."""
    layers = 3
    each = [made(i) for i in range(layers)]
    rng = numpy.random.default_rng(5)
    w_dec = {(i, j): rng.normal(size=(N, D)).astype(numpy.float32) for j in range(layers) for i in range(j + 1)}
    found = {
        "W_E": numpy.stack([w["W_enc"] for w in each]),
        "b_E": numpy.stack([w["b_enc"] for w in each]),
        "activation_function.log_jumprelu_threshold": numpy.log(numpy.stack([w["threshold"] for w in each])),
    }
    found |= {f"W_D.{j}": numpy.stack([w_dec[i, j] for i in range(j + 1)]) for j in range(layers)}
    found |= {f"b_D.{j}": each[j]["b_dec"] for j in range(layers)}
    ins = [f"blocks.{i}.hook_resid_mid" for i in range(layers)]
    outs = [f"blocks.{i}.hook_mlp_out" for i in range(layers)]
    norms = {name: 3.0 + i for i, name in enumerate(ins + outs)}
    if scaled:
        said = {f"dataset_average_activation_norm.{name}": numpy.float32(norm) for name, norm in norms.items()}
        found |= {name: numpy.array(value) for name, value in said.items()}
    config = {
        "sae_type": "clt",
        "d_model": D,
        "expansion_factor": N / D,
        "act_fn": "jumprelu",
        "hook_points_in": ins,
        "hook_points_out": outs,
        "norm_activation": "dataset-wise" if scaled else "inference",
        "sparsity_include_decoder_norm": True,
    }
    save(tmp_path / "sae_weights.safetensors", tensors(**found))
    (tmp_path / "config.json").write_text(json.dumps(config))
    for i, w in enumerate(each):
        sae = weights.read(f"{tmp_path}?layer={i}")
        p = pre(X * (D**0.5 / norms[ins[i]] if scaled else 1), w)
        norm = numpy.sqrt(sum((w_dec[i, j] ** 2).sum(1) for j in range(i, layers)))
        acts = numpy.where(p * norm > w["threshold"], p, 0)
        same(encoded(sae, X), acts)
        written = [acts @ w_dec[i, j] / (D**0.5 / norms[outs[j]] if scaled else 1) for j in range(i, layers)]
        close(decoded(sae, X), numpy.stack(written, axis=1))
        assert (sae.targets, sae.hook_point, sae.hook_point_out) == (tuple(range(i, layers)), ins[i], outs[i])
        assert weights.read(sae.location).hook_point == ins[i]
    with pytest.raises(BadRequest, match=r"holds 3 dictionaries, one for each layer read: name one: .*\?layer=0"):
        weights.read(tmp_path)
    with pytest.raises(BadRequest, match=r"name one: .*\?layer=0"):
        weights.read(f"{tmp_path}?layer=3")
