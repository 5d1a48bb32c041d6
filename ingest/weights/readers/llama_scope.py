"""Llama Scope (fnlp/Llama3_1-8B-Base-LX*): hyperparams.json and checkpoints/final.safetensors; and its R1-Distill set,
config.json and sae_weights.safetensors with log_jumprelu_threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys
from ingest.weights.place import Place, whole
from ingest.weights.readers.openmoss import HARMLESS, TAKEN, hooks, normalisation
from ingest.weights.tensors import Tensors

FORMAT = "Llama Scope"
FILES = ("hyperparams.json", "checkpoints/final.safetensors")
LOG_THRESHOLD = "log_jumprelu_threshold"


def recognises(place: Place) -> bool:
    """Whether hyperparams.json is there, or config.json with weights in the R1-Distill set's names."""
    if place.file("hyperparams.json"):
        return True
    if place.path.match("checkpoints/*.safetensors") and (place.folder.parent / "hyperparams.json").is_file():
        return True
    file = place.file("sae_weights.safetensors")
    return (
        file is not None
        and (file.parent / "config.json").is_file()
        and {"encoder.weight", "decoder.weight", LOG_THRESHOLD} <= Tensors(file).names
    )


def read(place: Place) -> Sae:
    """The dictionary, its one threshold compared with pre-activations of scaled inputs, as its publishers' code does.

    SAELens multiplies that threshold by the scale, too; whether a release's L0 is then nearer, `inspect` measures.
    """
    config_file, file = _files(place)
    config = place.config(config_file)
    check_keys(place, config_file, config, TAKEN | {"jump_relu_threshold"}, HARMLESS)
    d = whole(config, "d_model", config_file)
    n = config.get("d_sae") or int(d * config.get("expansion_factor", 0)) or None
    tensors = place.tensors(file, config_file.name, d=d, n=n)
    tensors.let_be(r"dataset_average_activation_norm\..*")
    W_dec = tensors.take("decoder.weight", "d n").T
    reads, writes = hooks(place, config, config_file)
    threshold = _threshold(tensors, config, config_file)
    activation = "relu" if threshold is None else "jumprelu"
    k = config.get("top_k")
    return Sae(
        W_enc=tensors.take("encoder.weight", "n d").T,
        b_enc=tensors.take("encoder.bias", "n"),
        W_dec=W_dec,
        b_dec=tensors.take("decoder.bias", "d") if "decoder.bias" in tensors else torch.zeros(d),
        activation=activation,
        architecture="_".join(
            filter(None, (activation if threshold is not None else "", "transcoder" if writes else ""))
        )
        or "standard",
        threshold=threshold,
        rank_norms=_norms(W_dec) if config.get("sparsity_include_decoder_norm") else None,
        subtract_b_dec=bool(config.get("apply_decoder_bias_to_pre_encoder", False)),
        hook_point=reads,
        hook_point_out=writes,
        model_name=config.get("model_name", "meta-llama/Llama-3.1-8B"),
        context_size=1024,
        promised_l0=(float(k), float(k)) if isinstance(k, int) else None,
        promised_by=f"{config_file.name}: top_k {k}, before its conversion to a threshold"
        if isinstance(k, int)
        else "",
        **normalisation(place, config, config_file, tensors, d),
        **place.common(FORMAT, file),
    )


def _files(place: Place) -> tuple[Path, Path]:
    if place.path.is_file():
        folder = place.folder.parent if place.folder.name == "checkpoints" else place.folder
        config = "hyperparams.json" if (folder / "hyperparams.json").is_file() else "config.json"
        return folder / config, place.path
    if place.file("hyperparams.json") is None:
        return place.path / "config.json", place.path / "sae_weights.safetensors"
    for name in ("final", "pruned"):
        if (file := place.path / "checkpoints" / f"{name}.safetensors").is_file():
            return place.path / "hyperparams.json", file
    raise BadRequest(f"{place.path} has hyperparams.json but no checkpoints/final.safetensors")


def _threshold(tensors: Tensors, config: dict[str, Any], file: Path) -> torch.Tensor | None:
    if LOG_THRESHOLD in tensors:
        return tensors.take(LOG_THRESHOLD, "n").exp()
    activation = config.get("act_fn", "jumprelu")
    if activation == "relu":
        return None
    threshold = config.get("jump_relu_threshold")
    if activation != "jumprelu" or not isinstance(threshold, int | float):
        raise BadRequest(f"{file}: act_fn '{activation}' with jump_relu_threshold {threshold!r} cannot be read")
    return torch.tensor(float(threshold))


def _norms(W_dec: torch.Tensor) -> torch.Tensor:
    norms: torch.Tensor = torch.linalg.vector_norm(W_dec, dim=1, dtype=torch.float32)
    return norms
