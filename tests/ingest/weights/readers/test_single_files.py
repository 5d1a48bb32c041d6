"""sparsify, OpenAI's sparse_autoencoder, and those published as single pickles, held to their formulas."""

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
    k_largest,
    made,
    pre,
    relu,
    same,
    save,
    tensors,
)

X = inputs()


def sparsify(root, w, hookpoint="layers.10", more=None, **config):
    folder = root / hookpoint
    found = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    save(folder / "sae.safetensors", tensors(**(found | (more or {}))))
    base = {"expansion_factor": 32, "normalize_decoder": True, "num_latents": N, "k": 3, "d_in": D}
    (folder / "cfg.json").write_text(json.dumps(base | config))
    return folder


def test_sparsify(tmp_path):
    w = made()
    sae = weights.read(sparsify(tmp_path, w))
    acts = k_largest(pre(X, w, subtract=True), 3)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), acts @ w["W_dec"] + w["b_dec"])
    assert (sae.hook_point, sae.promised_l0) == ("blocks.10.hook_resid_post", (3, 3))


@pytest.mark.parametrize(
    ("hookpoint", "transcode", "hooks"),
    [
        ("layers.5.mlp", False, ("layers.5.mlp.output", None)),
        ("layers.5.mlp/seed1", False, ("layers.5.mlp.output", None)),
        ("h.3.attn", False, ("h.3.attn.output", None)),
        ("embed_tokens", False, ("embed_tokens.output", None)),
        ("gpt_neox.layers.2", False, ("blocks.2.hook_resid_post", None)),
        ("layers.5.mlp", True, ("layers.5.mlp.input", "layers.5.mlp.output")),
    ],
)
def test_directories_are_modules(tmp_path, hookpoint, transcode, hooks):
    sae = weights.read(sparsify(tmp_path, made(), hookpoint, transcode=transcode))
    assert (sae.hook_point, sae.hook_point_out) == hooks


def test_no_latents_are_as_many_as_the_factor_says(tmp_path):
    sae = weights.read(sparsify(tmp_path, made(n=4 * D), num_latents=0, expansion_factor=4))
    assert sae.d_sae == 4 * D
    with pytest.raises(BadRequest, match=r"encoder.weight has shape \(12, 8\), but cfg.json promises \(32, 8\)"):
        weights.read(sparsify(tmp_path / "bad", made(), num_latents=0, expansion_factor=4))


def test_signed_ones_of_old_keep_negative_values(tmp_path):
    w = made()
    sae = weights.read(sparsify(tmp_path, w, signed=True, k=9))
    p = pre(X, w, subtract=True)
    wanted = numpy.where(p >= numpy.sort(p, axis=1)[:, -9][:, None], p, 0)
    assert (wanted < 0).any()
    same(encoded(sae, X), wanted)


def test_groupmax(tmp_path):
    w = made()
    sae = weights.read(sparsify(tmp_path, w, activation="groupmax", k=4))
    groups = relu(pre(X, w, subtract=True)).reshape(len(X), 4, 3)
    wanted = numpy.where(groups == groups.max(2, keepdims=True), groups, 0).reshape(len(X), N)
    same(encoded(sae, X), wanted)
    with pytest.raises(BadRequest, match="k is 5, which groupmax of 12 features cannot have"):
        weights.read(sparsify(tmp_path / "bad", w, activation="groupmax", k=5))


def test_transcoders_subtract_nothing_unless_they_are_old(tmp_path):
    w = made()
    folder = sparsify(tmp_path, w, "layers.5.mlp", {"W_skip": w["affine"].T}, transcode=True, skip_connection=True)
    sae = weights.read(folder)
    acts = k_largest(pre(X, w), 3)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), acts @ w["W_dec"] + w["b_dec"] + X @ w["affine"])
    old = weights.read(f"{folder}?subtract_b_dec=true")
    same(encoded(old, X), k_largest(pre(X, w, subtract=True), 3))


def test_half_precision_beside_full(tmp_path):
    w = made()
    folder = sparsify(tmp_path, w)
    found = tensors(**{"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"]})
    half = {name: tensor.bfloat16() for name, tensor in found.items()} | tensors(b_dec=w["b_dec"])
    save(folder / "sae.safetensors", half)
    rounded = w | {name: torch.tensor(w[name]).bfloat16().float().numpy() for name in ("W_enc", "b_enc")}
    same(encoded(weights.read(folder), X), k_largest(pre(X, rounded, subtract=True), 3))


def test_a_directory_that_is_no_module(tmp_path):
    with pytest.raises(BadRequest, match=r"its name is no module, as layers\.10 or h\.3\.attn are"):
        weights.read(sparsify(tmp_path, made(), "mine"))


def test_many_hookpoints_are_listed(tmp_path):
    for layer in (10, 2):
        sparsify(tmp_path, made(), f"layers.{layer}")
    with pytest.raises(BadRequest, match=r"holds 2 dictionaries; name one: layers\.2, layers\.10"):
        weights.read(tmp_path)


def openai(root, w, location="resid_post_mlp_v5_32k", tied=False, **more):
    found = tensors(**{"pre_bias": w["b_dec"], "latent_bias": w["b_enc"], "encoder.weight": w["W_enc"].T})
    if not tied:
        found |= tensors(**{"decoder.weight": w["W_dec"].T})
    buffers = {"stats_last_nonzero": torch.zeros(N, dtype=torch.long), "latents_mean_square": torch.zeros(N)}
    return save(root / "gpt2-small" / location / "autoencoders" / "8.pt", found | buffers | more)


def test_openai_topk(tmp_path):
    w = made()
    state = {"activation": "TopK", "activation_state_dict": {"k": 3, "postact_fn": "ReLU"}}
    sae = weights.read(openai(tmp_path, w, **state))
    mean, std = X.mean(1, keepdims=True), X.std(1, ddof=1, keepdims=True) + 1e-5
    acts = k_largest(pre((X - mean) / std, w, subtract=True), 3)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), (acts @ w["W_dec"] + w["b_dec"]) * std + mean)
    assert (sae.hook_point, sae.model_name) == ("blocks.8.hook_resid_post", "openai-community/gpt2")


@pytest.mark.parametrize(
    ("location", "hook"),
    [
        ("mlp_post_act", "mlp.hook_post"),
        ("resid_delta_mlp_v4", "hook_mlp_out"),
        ("resid_delta_attn_v5_128k", "hook_attn_out"),
        ("resid_post_attn_v5_32k", "hook_resid_mid"),
    ],
)
def test_openai_relu_is_not_normalised(tmp_path, location, hook):
    w = made()
    sae = weights.read(openai(tmp_path, w, location, activation="ReLU"))
    same(encoded(sae, X), relu(pre(X, w, subtract=True)))
    assert sae.hook_point == f"blocks.8.{hook}"


def test_openai_tied(tmp_path):
    w = made()
    sae = weights.read(openai(tmp_path, w, tied=True))
    close(sae.W_dec.numpy(), w["W_enc"].T)


def test_openai_refusals(tmp_path):
    with pytest.raises(BadRequest, match="activation 'Softplus' cannot be read"):
        weights.read(openai(tmp_path, made(), activation="Softplus"))
    with pytest.raises(BadRequest, match=r"its path is not LOCATION/autoencoders/LAYER\.pt"):
        weights.read(openai(tmp_path, made(), "elsewhere"))


@pytest.mark.parametrize("names", ["encoder_linear", "encoder"])
def test_single_pickles(tmp_path, names):
    w = made()
    file = {
        "encoder_linear": "Llama-3.1-8B-Instruct-SAE-l19.pth",
        "encoder": "DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt",
    }[names]
    decoder = names.replace("encoder", "decoder")
    found = {f"{names}.weight": w["W_enc"].T, f"{names}.bias": w["b_enc"]}
    found |= {f"{decoder}.weight": w["W_dec"].T, f"{decoder}.bias": w["b_dec"]}
    save(tmp_path / file, tensors(**found))
    sae = weights.read(tmp_path / file)
    acts = relu(pre(X, w))
    same(encoded(sae, X), acts)
    close(decoded(sae, X), acts @ w["W_dec"] + w["b_dec"])
    assert sae.hook_point == "blocks.19.hook_resid_post"
    assert sae.model_name in ("meta-llama/Llama-3.1-8B-Instruct", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    if names == "encoder_linear":
        (tmp_path / file).rename(tmp_path / "mine.pth")
        with pytest.raises(BadRequest, match="its name has no MODEL-SAE-lLAYER"):
            weights.read(tmp_path / "mine.pth")


def test_on_attention(tmp_path):
    w = made()
    name = "gpt2-small_L9_Hcat_z_lr1.20e-03"
    save(tmp_path / f"{name}.pt", tensors(**{key: w[key] for key in ("W_enc", "W_dec", "b_enc", "b_dec")}))
    config = {"act_name": "blocks.9.attn.hook_z", "act_size": D, "dict_size": N}
    (tmp_path / f"{name}_cfg.json").write_text(json.dumps(config))
    sae = weights.read(tmp_path / f"{name}.pt")
    same(encoded(sae, X), relu(pre(X, w, subtract=True)))
    assert sae.hook_point == "blocks.9.attn.hook_z"
