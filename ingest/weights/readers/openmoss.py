"""OpenMOSS's dictionaries as llamascopium writes them: config.json and sae_weights.safetensors (or .pt, or
checkpoints/).

A cross-layer transcoder is one file for all layers, its decoders kept by the layer they write to: W_D.j (j + 1, n, d).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, words
from ingest.weights.place import Place, read_config, whole, word
from ingest.weights.tensors import Tensors

FORMAT = "OpenMOSS"
FILES = ("config.json", "sae_weights.safetensors")
WEIGHTS = tuple(
    f"{stem}{suffix}"
    for stem in ("sae_weights", "checkpoints/pruned", "checkpoints/final")
    for suffix in (".safetensors", ".pt", ".dcp")
)
TAKEN = words("""
    sae_type d_model d_sae expansion_factor act_fn top_k norm_activation hook_point_in hook_point_out hook_points_in
    hook_points_out use_decoder_bias sparsity_include_decoder_norm use_glu_encoder model_name
    dataset_average_activation_norm apply_decoder_bias_to_pre_encoder
    """)
HARMLESS = words("""
    tp_size bias_init_method decoder_exactly_unit_norm decoder_exactly_fixed_norm lp k_warmup_steps strict_loading
    remove_gradient_parallel_to_decoder_directions sae_pretrained_name_or_path use_batch_norm_mse use_triton_kernel
    sparsity_threshold_for_triton_spmm_kernel exp_name exp_result_path k_exponential_factor
    k_scheduler k_scheduler_type k_schedule_type use_tensor_parallel fp8 pretrained_name_or_path
    """)
LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"


def recognises(place: Place) -> bool:
    """Whether config.json says sae_type, and weights in the library's names are there."""
    folder = place.folder.parent if place.folder.name == "checkpoints" else place.folder
    if not (folder / "config.json").is_file() or "sae_type" not in read_config(folder / "config.json"):
        return False
    return place.path.is_dir() or place.path.name in {Path(name).name for name in WEIGHTS}


def read(place: Place) -> Sae:
    """The dictionary; of a cross-layer transcoder the features that read at the layer the user names (?layer=3)."""
    folder = place.folder.parent if place.folder.name == "checkpoints" else place.folder
    config_file = folder / "config.json"
    config = place.config(config_file)
    check_keys(place, config_file, config, TAKEN, HARMLESS)
    file = _weights(place, folder)
    kind = config["sae_type"]
    if kind not in ("sae", "clt"):
        raise BadRequest(f"{config_file}: sae_type '{kind}' cannot be read; known: sae, clt")
    if config.get("use_glu_encoder"):
        raise BadRequest(
            f"{config_file}: use_glu_encoder: its encoder is gated by a second one, which is not known here"
        )
    d = whole(config, "d_model", config_file)
    tensors = place.tensors(file, "config.json", d=d, n=int(d * config.get("expansion_factor", 0)) or None)
    if file.suffix == ".pt":
        tensors.let_be("version")
        tensors.descend("sae")
    tensors.let_be(r"dataset_average_activation_norm\..*")
    if not config.get("use_decoder_bias", True):
        tensors.let_be(r"b_D(\.\d+)?")
    return (_cross_layer if kind == "clt" else _single)(place, config, config_file, tensors, d)


def _weights(place: Place, folder: Path) -> Path:
    if place.path.is_file():
        return place.path
    file = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if file is None:
        raise BadRequest(f"{folder} has config.json but none of {', '.join(WEIGHTS)}")
    if file.suffix == ".dcp":
        raise BadRequest(f"{file} is a checkpoint in shards; save it as sae_weights.safetensors with the library first")
    return file


def _single(place: Place, config: dict[str, Any], file: Path, tensors: Tensors, d: int) -> Sae:
    reads, writes = hooks(place, config, file)
    W_dec = tensors.take("W_D", "n d")
    norms = torch.linalg.vector_norm(W_dec, dim=1, dtype=torch.float32)
    fields = _activation(place, config, file, tensors, None)
    return Sae(
        W_enc=tensors.take("W_E", "d n"),
        b_enc=tensors.take("b_E", "n"),
        W_dec=W_dec,
        b_dec=tensors.take("b_D", "d") if config.get("use_decoder_bias", True) else torch.zeros(d),
        architecture="_".join(filter(None, (fields["activation"], "transcoder" if writes else ""))),
        rank_norms=norms if config.get("sparsity_include_decoder_norm", True) else None,
        subtract_b_dec=bool(config.get("apply_decoder_bias_to_pre_encoder", False)),
        hook_point=reads,
        hook_point_out=writes,
        model_name=config.get("model_name"),
        **fields,
        **normalisation(place, config, file, tensors, d),
        **place.common(FORMAT, tensors.file),
    )


def _cross_layer(place: Place, config: dict[str, Any], file: Path, tensors: Tensors, d: int) -> Sae:
    points_in, points_out = (_hook_points(config, name, file) for name in ("hook_points_in", "hook_points_out"))
    layers = len(points_in)
    layer = place.option("layer")
    if layer is None or not 0 <= layer < layers:
        raise BadRequest(
            f"{file.parent} holds {layers} dictionaries, one for each layer read: name one: {place.location}?layer=0 "
            f"to ?layer={layers - 1}"
        )
    tensors.let_be(r"W_D\.\d+", r"b_D\.\d+")  # of the layers that other dictionaries read
    fields = _activation(place, config, file, tensors, layer)
    decoders = [tensors.take(f"W_D.{j}", f"{j + 1}_sources n d", at=layer) for j in range(layer, layers)]
    W_dec = torch.stack(decoders, dim=1)  # (n, layers - layer, d)
    norms = torch.linalg.vector_norm(W_dec, dim=(1, 2), dtype=torch.float32)
    b_dec = tensors.take(f"b_D.{layer}", "d") if config.get("use_decoder_bias", True) else torch.zeros(d)
    scales = [
        normalisation(place, {**config, "hook_point_in": points_in[layer], "hook_point_out": out}, file, tensors, d)
        for out in points_out[layer:]
    ]
    if scales[0].get("norm") == "scale":
        # Each layer's output has a scale of its own, so these go into the decoders, and only the input's stays.
        outs = torch.tensor([fields_out["scale_out"] for fields_out in scales])
        W_dec, b_dec = W_dec.float() / outs[:, None], b_dec / outs[0]
        scales[0]["scale_out"] = 1.0
    elif scales[0].get("norm") == "l2":
        raise BadRequest(f"{file}: norm_activation is token-wise: what is written is scaled by other layers' outputs")
    return Sae(
        W_enc=tensors.take("W_E", "layers d n", at=layer),
        b_enc=tensors.take("b_E", "layers n", at=layer),
        W_dec=W_dec,
        b_dec=b_dec,
        architecture=f"{fields['activation']}_clt",
        rank_norms=norms if config.get("sparsity_include_decoder_norm", True) else None,
        hook_point=place.option("hook_point", points_in[layer]),
        hook_point_out=place.option("hook_point_out", points_out[layer]),
        targets=tuple(range(layer, layers)),
        model_name=config.get("model_name"),
        **fields,
        **scales[0],
        **place.common(FORMAT, tensors.file),
    )


def _activation(
    place: Place, config: dict[str, Any], file: Path, tensors: Tensors, layer: int | None
) -> dict[str, Any]:
    name = str(config.get("act_fn", "relu")).lower()
    if name == "relu":
        return {"activation": "relu"}
    if name == "jumprelu":
        threshold = tensors.take(LOG_THRESHOLD, "n" if layer is None else "layers n", at=layer).exp()
        return {"activation": "jumprelu", "threshold": threshold}
    tensors.let_be(LOG_THRESHOLD)  # of a conversion to jumprelu, which the config would name
    k = place.option("k", whole(config, "top_k", file) if name == "topk" else None)
    if k is None:
        raise BadRequest(
            f"{file}: act_fn '{name}' chooses among the features of many tokens or layers at once; convert it to "
            "jumprelu with "
            f"the library, or read it with the k largest of each token: k={config.get('top_k', 50)} behind the "
            "location's ?"
        )
    promise = f"{file.name}: top_k {config.get('top_k')}"
    return {"activation": "topk", "k": k, "promised_l0": (float(k), float(k)), "promised_by": promise}


def hooks(place: Place, config: dict[str, Any], file: Path) -> tuple[str, str | None]:
    """Where it reads and, when that is another place, writes."""
    reads = place.option("hook_point") or word(config, "hook_point_in", file)
    writes = place.option("hook_point_out") or config.get("hook_point_out")
    return reads, writes if writes and writes != config.get("hook_point_in") else None


def _hook_points(config: dict[str, Any], name: str, file: Path) -> list[str]:
    value = config.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(point, str) for point in value):
        raise BadRequest(f"{file}: {name} is {value!r}; a list of hook points is wanted")
    return value


def normalisation(place: Place, config: dict[str, Any], file: Path, tensors: Tensors, d: int) -> dict[str, Any]:
    """The fields of Sae for norm_activation: inputs are brought to a norm of sqrt(d) on each token, or on the
    average."""
    kind = config.get("norm_activation", "inference")
    if "scale" in place.options or kind in ("inference", "none", None):
        return {"norm": "none"}
    if kind == "token-wise":
        return {"norm": "l2"}
    if kind != "dataset-wise":
        raise BadRequest(
            f"{file}: norm_activation '{kind}' depends on what else is in a batch; give the scale that inputs are "
            "multiplied "
            f"by: scale=NUMBER behind the location's ?"
        )
    averages = config.get("dataset_average_activation_norm") or {}

    def norm(point: str, side: str) -> float:
        """Returns the average norm at a hook point. Raises BadRequest."""
        name = f"dataset_average_activation_norm.{point}"
        value = tensors.number(name) if name in tensors else averages.get(side, averages.get(point))
        if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            raise BadRequest(
                f"{file}: norm_activation is dataset-wise, but the average norm at {point} is {value!r} in {name} "
                "and in the "
                "config; give the scale that inputs are multiplied by: scale=NUMBER behind the location's ?"
            )
        return value

    reads = str(config.get("hook_point_in"))
    writes = str(config.get("hook_point_out") or reads)
    return {"norm": "scale", "scale": math.sqrt(d) / norm(reads, "in"), "scale_out": math.sqrt(d) / norm(writes, "out")}
