"""What is proposed for files of no known format: the location reads the dictionary that was saved."""

import json

import pytest
import torch

from featurestore import BadRequest
from ingest import weights
from ingest.weights.place import Place
from ingest.weights.proposal import propose
from tests.support.published_weights import D, N, encoded, inputs, k_largest, made, pre, relu, same, save, tensors

X = inputs()


def proposals(path):
    return propose(Place(path, str(path), str(path)))


def state(w, names, linear=False):
    arrays = (w["W_enc"].T if linear else w["W_enc"], w["b_enc"], w["W_dec"].T if linear else w["W_dec"], w["b_dec"])
    return dict(zip(names, arrays, strict=True))


@pytest.mark.parametrize(
    ("names", "linear", "subtract"),
    [
        (("encoder_weights", "encoder_bias", "decoder_weights", "pre_bias"), False, True),
        (("encoder.weight", "encoder.bias", "decoder.weight", "pre_bias"), True, True),
        (("sae.encoder.weight", "sae.encoder.bias", "sae.decoder.weight", "sae.decoder.bias"), True, False),
        (("W_e", "b_e", "W_d", "b_d"), False, False),
        (("Wenc", "latent_bias", "dictionary", "center"), False, True),
        (("enc.kernel", "enc.b", "dec.kernel", "dec.b"), False, False),
    ],
)
def test_names_and_shapes(tmp_path, names, linear, subtract):
    w = made()
    file = save(tmp_path / "layer_2_resid_post.pt", tensors(**state(w, names, linear)))
    (proposal,) = proposals(file)
    sae = weights.read(proposal.location)
    same(encoded(sae, X), relu(pre(X, w, subtract=subtract)))
    assert sae.hook_point == "blocks.2.hook_resid_post"
    with pytest.raises(BadRequest, match="may be read as") as refused:
        weights.read(file)
    assert proposal.location in str(refused.value)


def test_lists_by_site(tmp_path):
    several = {f"layers.{layer}": made(seed=layer) for layer in (1, 3)}
    names = ("encoder_weights", "encoder_bias", "decoder_weights", "pre_bias")
    torch.save({site: tensors(**state(w, names)) for site, w in several.items()}, tmp_path / "all.pt")
    both = proposals(tmp_path / "all.pt")
    assert [proposal.hook_point for proposal in both] == ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post"]
    for proposal, w in zip(both, several.values(), strict=True):
        same(encoded(weights.read(proposal.location), X), relu(pre(X, w, subtract=True)))


def test_stacked_and_lists_by_part(tmp_path):
    several = [made(seed=seed) for seed in range(2)]
    parts = {"W_enc": "encoder", "b_enc": "encoder_bias", "W_dec": "decoder"}
    each = {name: [torch.tensor(w[part]) for w in several] for part, name in parts.items()}
    torch.save(each, tmp_path / "parts.pt")
    torch.save({name: torch.stack(of) for name, of in each.items()}, tmp_path / "stack.pt")
    for file in ("parts.pt", "stack.pt"):
        for proposal, w in zip(proposals(tmp_path / file), several, strict=True):
            sae = weights.read(f"{proposal.location}&hook_point=blocks.0.hook_resid_post")
            same(encoded(sae, X), relu(X @ w["W_enc"] + w["b_enc"]))


def test_k_and_hook_of_a_config(tmp_path):
    w = made()
    names = ("encoder_weights", "encoder_bias", "decoder_weights", "pre_bias")
    save(tmp_path / "weights.pt", tensors(**state(w, names)))
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"k": 3}, "hook_name": "blocks.4.hook_mlp_out"}))
    (proposal,) = proposals(tmp_path / "weights.pt")
    sae = weights.read(proposal.location)
    same(encoded(sae, X), k_largest(pre(X, w, subtract=True), 3))
    assert sae.hook_point == "blocks.4.hook_mlp_out"


def test_thresholds(tmp_path):
    w = made()
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    more = {"jumprelu.threshold": w["threshold"], "steps_since_fired": w["threshold"]}
    (proposal,) = proposals(save(tmp_path / "x.pt", tensors(**state(w, names, linear=True), **more)))
    assert "threshold:jumprelu.threshold" in proposal.location and "ignore=steps_since_fired" in proposal.location
    sae = weights.read(f"{proposal.location}&hook_point=blocks.0.hook_resid_post")
    same(encoded(sae, X), (pre(X, w) > w["threshold"]) * relu(pre(X, w)))
    assert "threshold as a logarithm" in dict(proposal.others)


def test_square_matrices_without_names_have_alternatives(tmp_path):
    w = made(n=D)
    (proposal,) = proposals(save(tmp_path / "x.pt", tensors(a=w["W_enc"], b=w["W_dec"])))
    names = dict(proposal.others)
    assert {"matrices turned round", "encoder and decoder exchanged"} <= names.keys()
    right = {"W_enc": w["W_enc"], "swapped": w["W_dec"], "turned": w["W_enc"].T}
    for name, wanted in (
        ("", "W_enc"),
        ("encoder and decoder exchanged", "swapped"),
        ("matrices turned round", "turned"),
    ):
        location = names.get(name, proposal.location)
        sae = weights.read(f"{location}&hook_point=blocks.0.hook_resid_post")
        same(encoded(sae, X), relu(X @ right[wanted]))


@pytest.mark.parametrize("found", [{"a": torch.ones(3)}, {"a": torch.ones(3, 4), "b": torch.ones(7, 9)}, {}])
def test_nothing_to_propose(tmp_path, found):
    torch.save(found, tmp_path / "x.pt")
    assert proposals(tmp_path / "x.pt") == []
    with pytest.raises(BadRequest, match="is of no known format"):
        weights.read(tmp_path / "x.pt")
    assert N > D
