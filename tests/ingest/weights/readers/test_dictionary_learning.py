"""dictionary_learning's six classes and its backups, and Qwen-Scope, held to their formulas."""

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

R_MAG = numpy.linspace(-0.5, 0.5, N, dtype=numpy.float32)
MAG = numpy.linspace(0.4, -0.4, N, dtype=numpy.float32)


def linear(w):
    return {"encoder.weight": w["W_enc"].T, "decoder.weight": w["W_dec"].T}


def plain(w):
    return {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}


def unit(w):
    return w | {"W_dec": w["W_dec"] / numpy.linalg.norm(w["W_dec"], axis=1, keepdims=True)}


W = unit(made())
K, BAR = {"k": numpy.array(3, numpy.int32)}, {"threshold": numpy.array(0.6, numpy.float32)}
X = inputs()
SUBTRACTED, RAW = pre(X, W, subtract=True), pre(X, W)
gate, magnitude = SUBTRACTED, numpy.exp(R_MAG) * (SUBTRACTED - W["b_enc"]) + MAG
# class -> (tensors, activations)
CLASSES = {
    "AutoEncoder": (linear(W) | {"encoder.bias": W["b_enc"], "bias": W["b_dec"]}, relu(SUBTRACTED)),
    "AutoEncoderNew": (linear(W) | {"encoder.bias": W["b_enc"], "decoder.bias": W["b_dec"]}, relu(RAW)),
    "GatedAutoEncoder": (
        linear(W) | {"gate_bias": W["b_enc"], "mag_bias": MAG, "r_mag": R_MAG, "decoder_bias": W["b_dec"]},
        (gate > 0) * relu(magnitude),
    ),
    "JumpReluAutoEncoder": (plain(W) | {"threshold": W["threshold"]}, jumped(RAW, W["threshold"])),
    "AutoEncoderTopK": (
        linear(W) | K | BAR | {"encoder.bias": W["b_enc"], "b_dec": W["b_dec"]},
        k_largest(SUBTRACTED, 3),  # whatever its threshold
    ),
    "BatchTopKSAE": (
        linear(W) | K | BAR | {"encoder.bias": W["b_enc"], "b_dec": W["b_dec"]},
        jumped(SUBTRACTED, 0.6),
    ),
    "MatryoshkaBatchTopKSAE": (plain(W) | K | BAR | {"group_sizes": numpy.array([2, 4, 6])}, jumped(SUBTRACTED, 0.6)),
}


def written(root, name, found=None, config=True, file="ae.pt", **trainer):
    base = {
        "dict_class": name,
        "lm_name": "EleutherAI/pythia-70m-deduped",
        "layer": 3,
        "submodule_name": "resid_post_layer_3",
        "activation_dim": D,
        "dict_size": N,
        "k": 3,
    }
    save(root / file, tensors(**(CLASSES[name][0] if found is None else found)))
    if config:
        (root / "config.json").write_text(json.dumps({"trainer": base | trainer, "buffer": {"ctx_len": 1024}}))
    return root


# Without a config the class is told by its tensors; those of a TopK that keeps a threshold are BatchTopKSAE's.
TOLD = [(name, config) for name in CLASSES for config in (True, False) if config or name != "AutoEncoderTopK"]


@pytest.mark.parametrize(("name", "config"), TOLD)
def test_classes(tmp_path, name, config):
    folder = written(tmp_path, name, config=config)
    sae = weights.read(folder if config else f"{folder}?hook_point=blocks.3.hook_resid_post")
    acts = CLASSES[name][1]
    same(encoded(sae, X), acts)
    close(decoded(sae, X), acts @ W["W_dec"] + W["b_dec"])
    assert (sae.architecture, sae.hook_point) == (name, "blocks.3.hook_resid_post")
    assert sae.context_size == (1024 if config else None)
    assert bool(sae.inferred) is not config


def test_groups_are_kept(tmp_path):
    assert weights.read(written(tmp_path, "MatryoshkaBatchTopKSAE")).groups == (2, 4, 6)
    bad = CLASSES["MatryoshkaBatchTopKSAE"][0] | {"group_sizes": numpy.array([2, 4])}
    with pytest.raises(BadRequest, match="group_sizes add up to 6, but there are 12 features"):
        weights.read(written(tmp_path / "bad", "MatryoshkaBatchTopKSAE", bad))


def test_autoencoders_are_normalised_as_the_library_does(tmp_path):
    w = made()
    found = linear(w) | {"encoder.bias": w["b_enc"], "bias": w["b_dec"]}
    sae = weights.read(written(tmp_path, "AutoEncoder", found))
    norms = numpy.linalg.norm(w["W_dec"], axis=1)
    same(encoded(sae, X), relu(pre(X, w, subtract=True)) * norms)
    close(decoded(sae, X), relu(pre(X, w, subtract=True)) @ w["W_dec"] + w["b_dec"])
    assert "norm 1" in sae.inferred[0]


@pytest.mark.parametrize(
    ("submodule", "layer", "hook"),
    [
        ("resid_post_layer_3", 3, "blocks.3.hook_resid_post"),
        ("mlp_out_layer_2", 2, "blocks.2.hook_mlp_out"),
        ("attn_out_layer_2", 2, "blocks.2.hook_attn_out"),
        ("gpt_neox.layers.4.mlp", 4, "gpt_neox.layers.4.mlp.output"),
        (None, 5, "blocks.5.hook_resid_post"),
    ],
)
def test_hooks(tmp_path, submodule, layer, hook):
    assert weights.read(written(tmp_path, "AutoEncoder", submodule_name=submodule, layer=layer)).hook_point == hook


def test_nobody_says_the_hook(tmp_path):
    with pytest.raises(BadRequest, match=r"submodule_name is 'embed_mystery' .* name it: .*\?hook_point="):
        weights.read(written(tmp_path, "AutoEncoder", submodule_name="embed_mystery"))


def test_unset_threshold(tmp_path):
    found = CLASSES["BatchTopKSAE"][0] | {"threshold": numpy.array(-1, numpy.float32)}
    folder = written(tmp_path, "BatchTopKSAE", found)
    with pytest.raises(
        BadRequest, match=r"training had not set it yet.*\?k=3 reads it with the k largest of each token"
    ):
        weights.read(folder)
    same(encoded(weights.read(f"{folder}?k=3"), X), k_largest(SUBTRACTED, 3))


@pytest.mark.parametrize("name", ["BatchTopKSAE", "GatedAutoEncoder", "AutoEncoderTopK"])
def test_backup_amid_training(tmp_path, name):
    """Its weights are for inputs divided by norm_factor; what is saved at the end has its biases multiplied by it."""
    factor = 2.5
    found = CLASSES[name][0]
    scaled = {"encoder.bias", "b_dec", "decoder_bias", "gate_bias", "mag_bias", "threshold"}
    inner = {key: value / numpy.float32(factor) if key in scaled else value for key, value in found.items()}
    backup = {"step": 100, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "norm_factor": factor}
    backup |= {"ae": tensors(**inner), "config": {"dict_class": name, "layer": 3, "submodule_name": None, "k": 3}}
    tmp_path.joinpath("config.json").write_text(json.dumps({"trainer": {"dict_class": name, "layer": 3}}))
    torch.save(backup, tmp_path / "ae.pt")
    sae = weights.read(tmp_path)
    same(encoded(sae, X), CLASSES[name][1])
    close(decoded(sae, X), CLASSES[name][1] @ W["W_dec"] + W["b_dec"])


def test_checkpoints_beside_the_last(tmp_path):
    written(tmp_path, "BatchTopKSAE")
    file = save(tmp_path / "checkpoints" / "ae_1000.pt", tensors(**CLASSES["BatchTopKSAE"][0]))
    sae = weights.read(file)
    assert (sae.hook_point, sae.location) == ("blocks.3.hook_resid_post", str(file))


def test_pickles_that_run_code_are_refused(tmp_path):
    written(tmp_path, "AutoEncoder")

    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"encoder.weight": torch.zeros(2, 2), "more": Evil()}, tmp_path / "ae.pt")
    with pytest.raises(BadRequest, match=r"ae\.pt is a pickle that holds more than tensors .*save its tensors"):
        weights.read(tmp_path)


def test_truncated_pickle(tmp_path):
    file = written(tmp_path, "AutoEncoder") / "ae.pt"
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(BadRequest, match=r"ae\.pt cannot be read"):
        weights.read(tmp_path)


def test_pickles_of_before_the_zip_format(tmp_path):
    written(tmp_path, "AutoEncoder")
    torch.save(tensors(**CLASSES["AutoEncoder"][0]), tmp_path / "ae.pt", _use_new_zipfile_serialization=False)
    same(encoded(weights.read(tmp_path), X), CLASSES["AutoEncoder"][1])


def qwen(root, w, repository="Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_50", n=1024):
    found = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]}
    return save(root / repository / "layer7.sae.pt", tensors(**found))


def test_qwen_scope(tmp_path):
    w = made(n=1024)
    file = qwen(tmp_path, w)
    sae = weights.read(file)
    acts = k_largest(pre(X, w), 50)
    same(encoded(sae, X), acts)
    close(decoded(sae, X), acts @ w["W_dec"] + w["b_dec"])
    assert (sae.hook_point, sae.model_name, sae.k) == ("blocks.7.hook_resid_post", "Qwen/Qwen3-1.7B-Base", 50)
    assert sae.promised_l0 == (50, 50)
    assert weights.read(file.parent).hash == sae.hash  # the only one in the directory


def test_qwen_scope_of_another_width(tmp_path):
    with pytest.raises(BadRequest, match=r"W_enc has shape \(12, 8\), but the path promises \(1024, d\)"):
        weights.read(qwen(tmp_path, made()))


def test_qwen_scope_whose_path_says_no_k(tmp_path):
    file = qwen(tmp_path, made(), "mine")
    with pytest.raises(BadRequest, match=r"give it: .*\?k=50"):
        weights.read(file)
    assert weights.read(f"{file}?k=4").k == 4
    with pytest.raises(BadRequest, match="k is 13, but there are 12 features"):
        weights.read(f"{file}?k=13")
