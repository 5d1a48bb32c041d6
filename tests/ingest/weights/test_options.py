"""Options of a location in place of what the files say."""

import numpy
import pytest

from featurestore import BadRequest
from ingest import weights
from tests.support.published_weights import D, encoded, inputs, jumped, made, pre, relu, same, save, tensors

X = inputs()


def location(folder, n=12):
    w = made(n=n)
    parts = {name: w[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
    named = ",".join(f"{part}:{part}" for part in parts)
    file = save(folder / "x.pt", tensors(**parts))
    return w, f"{file}?hook_point=blocks.0.hook_resid_post&map={named}"


def test_thresholds_and_scale(tmp_path):
    w, place = location(tmp_path)
    same(encoded(weights.read(f"{place}&threshold_times=2"), X), jumped(pre(X, w), 2 * w["threshold"]))
    same(encoded(weights.read(f"{place}&scale=0.5"), X), jumped(pre(X / 2, w), w["threshold"]))
    lengths = numpy.linalg.norm(X, axis=1, keepdims=True)
    same(encoded(weights.read(f"{place}&norm=l2"), X), jumped(pre(X * D**0.5 / lengths, w), w["threshold"]))
    same(encoded(weights.read(f"{place}&subtract_b_dec=true"), X), jumped(pre(X, w, subtract=True), w["threshold"]))


def test_square_matrices_are_turned_round(tmp_path):
    w, place = location(tmp_path, n=D)
    turned = jumped(X @ w["W_enc"].T + w["b_enc"], w["threshold"])
    same(encoded(weights.read(f"{place}&transposed=true"), X), turned)
    assert relu(turned).any()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("transposed=true", "not square"),
        ("norm=l1", "norm is 'l1'; it is one of none, l2, layer_norm"),
        ("norm=scale", "or scale=NUMBER is given"),
        ("scale=-1", "a number above 0 is wanted"),
        ("k=maybe", "k is 'maybe'; a whole number is wanted"),
        ("depth=3", "there is no option 'depth'"),
    ],
)
def test_refused(tmp_path, option, said):
    _, place = location(tmp_path)
    with pytest.raises(BadRequest, match=said):
        weights.read(f"{place}&{option}")
