"""SAELens's format: cfg.json and sae_weights.safetensors. Keys as in SAELens 6 and, flat, in versions before it."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, refuse_key, words
from ingest.weights.place import Place, read_config, whole
from ingest.weights.readers.saelens_whitening import fold_whitening
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
NORMS = {
    "none": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "l2",
    "expected_average_only_in": "scale",
    "covariance_whitening": "none",  # folded into the weights
}
# Architectures of which SAELens multiplies pre-activations by decoder norms where rescale_acts_by_decoder_norm is true.
# Those of BatchTopK occur in checkpoints: finished ones have the norms folded in, and are called jumprelu.
RESCALED = ("topk", "abstopk", "batchtopk", "matryoshka_batchtopk")
TAKEN = words("""
    architecture d_in d_sae d_out apply_b_dec_to_input normalize_activations reshape_activations metadata k
    rescale_acts_by_decoder_norm matryoshka_widths model_name hook_name hook_point hook_name_out hf_hook_name
    hf_hook_name_out hook_head_index hook_point_head_index hook_head_index_out context_size prepend_bos
    activation_fn activation_fn_str activation_fn_kwargs model_from_pretrained_kwargs exclude_special_tokens
    seqpos_slice finetuning_scaling_factor norm_scaling_factor scaling_factor training_architecture_details l0
    """)
HARMLESS = words("""
    hook_layer hook_point_layer hook_layer_out hook_eval training_architecture sparsity prefix expected_l0
    expected_var_explained variance_explained conversion_func use_error_term x_norm
    """)
# Of how TransformerLens loaded the model: taken, or without a consequence for what a dictionary reads.
PROCESSING = words("""
    center_writing_weights fold_value_biases fold_ln center_unembed torch_dtype n_devices n_ctx trust_remote_code
    default_padding_side attn_implementation low_cpu_mem_usage token cache_dir
    """)


def recognises(place: Place) -> bool:
    """Whether the directory holds SAELens's files, or the place is its weights file."""
    file = place.file(WEIGHTS)
    return file is not None and (file.parent / CONFIG).is_file()


def read(place: Place) -> Sae:
    """The dictionary. Raises BadRequest when a file is damaged, or its tensors disagree with the config."""
    folder = place.folder
    config = _config(place, folder / CONFIG)
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
    tensors = place.tensors(folder / WEIGHTS, CONFIG, flat=False, **sizes)
    _check_scaling(place, tensors)
    processing = config.get("model_from_pretrained_kwargs") or {}
    promise, promised_by = _find_l0(config)
    groups = _groups(config, sizes["n"], folder / CONFIG) if architecture == "matryoshka_batchtopk" else None
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
        k=int(config["k"]) if activation in ("topk", "abstopk") else None,
        r_mag=tensors.take("r_mag", "n") if gated else None,
        b_mag=tensors.take("b_mag", "n") if gated else None,
        subtract_b_dec=bool(config.get("apply_b_dec_to_input", not transcoder)),
        rescale_by_decoder_norm=bool(config.get("rescale_acts_by_decoder_norm", False)),
        W_skip=tensors.take("W_skip", "o d") if "skip" in architecture else None,
        denormalise=not transcoder,  # SAELens leaves what a transcoder writes as it is
        groups=groups,
        exclude_special=config.get("exclude_special_tokens") is True,
        centred=bool(processing.get("center_writing_weights", False)),
        fold_value_biases=bool(processing.get("fold_value_biases", False)),
        model_name=config.get("model_name"),
        neuronpedia_id=_read_neuronpedia_id(config),
        context_size=config.get("context_size"),
        prepend_bos=bool(config.get("prepend_bos", True)),
        promised_l0=(promise, promise) if promise else None,
        promised_by=promised_by,
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


def _check_scaling(place: Place, tensors: Tensors) -> None:
    """Raises BadRequest for factors of finetuning that are not 1: SAELens has dropped them."""
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        if name in tensors and not bool((tensors.take(name, "n") == 1).all()):
            raise BadRequest(
                f"{tensors.file}: {name} is not 1 everywhere, which is not known here; fold it into W_dec, or read "
                f"without it: {place.leave_out(name)}"
            )


def _find_l0(config: dict[str, Any]) -> tuple[float | None, str]:
    """Returns the mean number of active features that the config states, and where."""
    details = config.get("training_architecture_details")
    details = details if isinstance(details, dict) else {}
    tried = [(config.get("l0"), "l0"), (config.get("k"), "k"), (config.get("target_l0"), "target_l0")]
    tried += [(details.get(name), f"training_architecture_details.{name}") for name in ("k", "target_l0")]
    for value, name in tried:
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return float(value), f"{CONFIG}: {name} {value}"
    return None, ""


def _groups(config: dict[str, Any], d_sae: int, file: Path) -> tuple[int, ...] | None:
    """Returns the sizes of nested groups, of which the config has the running sums. Raises BadRequest."""
    widths = config.get("matryoshka_widths")
    if not widths:
        return None
    sizes = [last - first for first, last in itertools.pairwise([0, *widths])]
    if min(sizes) < 1 or widths[-1] != d_sae:
        raise BadRequest(f"{file}: matryoshka_widths {widths} do not rise to the {d_sae} features")
    return tuple(sizes)


def _normalise(place: Place, config: dict[str, Any], sae: Sae) -> Sae:
    file = place.folder / CONFIG
    name = config.get("normalize_activations") or "none"
    if name not in NORMS:
        raise BadRequest(f"{file}: normalize_activations '{name}' is not known; known: {', '.join(NORMS)}")
    if name == "covariance_whitening":
        return fold_whitening(place, sae)
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


def _read_neuronpedia_id(config: dict[str, Any]) -> str | None:
    """Returns the model/source on Neuronpedia that a config names; None for anything else."""
    id = config.get("neuronpedia_id")
    return id if isinstance(id, str) and re.fullmatch(r"[^/\s]+/[^/\s]+", id) else None


def _config(place: Place, file: Path) -> dict[str, Any]:
    flat = place.config(file)
    # Version 6 keeps the hook under `metadata`; before, everything was flat, under some other names.
    metadata = flat.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise BadRequest(f"{file}: metadata is {metadata!r}; an object is wanted")
    config = flat | metadata
    check_keys(place, file, config, TAKEN, HARMLESS)
    config.setdefault("hook_name", config.get("hook_point"))
    config.setdefault("architecture", "standard")
    kind = config.get("activation_fn") or config.get("activation_fn_str")
    arguments = config.get("activation_fn_kwargs") or {}
    if kind == "topk" and config["architecture"] == "standard":
        config["architecture"] = "topk"
        config["k"] = arguments.get("k")
    elif kind not in (None, "relu", "topk"):
        raise BadRequest(f"{file}: activation_fn '{kind}' cannot be read; known: relu, topk")
    check_keys(place, file, arguments, {"k"}, within="activation_fn_kwargs.")
    if config.get("normalize_activations") is True:
        config["normalize_activations"] = "expected_average_only_in"
    _check_settings(place, file, config)
    if config["architecture"] in ("topk", "abstopk"):
        whole(config, "k", file)
        if config["k"] > whole(config, "d_sae", file):
            raise BadRequest(f"{file}: k is {config['k']}, but there are {config['d_sae']} features")
    return config


def _check_settings(place: Place, file: Path, config: dict[str, Any]) -> None:
    """Raises BadRequest, naming key and value, for settings that change activations in a way that is not known here."""
    for name in ("hook_head_index", "hook_point_head_index", "hook_head_index_out"):
        if config.get(name) is not None:
            raise BadRequest(f"{file}: {name}: the dictionary reads one attention head, which cannot be done yet")
    if config.get("rescale_acts_by_decoder_norm") and config["architecture"] not in RESCALED:
        raise refuse_key(
            place,
            file,
            "rescale_acts_by_decoder_norm",
            True,
            f"SAELens has it for {', '.join(RESCALED)} and leaves it out for {config['architecture']}",
        )
    if config.get("finetuning_scaling_factor"):
        reason = "activations were scaled after training, by factors that are not known here"
        raise refuse_key(place, file, "finetuning_scaling_factor", config["finetuning_scaling_factor"], reason)
    if config.get("reshape_activations") not in (None, "none", "hook_z"):
        raise refuse_key(place, file, "reshape_activations", config["reshape_activations"], "known: none, hook_z")
    special = config.get("exclude_special_tokens")
    if special is not None and not isinstance(special, bool):
        reason = "these tokens were left out in training; a harvest leaves out all special tokens or none of them"
        raise refuse_key(place, file, "exclude_special_tokens", special, reason)
    _check_positions(place, file, config)
    processing = config.get("model_from_pretrained_kwargs") or {}
    check_keys(place, file, processing, PROCESSING, within="model_from_pretrained_kwargs.")
    if processing.get("fold_ln") and str(config.get("hook_name")).endswith("mlp.hook_in"):
        reason = (
            "the MLP's input was without the gain of the norm before it: write ?hook_point=blocks.N.ln2.hook_normalized"
        )
        raise refuse_key(place, file, "fold_ln", True, reason)


def _check_positions(place: Place, file: Path, config: dict[str, Any]) -> None:
    """Raises BadRequest when the dictionary was trained on some positions of a context alone."""
    positions = config.get("seqpos_slice")
    if not positions:
        return
    bounds = positions if isinstance(positions, list | tuple) else [positions]
    everything = {(None,), (None, None), (None, None, None), (0, None), (0, None, None), (0, None, 1)}
    without_bos = {(1, None), (1, None, None), (1, None, 1)} if config.get("prepend_bos", True) else set()
    if tuple(bounds) not in everything | without_bos:
        reason = "it was trained on these positions of a context alone, and a harvest counts all but BOS"
        raise refuse_key(place, file, "seqpos_slice", positions, reason)
