"""Gemma Scope 1 and 2, written with the releases' file and tensor names, read and held to their formulas."""

import json

import numpy
import pytest
import torch

import featurestore
from featurestore import BadRequest
from ingest import weights
from ingest.harvest.harvest import harvest
from ingest.model.model import Model
from tests.support import small_models
from tests.support.published_weights import (
    D,
    N,
    close,
    decoded,
    encoded,
    inputs,
    jumped,
    made,
    pre,
    same,
    save,
    tensors,
)

RES = "google/gemma-scope-2-1b-pt/resid_post/layer_7_width_16k_l0_small"
TRANSCODER = "gemma-scope-2-4b-it/transcoder_all/layer_5_width_16k_l0_big_affine"
CLT = "gemma-scope-2-270m-pt/clt/width_262k_l0_medium_affine"


def lower(w):
    names = {"W_enc": "w_enc", "W_dec": "w_dec"}
    return tensors(**{names.get(name, name): array for name, array in w.items() if name != "affine"})


def second(root, path=RES, w=None, affine=False, **config):
    """Gemma Scope 2: params.safetensors and, if anything is said, config.json."""
    w = w or made()
    folder = root / path
    more = tensors(affine_skip_connection=w["affine"]) if affine else {}
    save(folder / "params.safetensors", lower(w) | more)
    if config:
        (folder / "config.json").write_text(json.dumps({"architecture": "jump_relu"} | config))
    return folder


def first(root, path="gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_71", w=None, names=str):
    w = w or made()
    return save(root / path / "params.npz", {names(k): v for k, v in tensors(**w).items() if k != "affine"}).parent


def test_second_release(tmp_path):
    w, x = made(), inputs()
    sae = weights.read(
        second(
            tmp_path,
            w=w,
            hf_hook_point_in="model.layers.7.output",
            model_name="google/gemma-3-1b-pt",
            l0=20,
            width=16384,
        )
    )
    same(encoded(sae, x), jumped(pre(x, w), w["threshold"]))
    close(decoded(sae, x), jumped(pre(x, w), w["threshold"]) @ w["W_dec"] + w["b_dec"])
    assert (sae.hook_point, sae.hook_point_out, sae.kind) == ("blocks.7.hook_resid_post", None, "sae")
    assert (sae.model_name, sae.promised_l0, sae.inferred) == ("google/gemma-3-1b-pt", (20, 20), ())
    assert sae.format == "Gemma Scope 2"


@pytest.mark.parametrize(
    ("path", "hooks", "model", "l0"),
    [
        (RES, ("blocks.7.hook_resid_post", None), "google/gemma-3-1b-pt", (10, 20)),
        (
            "gemma-scope-2-12b-pt/attn_out_all/layer_11_width_16k_l0_medium",
            ("blocks.11.attn.hook_z", None),
            "google/gemma-3-12b-pt",
            (30, 60),
        ),
        (
            "gemma-scope-2-27b-it/mlp_out/layer_17_width_1m_l0_big",
            ("blocks.17.hook_mlp_out", None),
            "google/gemma-3-27b-it",
            (60, 150),
        ),
        (
            "gemma-scope-2-270m-pt/transcoder/layer_0_width_16k_l0_small",
            ("blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"),
            "google/gemma-3-270m",
            (10, 20),
        ),
    ],
)
def test_second_release_without_config(tmp_path, path, hooks, model, l0):
    sae = weights.read(second(tmp_path, path))
    assert ((sae.hook_point, sae.hook_point_out), sae.model_name, sae.promised_l0) == (hooks, model, l0)
    assert "no config.json" in sae.inferred[0]


def test_config_names_modules_that_have_no_word(tmp_path):
    folder = second(tmp_path, hf_hook_point_in="model.layers.7.mlp.up_proj.output", model_name="gemma-v3-1b-it")
    sae = weights.read(folder)
    assert (sae.hook_point, sae.model_name) == ("model.layers.7.mlp.up_proj.output", "google/gemma-3-1b-it")


def test_affine_skip_is_stored_from_input_to_output(tmp_path):
    w, x = made(out=6), inputs()
    folder = second(
        tmp_path,
        TRANSCODER,
        w,
        affine=True,
        hf_hook_point_in="model.layers.5.pre_feedforward_layernorm.output",
        hf_hook_point_out="model.layers.5.post_feedforward_layernorm.output",
        model_name="google/gemma-3-4b-it",
        affine_connection=True,
    )
    sae = weights.read(folder)
    acts = jumped(pre(x, w), w["threshold"])
    same(encoded(sae, x), acts)
    close(decoded(sae, x), acts @ w["W_dec"] + w["b_dec"] + x @ w["affine"])
    assert (sae.hook_point, sae.hook_point_out) == ("blocks.5.mlp.hook_in", "blocks.5.hook_mlp_out")
    assert (sae.architecture, sae.subtract_b_dec) == ("jumprelu_skip_transcoder", False)


def test_promised_skip_that_is_not_there(tmp_path):
    folder = second(tmp_path, TRANSCODER, affine_connection=True, hf_hook_point_in="model.layers.5.output")
    with pytest.raises(BadRequest, match="no tensor affine_skip_connection, but config.json says affine_connection"):
        weights.read(folder)


@pytest.mark.parametrize("slots", ["of all layers", "from the own layer on"])
def test_cross_layer_transcoder(tmp_path, slots):
    """A file for each source layer. As published w_dec has a slot for every layer of the model."""
    layers, x = 3, inputs()
    each = [made(seed) for seed in range(layers)]
    decoders = [
        numpy.random.default_rng(50 + i).normal(size=(N, layers, D)).astype(numpy.float32) for i in range(layers)
    ]
    for i, w in enumerate(each):
        decoders[i][:, :i] = 0
        kept = decoders[i] if slots == "of all layers" else decoders[i][:, i:]
        found = lower(w) | tensors(w_dec=kept, affine_skip_connection=w["affine"])
        save(tmp_path / CLT / f"params_layer_{i}.safetensors", found)
    for i, w in enumerate(each):
        sae = weights.read(tmp_path / CLT / f"params_layer_{i}.safetensors")
        acts = jumped(pre(x, w), w["threshold"])
        same(encoded(sae, x), acts)
        assert sae.targets == tuple(range(i, layers))
        wanted = numpy.einsum("tn,nld->tld", acts, decoders[i][:, i:])
        wanted[:, 0] += x @ w["affine"]
        close(decoded(sae, x), wanted)
        close(sae.W_dec_total.numpy(), decoders[i].sum(1))
        close(sae.decoder_norms.numpy(), numpy.sqrt((decoders[i] ** 2).sum((1, 2))))
        assert (sae.kind, sae.hook_point) == ("clt", f"blocks.{i}.mlp.hook_in")
        assert (sae.hook_point_out, sae.promised_l0) == (f"blocks.{i}.hook_mlp_out", (30, 60))
    with pytest.raises(
        BadRequest, match=r"holds 3 dictionaries; name one: params_layer_0\.safetensors, params_layer_1"
    ):
        weights.read(tmp_path / CLT)


def test_slots_that_should_be_empty_and_are_not_are_told(tmp_path):
    w = made()
    full = numpy.ones((N, 3, D), numpy.float32)
    file = save(tmp_path / CLT / "params_layer_1.safetensors", lower(w) | tensors(w_dec=full))
    sae = weights.read(file)
    assert sae.targets == (1, 2)
    assert any("before layer 1 are not empty" in said for said in sae.inferred)


def test_crosscoders_are_refused(tmp_path):
    path = "gemma-scope-2-1b-pt/crosscoder/layer_7_13_17_22_width_65k_l0_medium"
    found = lower(made()) | tensors(w_dec=numpy.ones((N, 4, D), numpy.float32))
    file = save(tmp_path / path / "params_layer_0.safetensors", found)
    with pytest.raises(BadRequest, match="a crosscoder reads several layers at once"):
        weights.read(file)


def test_second_release_whose_site_nobody_says(tmp_path):
    folder = second(tmp_path, "mine/layer_3")
    with pytest.raises(BadRequest, match=r"name it: .*layer_3\?hook_point=blocks\.3\.hook_resid_post"):
        weights.read(folder)
    sae = weights.read(f"{folder}?hook_point=blocks.3.hook_resid_post")
    assert sae.hook_point == "blocks.3.hook_resid_post"
    again = weights.read(sae.location)
    assert (again.hook_point, again.hash) == (sae.hook_point, sae.hash)


def test_second_release_of_another_architecture(tmp_path):
    with pytest.raises(BadRequest, match="architecture 'relu' cannot be read"):
        weights.read(second(tmp_path, architecture="relu"))


@pytest.mark.parametrize("names", [str, lambda name: name.replace("W_", "w_")])
def test_first_release(tmp_path, names):
    w, x = made(), inputs()
    sae = weights.read(first(tmp_path, w=w, names=names))
    same(encoded(sae, x), jumped(pre(x, w), w["threshold"]))
    assert (sae.hook_point, sae.subtract_b_dec, sae.model_name) == (
        "blocks.12.hook_resid_post",
        False,
        "google/gemma-2-2b",
    )
    assert (sae.promised_l0, sae.promised_by) == ((71, 71), "the path: average_l0_71")


@pytest.mark.parametrize(
    ("path", "hooks"),
    [
        ("gemma-scope-9b-it-mlp/layer_20/width_131k/average_l0_11", ("blocks.20.hook_mlp_out", None)),
        ("gemma-scope-2b-pt-att/layer_0/width_16k/average_l0_11", ("blocks.0.attn.hook_z", None)),
        (
            "gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_11",
            ("blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out"),
        ),
        ("gemma-scope-2b-pt-res/layer_12/width_16k/canonical", ("blocks.12.hook_resid_post", None)),
    ],
)
def test_sites_of_the_first_release(tmp_path, path, hooks):
    sae = weights.read(first(tmp_path, path))
    assert (sae.hook_point, sae.hook_point_out) == hooks
    assert not sae.subtract_b_dec  # transcoders too


def test_embedding_dictionary_is_scaled_to_the_models_embeddings(tmp_path):
    """It was trained on embeddings before they are multiplied by sqrt(d_model), which the model's are."""
    w, x = made(), inputs()
    sae = weights.read(first(tmp_path, "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", w))
    raw = jumped(pre(x, w), w["threshold"])
    same(encoded(sae, x * D**0.5), raw)
    close(sae.W_dec.numpy(), w["W_dec"] * D**0.5)
    assert sae.hook_point == "hook_embed"


def test_first_release_from_a_path_that_says_nothing(tmp_path):
    folder = first(tmp_path, "somewhere")
    with pytest.raises(BadRequest, match=r"the file itself does not say where it reads; name it"):
        weights.read(folder)
    assert weights.read(f"{folder}?hook_point=blocks.1.hook_resid_pre").hook_point == "blocks.1.hook_resid_pre"


def test_truncated_archive(tmp_path):
    folder = first(tmp_path)
    file = folder / "params.npz"
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadRequest, match=r"params\.npz cannot be read: .*; fetch it again"):
        weights.read(folder)


def test_shapes_that_disagree_name_both(tmp_path):
    w = made()
    w["b_enc"] = w["b_enc"][:-1]
    with pytest.raises(BadRequest, match=r"params\.npz: b_enc has shape \(11,\), but W_enc promises \(12,\)"):
        weights.read(first(tmp_path, w=w))


def test_lean_reading_leaves_matrices_in_their_type(tmp_path):
    w, x = made(), inputs()
    folder = tmp_path / RES
    save(folder / "params.safetensors", {name: tensor.bfloat16() for name, tensor in lower(w).items()})
    lean, whole = weights.read(folder, lean=True), weights.read(folder)
    assert (lean.W_enc.dtype, lean.b_enc.dtype, whole.W_enc.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    found = numpy.concatenate([encoded(lean, x, start=a, stop=a + 5) for a in (0, 5)] + [encoded(lean, x, start=10)], 1)
    same(found, encoded(whole, x))
    assert lean.hash == whole.hash


def test_cross_layer_transcoder_is_harvested(tmp_path):
    """Each layer's features are a dictionary with a decoder vector for each layer they write to."""
    width, layers = small_models.WIDTH, small_models.LAYERS
    model = Model(str(small_models.write_model(tmp_path / "model")))
    found, decoders = {}, {}
    for i in range(layers):
        w = made(i, d=width, n=20)
        decoders[i] = numpy.random.default_rng(i).normal(size=(20, layers, width)).astype(numpy.float32)
        decoders[i][:, :i] = 0
        file = save(tmp_path / CLT / f"params_layer_{i}.safetensors", lower(w) | tensors(w_dec=decoders[i]))
        found[f"{i}-clt"] = weights.read(file)
    store = featurestore.create(tmp_path / "store")
    report = harvest(store, model, found, small_models.TEXTS, model_id="small")
    assert {one.kind for one in store.dictionaries()} == {"clt"}
    for layer in (1, 2):
        wanted = decoders[1][5, layer].astype(numpy.float16).astype(numpy.float32)
        numpy.testing.assert_array_equal(store.vector("small/1-clt/5", target=layer), wanted)
    page = store.feature("small/0-clt/3")
    close(page.decoder_norm, numpy.sqrt((decoders[0][3] ** 2).sum()))
    total = decoders[0][3].sum(0)
    unembedding, _ = model.unembedding()
    effects = (total - total.mean()) @ unembedding.numpy().T
    close([one.value for one in page.top_logits], numpy.sort(effects)[::-1][:20])
    assert report.l0["small/0-clt"] > 0
