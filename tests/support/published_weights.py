"""Tiny dictionaries written as their publishers write them, and what each should compute, from its formula, in
NumPy."""

from __future__ import annotations

import numpy
import torch
from safetensors.torch import save_file

D, N = 8, 12


def made(seed: int = 0, d: int = D, n: int = N, out: int | None = None) -> dict[str, numpy.ndarray]:
    """W_enc (d, n), b_enc, W_dec (n, out), b_dec, threshold (n,) and an affine (d, out) of one dictionary, float32."""
    rng = numpy.random.default_rng(seed)
    out = out or d
    arrays = {
        "W_enc": rng.normal(size=(d, n)),
        "b_enc": 0.3 * rng.normal(size=n),
        "W_dec": rng.normal(size=(n, out)) * rng.uniform(0.5, 2, size=(n, 1)),
        "b_dec": 0.5 * rng.normal(size=out),
        "threshold": rng.uniform(0.2, 1.5, size=n),
        "affine": rng.normal(size=(d, out)),
    }
    return {name: array.astype(numpy.float32) for name, array in arrays.items()}


def inputs(seed: int = 9, t: int = 40, d: int = D) -> numpy.ndarray:
    return numpy.random.default_rng(seed).normal(size=(t, d)) * 2


def relu(x):
    return numpy.maximum(x, 0)


def pre(x, w, subtract=False):
    """Pre-activations (t, n)."""
    return (x - w["b_dec"] if subtract else x) @ w["W_enc"] + w["b_enc"]


def jumped(pre, threshold):
    return numpy.where(pre > threshold, relu(pre), 0)


def k_largest(pre, k, ranked=None):
    """relu(pre) where `ranked` is among the row's k largest, found by sorting."""
    ranked = pre if ranked is None else ranked
    bar = numpy.sort(ranked, axis=1)[:, -k][:, None]
    return numpy.where(ranked >= bar, relu(pre), 0)


def tensors(**arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(numpy.array(array, order="C")) for name, array in arrays.items()}


def save(path, found: dict[str, torch.Tensor]):
    """A file of tensors by its suffix; its directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, path)
    elif path.suffix == ".npz":
        numpy.savez(path, **{name: tensor.numpy() for name, tensor in found.items()})
    else:
        torch.save(found, path)
    return path


def encoded(sae, x, **more) -> numpy.ndarray:
    return sae.encode(torch.tensor(x, dtype=torch.float32), **more).numpy()


def decoded(sae, x) -> numpy.ndarray:
    given = torch.tensor(x, dtype=torch.float32)
    return sae.decode(sae.encode(given), given).numpy()


def same(found, wanted):
    """Equal up to float32, and not because both are nothing."""
    assert (wanted != 0).any() and (wanted == 0).any()
    numpy.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


def close(found, wanted):
    numpy.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-4)
