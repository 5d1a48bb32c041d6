"""circuit-tracer's sets of transcoders and cross-layer transcoders, and mwhanna's, held to their formulas."""

import numpy
import pytest
import torch
import yaml

from featurestore import BadRequest
from ingest import weights
from tests.support.published_weights import (
    D,
    N,
    close,
    decoded,
    encoded,
    inputs,
    made,
    pre,
    relu,
    same,
    save,
    tensors,
)

CONFIG = {
    "model_kind": "transcoder_set",
    "model_name": "google/gemma-2-2b",
    "feature_input_hook": "ln2.hook_normalized",
    "feature_output_hook": "hook_mlp_out",
}


def layer_file(root, w, name="layer_4.safetensors", config=CONFIG, **more):
    root.mkdir(parents=True, exist_ok=True)
    if config:
        (root / "config.yaml").write_text(yaml.safe_dump(config))
    found = tensors(W_enc=w["W_enc"].T, W_dec=w["W_dec"], b_enc=w["b_enc"], b_dec=w["b_dec"], **more)
    return save(root / name, found)


def test_relu(tmp_path):
    w, x = made(), inputs()
    sae = weights.read(layer_file(tmp_path, w))
    same(encoded(sae, x), relu(pre(x, w)))
    assert (sae.hook_point, sae.hook_point_out) == ("blocks.4.ln2.hook_normalized", "blocks.4.hook_mlp_out")
    assert (sae.model_name, sae.kind, sae.subtract_b_dec) == ("google/gemma-2-2b", "transcoder", False)


def test_jumprelu_without_relu(tmp_path):
    """Where a threshold is below 0 activations may be, too."""
    w, x = made(), inputs()
    threshold = w["threshold"] - 1
    sae = weights.read(layer_file(tmp_path, w, **{"activation_function.threshold": threshold}))
    wanted = numpy.where(pre(x, w) > threshold, pre(x, w), 0)
    assert (wanted < 0).any()
    same(encoded(sae, x), wanted)


@pytest.mark.parametrize("said", ["config", "file"])
def test_topk(tmp_path, said):
    w, x = made(), inputs()
    config = CONFIG | ({"activation": "topk", "k": 3} if said == "config" else {})
    sae = weights.read(layer_file(tmp_path, w, config=config, **({"k": numpy.array(3)} if said == "file" else {})))
    p = pre(x, w)
    same(encoded(sae, x), numpy.where(p >= numpy.sort(p, axis=1)[:, -3][:, None], p, 0))
    assert sae.promised_l0 == (3, 3)


def test_topk_without_k(tmp_path):
    config = CONFIG | {"activation": "topk"}
    with pytest.raises(BadRequest, match=r"activation is topk, but nothing says k; give it: .*\?k=64"):
        weights.read(layer_file(tmp_path, made(), config=config))
    known = layer_file(tmp_path / "crv-8b-instruct-transcoders", made(n=200), config=config)
    assert weights.read(known).k == 128


def test_skip(tmp_path):
    w, x = made(out=6), inputs()
    sae = weights.read(layer_file(tmp_path, w, W_skip=w["affine"].T))
    close(decoded(sae, x), relu(pre(x, w)) @ w["W_dec"] + w["b_dec"] + x @ w["affine"])
    assert sae.architecture == "skip_transcoder"


def test_their_hook_mlp_in_is_the_stream_before_the_norm(tmp_path):
    sae = weights.read(layer_file(tmp_path, made(), config=CONFIG | {"feature_input_hook": "hook_mlp_in"}))
    assert sae.hook_point == "blocks.4.hook_resid_mid"


@pytest.mark.parametrize("name", ["wandb-config.yaml", "wanb-config.yaml"])
def test_sets_with_only_their_trainings_config(tmp_path, name):
    w, x = made(), inputs()
    root = tmp_path / "qwen3-14b-transcoders-lowl0"
    file = layer_file(root, w, "layer_11.safetensors", config=None)
    training = {"d_model": {"value": D}, "d_feature": {"value": N}, "batch_size": {"value": 512}}
    (root / name).write_text(yaml.safe_dump(training))
    sae = weights.read(file)
    same(encoded(sae, x), relu(pre(x, w)))
    assert (sae.hook_point, sae.hook_point_out) == ("blocks.11.mlp.hook_in", "blocks.11.hook_mlp_out")
    assert (sae.model_name, sae.context_size) == ("Qwen/Qwen3-14B", 512)
    training["d_feature"]["value"] = N + 1
    (root / name).write_text(yaml.safe_dump(training))
    with pytest.raises(BadRequest, match=rf"W_enc has shape \(12, 8\), but {name} promises \(13, 8\)"):
        weights.read(file)


def test_without_any_config(tmp_path):
    file = layer_file(tmp_path, made(), config=None)
    with pytest.raises(BadRequest, match="there is no config.yaml beside it to say where it reads and writes"):
        weights.read(file)
    said = weights.read(f"{file}?hook_point=blocks.4.mlp.hook_in&hook_point_out=blocks.4.hook_mlp_out")
    assert said.kind == "transcoder"


def test_sets_whose_files_are_elsewhere(tmp_path):
    named = ["hf://google/gemma-scope-2b-pt-transcoders/layer_0/width_16k/average_l0_76/params.npz?revision=main"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"transcoders": named}))
    wanted = r"name one: hf://google/gemma-scope-2b-pt-transcoders//layer_0/width_16k/average_l0_76/params\.npz@main"
    with pytest.raises(BadRequest, match=wanted):
        weights.read(tmp_path)


def cross_layer(root, layers=3, threshold=True):
    """(weights, decoders (n, layers, d) of which those before the own one are 0) of each layer, and the files."""
    each = []
    for i in range(layers):
        w = made(i)
        w_dec = numpy.random.default_rng(80 + i).normal(size=(N, layers - i, D)).astype(numpy.float32)
        found = {f"W_enc_{i}": w["W_enc"].T, f"b_enc_{i}": w["b_enc"], f"b_dec_{i}": w["b_dec"]}
        save(
            root / f"W_enc_{i}.safetensors",
            tensors(**found | ({f"threshold_{i}": w["threshold"]} if threshold else {})),
        )
        save(root / f"W_dec_{i}.safetensors", tensors(**{f"W_dec_{i}": w_dec}))
        each.append((w, w_dec))
    config = CONFIG | {"model_kind": "cross_layer_transcoder", "feature_input_hook": "hook_resid_mid"}
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return each


@pytest.mark.parametrize("threshold", [True, False])
def test_cross_layer(tmp_path, threshold):
    """Decoders lie with the layer they come from; a threshold is not to be overlooked."""
    x = inputs()
    for i, (w, w_dec) in enumerate(cross_layer(tmp_path, threshold=threshold)):
        sae = weights.read(tmp_path / f"W_enc_{i}.safetensors")
        p = pre(x, w)
        acts = numpy.where(p > w["threshold"], p, 0) if threshold else relu(p)
        same(encoded(sae, x), acts)
        close(decoded(sae, x), numpy.einsum("tn,nld->tld", acts, w_dec))
        assert (sae.targets, sae.kind) == (tuple(range(i, 3)), "clt")  # the last layer, too
        assert (sae.hook_point, sae.hook_point_out) == (f"blocks.{i}.hook_resid_mid", f"blocks.{i}.hook_mlp_out")
    with pytest.raises(BadRequest, match=r"holds 3 dictionaries; name one: W_enc_0\.safetensors, W_enc_1\.safetensors"):
        weights.read(tmp_path)


def test_cross_layer_without_its_decoders(tmp_path):
    cross_layer(tmp_path)
    (tmp_path / "W_dec_1.safetensors").unlink()
    with pytest.raises(BadRequest, match=r"has its decoders in W_dec_1\.safetensors, which is not beside it"):
        weights.read(tmp_path / "W_enc_1.safetensors")


def test_cross_layer_of_another_number_of_layers(tmp_path):
    cross_layer(tmp_path)
    save(tmp_path / "W_dec_1.safetensors", {"W_dec_1": torch.zeros(N, 3, D)})
    with pytest.raises(
        BadRequest, match=r"W_dec_1 has shape \(12, 3, 8\), but W_enc_1\.safetensors promises \(12, 2, 8\)"
    ):
        weights.read(tmp_path / "W_enc_1.safetensors")
