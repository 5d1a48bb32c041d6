"""encode() of a slice of features against the slice of the whole, for each activation, over tiles of any size."""

import dataclasses

import numpy
import pytest
import torch

from ingest import sae as saes
from ingest.sae import Sae
from tests.support.published_weights import (
    D,
    N,
    close,
    encoded,
    inputs,
    jumped,
    k_largest,
    made,
    pre,
    relu,
    same,
)


def build(activation, **more) -> Sae:
    w = {name: torch.tensor(array) for name, array in made().items()}
    extra = {"threshold": w["threshold"]} if activation == "jumprelu" else {}
    if activation in ("topk", "abstopk", "groupmax"):
        extra = {"k": 3}
    if activation == "gated":
        extra = {"r_mag": w["threshold"] / 2, "b_mag": w["b_enc"].flip(0)}
    return Sae(
        W_enc=w["W_enc"],
        b_enc=w["b_enc"],
        W_dec=w["W_dec"],
        b_dec=w["b_dec"],
        activation=activation,
        architecture=activation,
        hook_point="blocks.0.hook_resid_post",
        location="nowhere",
        hash="0" * 16,
        **(extra | more),
    )


def strongest(pre, k):
    bar = numpy.sort(abs(pre), axis=1)[:, -k][:, None]
    return numpy.where(abs(pre) >= bar, pre, 0)


def groupmax(pre, k):
    found = numpy.zeros_like(pre)
    for row, line in enumerate(pre):
        for group in numpy.split(numpy.arange(len(line)), k):
            best = group[numpy.argmax(line[group])]
            found[row, best] = max(line[best], 0)
    return found


W = {name: array.astype(float) for name, array in made().items()}
X = inputs()
P = pre(X, W)
NORMS = numpy.linalg.norm(W["W_dec"], axis=1)
CASES = {
    "relu": (build("relu"), relu(P)),
    "jumprelu": (build("jumprelu"), jumped(P, W["threshold"])),
    "one threshold": (build("jumprelu", threshold=torch.tensor(0.7)), jumped(P, 0.7)),
    "jumprelu, signed": (build("jumprelu", threshold=torch.tensor(-0.5), signed=True), numpy.where(P > -0.5, P, 0)),
    "jumprelu, held by norm": (
        build("jumprelu", rank_norms=torch.tensor(NORMS)),
        numpy.where(W["threshold"] < P * NORMS, P, 0),
    ),
    "topk": (build("topk"), k_largest(P, 3)),
    "topk, signed": (build("topk", k=9, signed=True), numpy.where(k_largest(P + 99, 9) > 0, P, 0)),
    "topk, ranked by norm": (build("topk", rank_norms=torch.tensor(NORMS)), k_largest(P, 3, P * NORMS)),
    "topk, rescaled by norm": (build("topk", rescale_by_decoder_norm=True), k_largest(P * NORMS, 3)),
    "abstopk": (build("abstopk"), strongest(P, 3)),
    "groupmax": (build("groupmax"), groupmax(P, 3)),
    "gated": (
        build("gated"),
        (P > 0) * relu((P - W["b_enc"]) * numpy.exp(W["threshold"] / 2) + W["b_enc"][::-1]),
    ),
    "l2": (
        build("relu", norm="l2"),
        relu(pre(X * D**0.5 / numpy.linalg.norm(X, axis=1, keepdims=True), W)),
    ),
    "scale": (build("relu", norm="scale", scale=1.7, subtract_b_dec=True), relu(pre(1.7 * X, W, subtract=True))),
}


@pytest.mark.parametrize("name", CASES)
def test_the_whole_and_its_slices(name, monkeypatch):
    sae, wanted = CASES[name]
    same(encoded(sae, X), wanted)
    monkeypatch.setattr(saes, "TILE", 5 * len(X))  # the top is found over several slices
    same(encoded(sae, X), wanted)
    for start, stop in ((0, 1), (0, 7), (3, 9), (7, N), (11, N)):
        numpy.testing.assert_allclose(
            encoded(sae, X, start=start, stop=stop), wanted[:, start:stop], rtol=2e-4, atol=2e-5
        )


def test_the_top_is_found_once_for_all_slices(monkeypatch):
    sae, wanted = CASES["topk"]
    x = torch.tensor(X, dtype=torch.float32)
    top = sae.top(x)
    assert top.activations.shape == top.features.shape == (len(X), 3)
    monkeypatch.setattr(Sae, "top", None)
    same(numpy.concatenate([sae.encode(x, a, a + 4, top).numpy() for a in (0, 4, 8)], axis=1), wanted)


def test_a_slice_with_fewer_features_than_k():
    sae = build("topk", k=N)
    close(encoded(sae, X, start=2, stop=4), relu(P)[:, 2:4])


def test_scales_in_and_out_are_undone_when_decoding():
    sae = build("relu", norm="scale", scale=1.7)
    acts = relu(pre(1.7 * X, W))
    given = torch.tensor(X, dtype=torch.float32)
    close(sae.decode(sae.encode(given), given).numpy(), (acts @ W["W_dec"] + W["b_dec"]) / 1.7)
    other = dataclasses.replace(sae, scale_out=0.3)
    close(other.decode(other.encode(given), given).numpy(), (acts @ W["W_dec"] + W["b_dec"]) / 0.3)


def test_half_precision_weights_are_summed_in_float32():
    sae = build("relu")
    half = dataclasses.replace(sae, W_enc=sae.W_enc.half(), W_dec=sae.W_dec.half())
    rounded = W | {"W_enc": half.W_enc.double().numpy()}
    same(encoded(half, X), relu(pre(X, rounded)))
    assert half.decoder_norms.dtype == torch.float32
