"""SAELens's files of every architecture with every setting, in a tiny shape, and what each computes, in NumPy."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from tests.support.published_weights import D, N, made, relu, save, tensors

ARCHITECTURES = (
    "standard",
    "gated",
    "jumprelu",
    "topk",
    "abstopk",
    "batchtopk",
    "matryoshka_batchtopk",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
)
NORMS = ("none", "layer_norm", "constant_norm_rescale", "expected_average_only_in", "covariance_whitening")
RESCALED = ("topk", "abstopk", "batchtopk", "matryoshka_batchtopk")
K, SCALE, THRESHOLD = 3, 1.7, 0.9


class Case(NamedTuple):
    """One cell of the matrix."""

    architecture: str
    norm: str
    subtract: bool
    rescale: bool

    def __str__(self) -> str:
        return "-".join(map(str, self))

    @property
    def is_transcoder(self) -> bool:
        return "transcoder" in self.architecture

    @property
    def is_read(self) -> bool:
        """Whether it is read; otherwise it is refused by name."""
        if self.is_transcoder and (self.subtract or self.norm == "covariance_whitening"):
            return False
        return not self.rescale or self.architecture in RESCALED


def cases() -> list[Case]:
    """Every architecture with every setting; a transcoder has no input that b_dec could be subtracted from."""
    every = itertools.starmap(Case, itertools.product(ARCHITECTURES, NORMS, (True, False), (False, True)))
    return [case for case in every if not (case.is_transcoder and case.subtract)]


def arrays(case: Case) -> dict[str, numpy.ndarray]:
    """The tensors of the weights file, by name."""
    w = made()
    kept = {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec")}
    if case.architecture == "gated":
        kept |= {"b_gate": kept.pop("b_enc"), "b_mag": w["b_enc"] / 2, "r_mag": w["threshold"] / 3}
    if "jumprelu" in case.architecture:
        kept["threshold"] = w["threshold"]
    if "batchtopk" in case.architecture:
        kept["topk_threshold"] = numpy.float64(THRESHOLD)
    if "skip" in case.architecture:
        kept["W_skip"] = w["affine"].T
    return kept


def whitening() -> dict[str, numpy.ndarray]:
    """A mean, a matrix and its inverse."""
    rng = numpy.random.default_rng(3)
    matrix = numpy.eye(D) + 0.2 * rng.normal(size=(D, D))
    found = {"mean": rng.normal(size=D), "matrix": matrix, "inverse_matrix": numpy.linalg.inv(matrix)}
    return {name: array.astype(numpy.float32) for name, array in found.items()}


def write(folder: Path, case: Case, **more: Any) -> Path:
    """The files of a case; `more` replaces keys of the config."""
    save(folder / "sae_weights.safetensors", tensors(**arrays(case)))
    metadata = {"hook_name": "blocks.1.hook_resid_post", "sae_lens_version": "6.54.0", "model_name": "gpt2"}
    config: dict[str, Any] = {"architecture": case.architecture, "d_in": D, "d_sae": N, "dtype": "float32"}
    config |= {"device": "cpu", "apply_b_dec_to_input": case.subtract, "normalize_activations": case.norm}
    config |= {"reshape_activations": "none", "metadata": metadata}
    if "topk" in case.architecture:
        config |= {"k": K, "rescale_acts_by_decoder_norm": case.rescale}
    elif case.rescale:
        config["rescale_acts_by_decoder_norm"] = True
    if case.architecture == "matryoshka_batchtopk":
        config["matryoshka_widths"] = [4, N]
    if case.is_transcoder:
        config["d_out"] = D
        metadata |= {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    if case.norm == "covariance_whitening":
        save(folder / "activation_whitening.safetensors", tensors(**whitening()))
    if case.norm == "expected_average_only_in":
        (folder / "activation_scaler.json").write_text(json.dumps({"scaling_factor": SCALE}))
    (folder / "cfg.json").write_text(json.dumps(config | more))
    return folder


def wanted(case: Case, x: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Activations (t, n) and what is written (t, d) on inputs x (t, d), by the formulas."""
    w = {name: array.astype(numpy.float64) for name, array in arrays(case).items()}
    mean, spread, length = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True), numpy.linalg.norm(x, axis=1)
    white = whitening()
    z = {
        "none": lambda: x,
        "layer_norm": lambda: (x - mean) / (spread + 1e-5),
        "constant_norm_rescale": lambda: x * (D**0.5 / length[:, None]),
        "expected_average_only_in": lambda: x * SCALE,
        "covariance_whitening": lambda: (x - white["mean"]) @ white["matrix"],
    }[case.norm]()
    z = z - w["b_dec"] if case.subtract else z
    acts, unit = _activations(case, w, z)
    out = acts / unit @ w["W_dec"] + w["b_dec"]
    if case.norm == "expected_average_only_in":
        out = out / SCALE  # SAELens folds it into the weights: the norms of decoder vectors are divided, too
        acts = acts / SCALE if case.rescale else acts
    elif not case.is_transcoder:
        out = {
            "none": lambda: out,
            "layer_norm": lambda: out * spread + mean,
            "constant_norm_rescale": lambda: out * length[:, None] / D**0.5,
            "covariance_whitening": lambda: out @ white["inverse_matrix"] + white["mean"],
        }[case.norm]()
    return acts, out + x @ w["W_skip"].T if "W_skip" in w else out


def _activations(case: Case, w: dict[str, numpy.ndarray], z: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Activations on normalised inputs, and what decoding divides them by."""
    unit = numpy.linalg.norm(w["W_dec"], axis=1) if case.rescale else numpy.ones(N)
    if case.architecture == "gated":
        gate = z @ w["W_enc"] + w["b_gate"] > 0
        return gate * relu(z @ (w["W_enc"] * numpy.exp(w["r_mag"])) + w["b_mag"]), unit
    pre = (z @ w["W_enc"] + w["b_enc"]) * unit
    if case.architecture in ("topk", "abstopk"):
        ranked = numpy.abs(pre) if case.architecture == "abstopk" else pre
        kept = ranked >= numpy.sort(ranked, axis=1)[:, -K][:, None]
        return numpy.where(kept, pre if case.architecture == "abstopk" else relu(pre), 0), unit
    if "batchtopk" in case.architecture:
        return numpy.where(pre > THRESHOLD, relu(pre), 0), unit
    if "jumprelu" in case.architecture:
        return numpy.where(pre > w["threshold"], relu(pre), 0), unit
    return relu(pre), unit
