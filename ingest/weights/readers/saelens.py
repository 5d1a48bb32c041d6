"""SAELens's format: cfg.json and sae_weights.safetensors. Keys as in SAELens 6 and, flat, in versions before it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import Place, read_config, whole
from ingest.weights.tensors import Tensors

FORMAT = "SAELens"
CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
FILES = (CONFIG, WEIGHTS)
# architecture -> the activation of Sae
ARCHITECTURES = {
    "standard": "relu",
    "gated": "gated",
    "jumprelu": "jumprelu",
    "topk": "topk",
    "abstopk": "abstopk",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
    # Names of training: inference files say jumprelu; checkpoints keep the running threshold.
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
}
REFUSED = {
    "temporal": "its activations depend on other tokens, by attention over the sequence",
    "matching_pursuit": "its activations are found one after another, each from what the last left over",
}
NORMS = {"none": "none", "layer_norm": "layer_norm", "constant_norm_rescale": "l2", "expected_average_only_in": "scale"}


def recognises(place: Place) -> bool:
    """Whether the directory holds SAELens's files, or the place is its weights file."""
    file = place.file(WEIGHTS)
    return file is not None and (file.parent / CONFIG).is_file()


def read(place: Place) -> Sae:
    """The dictionary. Raises BadRequest when a file is damaged, or its tensors disagree with the config."""
    folder = place.folder
    config = _config(folder / CONFIG)
    architecture = config["architecture"]
    if architecture in REFUSED:
        raise BadRequest(
            f"{folder / CONFIG}: architecture '{architecture}' cannot be read: {REFUSED[architecture]}, which is no "
            "single "
            "linear encoder"
        )
    activation = ARCHITECTURES.get(architecture)
    if activation is None:
        raise BadRequest(
            f"{folder / CONFIG}: architecture '{architecture}' cannot be read; known: {', '.join(ARCHITECTURES)}"
        )
    transcoder, gated = "transcoder" in architecture, activation == "gated"
    hook_point, hook_point_out = _hooks(place, config, transcoder)
    d_in = whole(config, "d_in", folder / CONFIG)
    sizes = {"d": d_in, "n": whole(config, "d_sae", folder / CONFIG), "o": int(config.get("d_out") or d_in)}
    tensors = place.tensors(folder / WEIGHTS, CONFIG, **sizes)
    if "scaling_factor" in tensors and not bool((tensors.take("scaling_factor", "n") == 1).all()):
        raise BadRequest(
            f"{folder / WEIGHTS}: scaling_factor is not 1 everywhere, which is not known here; fold it into W_dec"
        )
    processing = config.get("model_from_pretrained_kwargs") or {}
    promise = float(config["k"]) if activation in ("topk", "abstopk") else None
    sae = Sae(
        W_enc=tensors.take("W_enc", "d n"),
        b_enc=tensors.take("b_gate" if gated else "b_enc", "n"),
        W_dec=tensors.take("W_dec", "n o"),
        b_dec=tensors.take("b_dec", "o"),
        activation=activation,
        architecture=architecture,
        hook_point=hook_point,
        hook_point_out=hook_point_out,
        threshold=_threshold(tensors) if activation == "jumprelu" else None,
        k=int(config["k"]) if promise else None,
        r_mag=tensors.take("r_mag", "n") if gated else None,
        b_mag=tensors.take("b_mag", "n") if gated else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", not transcoder)),
        rescale_by_decoder_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
        W_skip=tensors.take("W_skip", "o d") if "skip" in architecture else None,
        centred=bool(processing.get("center_writing_weights", False)),
        fold_value_biases=bool(processing.get("fold_value_biases", False)),
        model_name=config.get("model_name"),
        context_size=config.get("context_size"),
        prepend_bos=bool(config.get("prepend_bos", True)),
        promised_l0=(promise, promise) if promise else None,
        promised_by=f"{CONFIG}: k {config['k']}" if promise else "",
        **place.common(FORMAT, folder / WEIGHTS),
    )
    if sae.subtract_b_dec and sae.d_in != sae.d_out:
        raise BadRequest(
            f"{folder / CONFIG}: apply_b_dec_to_input is true, but b_dec has {sae.d_out} numbers and the input "
            f"{sae.d_in}"
        )
    return _normalise(place, config, sae)


def _hooks(place: Place, config: dict[str, Any], transcoder: bool) -> tuple[str, str | None]:
    """Returns where it reads and writes. hook_mlp_in means two places, so there the Hugging Face path is preferred."""
    file = place.folder / CONFIG

    def prefer(name: str, hf_name: str) -> str | None:
        """Returns the hook of one of two keys; None without either."""
        hook: str | None = config.get(name)
        hf: str | None = config.get(hf_name)
        if hf:
            return hf if not hook or hook.endswith("hook_mlp_in") else hook
        return hook

    hook_point = place.option("hook_point") or prefer("hook_name", "hf_hook_name")
    if not hook_point:
        raise BadRequest(
            f"{file}: metadata.hook_name is missing, so nobody knows what the dictionary reads; "
            f"name it: {place.location}?hook_point=blocks.N.hook_resid_post"
        )
    if not transcoder:
        return hook_point, None
    hook_point_out = place.option("hook_point_out") or prefer("hook_name_out", "hf_hook_name_out")
    if not hook_point_out:
        raise BadRequest(f"{file}: a transcoder must name metadata.hook_name_out, where it writes")
    return hook_point, hook_point_out


def _threshold(tensors: Tensors) -> Any:
    if "threshold" not in tensors and "log_threshold" in tensors:
        return tensors.take("log_threshold", "n").exp()  # a checkpoint in the middle of training
    if "threshold" not in tensors and "topk_threshold" in tensors:
        return tensors.take("topk_threshold", "")  # the same, of BatchTopK: one number
    return tensors.take("threshold", "n")


def _normalise(place: Place, config: dict[str, Any], sae: Sae) -> Sae:
    file = place.folder / CONFIG
    name = config.get("normalize_activations") or "none"
    if name not in NORMS:
        raise BadRequest(f"{file}: normalize_activations '{name}' is not known; known: {', '.join(NORMS)}")
    if name != "expected_average_only_in":
        return dataclasses.replace(sae, norm=NORMS[name])
    scale = place.option("scale")
    for other in (place.folder / SCALER, place.folder / "runner_cfg.json", file):
        if scale is None and other.is_file():
            settings = read_config(other)
            scale = settings.get("norm_scaling_factor", settings.get("scaling_factor"))
    if not isinstance(scale, int | float) or not scale > 0:
        raise BadRequest(
            f"{file}: normalize_activations '{name}' needs a scale that the files do not hold (SAELens keeps it as "
            f"norm_scaling_factor in its registry); give it: {place.location}?scale=NUMBER"
        )
    return dataclasses.replace(sae, norm="scale", scale=float(scale))


def _config(file: Path) -> dict[str, Any]:
    flat = read_config(file)
    # Version 6 keeps the hook under `metadata`; before, everything was flat, under some other names.
    metadata = flat.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRequest(f"{file}: metadata is {metadata!r}; an object is wanted")
    config = flat | metadata
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
    if config["architecture"] in ("topk", "abstopk"):
        whole(config, "k", file)
        if config["k"] > whole(config, "d_sae", file):
            raise BadRequest(f"{file}: k is {config['k']}, but there are {config['d_sae']} features")
    return config
