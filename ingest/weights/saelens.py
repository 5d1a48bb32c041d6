"""SAELens's format: cfg.json and sae_weights.safetensors. Keys as in SAELens 6 and, flat, in versions before it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from featurestore import BadRequest
from ingest.sae import Sae

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
# architecture -> the activation of Sae
ARCHITECTURES = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}


def recognises(path: Path) -> bool:
    """Whether the directory holds SAELens's files."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path) -> Sae:
    """The dictionary. Raises BadRequest when a file is damaged, or its tensors disagree with the config."""
    config = _config(path / CONFIG)
    try:
        raw = (path / WEIGHTS).read_bytes()
        tensors = {name: tensor.float() for name, tensor in load(raw).items()}
    except (SafetensorError, OSError) as exc:
        raise BadRequest(f"{path / WEIGHTS} cannot be read: {exc}; fetch it again") from None
    scale = tensors.get("scaling_factor")
    if scale is not None and not bool((scale == 1).all()):
        raise BadRequest(
            f"{path / WEIGHTS}: scaling_factor is not 1 everywhere, which is not known here; fold it into W_dec"
        )
    architecture = config["architecture"]
    activation = ARCHITECTURES.get(architecture)
    if activation is None:
        raise BadRequest(
            f"{path / CONFIG}: architecture '{architecture}' cannot be read; known: {', '.join(ARCHITECTURES)}"
        )
    transcoder = "transcoder" in architecture
    hook_point = config.get("hook_name")
    if not hook_point:
        raise BadRequest(f"{path / CONFIG}: metadata.hook_name is missing, so nobody knows what the dictionary reads")
    hook_point_out = config.get("hook_name_out") if transcoder else None
    if transcoder and not hook_point_out:
        raise BadRequest(f"{path / CONFIG}: a transcoder must name metadata.hook_name_out, where it writes")
    norm = config.get("normalize_activations") or "none"
    if norm not in ("none", "layer_norm", "constant_norm_rescale"):
        raise BadRequest(
            f"{path / CONFIG}: normalize_activations '{norm}' needs a scale that the file does not hold; fold it into the weights "
            "(W_enc times the scale, W_dec and b_dec divided by it) and write none"
        )
    d_in, d_sae = int(config["d_in"]), int(config["d_sae"])
    d_out = int(config.get("d_out") or d_in)
    take = _Taker(path / WEIGHTS, tensors)
    gated = activation == "gated"
    return Sae(
        W_enc=take("W_enc", d_in, d_sae),
        b_enc=take("b_gate" if gated else "b_enc", d_sae),
        W_dec=take("W_dec", d_sae, d_out),
        b_dec=take("b_dec", d_out),
        activation=activation,
        architecture=architecture,
        hook_point=hook_point,
        hook_point_out=hook_point_out,
        location=str(path),
        hash=hashlib.sha256(raw).hexdigest()[:16],
        threshold=take("threshold", d_sae) if activation == "jumprelu" else None,
        k=int(config["k"]) if activation == "topk" else None,
        r_mag=take("r_mag", d_sae) if gated else None,
        b_mag=take("b_mag", d_sae) if gated else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", not transcoder)),
        norm=norm,
        rescale_by_decoder_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
        W_skip=take("W_skip", d_out, d_in) if "skip" in architecture else None,
        model_name=config.get("model_name"),
        context_size=config.get("context_size"),
        prepend_bos=bool(config.get("prepend_bos", True)),
    )


def _config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as exc:
        raise BadRequest(f"{file} cannot be read: {exc}") from None
    if not isinstance(found, dict):
        raise BadRequest(f"{file} holds no JSON object")
    # Version 6 keeps the hook under `metadata`; before, everything was flat, under some other names.
    metadata = found.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRequest(f"{file}: metadata is {metadata!r}; an object is wanted")
    config = found | metadata
    config.setdefault("hook_name", config.get("hook_point"))
    config.setdefault("architecture", "standard")
    kind = config.get("activation_fn") or config.get("activation_fn_str")
    if kind == "topk" and config["architecture"] == "standard":
        config["architecture"] = "topk"
        config["k"] = (config.get("activation_fn_kwargs") or {}).get("k")
    elif kind not in (None, "relu", "topk"):
        raise BadRequest(f"{file}: activation_fn '{kind}' cannot be read; known: relu, topk")
    if config.get("hook_head_index") is not None or config.get("hook_point_head_index") is not None:
        raise BadRequest(f"{file}: the dictionary reads one attention head, which cannot be done yet")
    if config.get("normalize_activations") is True:
        config["normalize_activations"] = "expected_average_only_in"
    for name in ("d_in", "d_sae", *(["k"] if config["architecture"] == "topk" else [])):
        if not isinstance(config.get(name), int) or config[name] < 1:
            raise BadRequest(f"{file}: {name} is {config.get(name)!r}; a whole number above 0 is wanted")
    if config["architecture"] == "topk" and config["k"] > config["d_sae"]:
        raise BadRequest(f"{file}: k is {config['k']}, but there are {config['d_sae']} features")
    return config


class _Taker:
    """Takes tensors by name, checked for shape and for numbers that are none."""

    def __init__(self, file: Path, tensors: dict[str, torch.Tensor]):
        self._file, self._tensors = file, tensors

    def __call__(self, name: str, *shape: int) -> torch.Tensor:
        tensor = self._tensors.get(name)
        if tensor is None and name == "threshold" and "log_threshold" in self._tensors:
            tensor = self._tensors["log_threshold"].exp()  # a checkpoint in the middle of training
        if tensor is None:
            raise BadRequest(f"{self._file} has no tensor {name}; it has {', '.join(sorted(self._tensors))}")
        if tuple(tensor.shape) != shape:
            raise BadRequest(
                f"{self._file}: {name} has shape {tuple(tensor.shape)}, but {CONFIG} promises {shape}; "
                "the two files are not of the same dictionary"
            )
        if not torch.isfinite(tensor).all():
            raise BadRequest(f"{self._file}: {name} holds NaN or infinity")
        return tensor.contiguous()
