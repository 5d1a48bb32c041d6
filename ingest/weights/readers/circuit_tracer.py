"""circuit-tracer's transcoders: one file a layer (layer_N.safetensors), or two for cross-layer ones (W_enc_N, W_dec_N).

config.yaml beside them names model and hooks. mwhanna's Qwen3 sets have wandb-config.yaml (or, misspelt,
wanb-config.yaml).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, refuse_key, words
from ingest.weights.place import Place, read_config, word
from ingest.weights.tensors import Tensors

FORMAT = "circuit-tracer"
FILES = ("config.yaml",)
CONFIG = "config.yaml"
TRAINING = ("wandb-config.yaml", "wanb-config.yaml")
ENCODER = re.compile(r"W_enc_(\d+)\.safetensors")
LAYER = re.compile(r"layer_(\d+)\.safetensors")
THRESHOLD = "activation_function.threshold"
TAKEN = words("model_name feature_input_hook feature_output_hook activation k transcoders")
HARMLESS = words("model_kind scan repo_id subfolder lazy_encoder lazy_decoder transcoder_set")
# The only set that was published as TopK without saying k; circuit-tracer has this number in its code.
UNSAID_K = {"crv-8b-instruct-transcoders": 128}


def recognises(place: Place) -> bool:
    """Whether the place is a layer's file, or a directory whose config.yaml names files elsewhere."""
    if place.path.is_dir():
        config = place.file(CONFIG)
        return (
            config is not None and "transcoders" in read_config(config) and not list(place.path.glob("*.safetensors"))
        )
    return bool(ENCODER.fullmatch(place.path.name)) or (
        place.path.suffix == ".safetensors" and {"W_enc", "W_dec", "b_enc", "b_dec"} <= place.names()
    )


def read(place: Place) -> Sae:
    """The transcoder of one layer; of a cross-layer one, the features that read there."""
    if place.path.is_dir():
        named = [
            re.sub(r"hf://([^/]+/[^/]+)/([^?]+)(?:\?revision=(.+))?", _as_ours, str(entry))
            for entry in _elsewhere(place)
        ]
        raise BadRequest(
            f"{place.path / CONFIG} names transcoders that are elsewhere; name one: {', '.join(named[:12])}"
        )
    if match := ENCODER.fullmatch(place.path.name):
        return _cross_layer(place, int(match[1]))
    return _of_one_layer(place)


def _elsewhere(place: Place) -> list[Any]:
    return list(read_config(place.path / CONFIG)["transcoders"] or [])


def _as_ours(match: re.Match[str]) -> str:
    return f"hf://{match[1]}//{match[2]}{'@' + match[3] if match[3] else ''}"


def _of_one_layer(place: Place) -> Sae:
    match = LAYER.fullmatch(place.path.name)
    layer = place.option("layer", int(match[1]) if match else None)
    about = _about(place, layer)
    tensors = place.tensors(place.path, about.pop("said_by"), d=about.pop("d"), n=about.pop("n"))
    config = about.pop("config")
    W_enc = tensors.take("W_enc", "n d").T
    says_k = place.option("k") or config.get("k") or "k" in tensors
    activation = _activation(place, config, "topk" if says_k else "jumprelu" if THRESHOLD in tensors else "relu")
    # A tensor that the activation has no use for is not taken, and so refused by its name.
    k = _choose_k(place, config, tensors) if activation == "topk" else None
    threshold = tensors.take(THRESHOLD, "n") if activation == "jumprelu" else None
    skip = "W_skip" in tensors
    prefix = {"relu": "", "jumprelu": "jumprelu", "topk": "topk"}[activation]
    return Sae(
        W_enc=W_enc,
        b_enc=tensors.take("b_enc", "n"),
        W_dec=tensors.take("W_dec", "n o"),
        b_dec=tensors.take("b_dec", "o"),
        W_skip=tensors.take("W_skip", "o d") if skip else None,
        activation=activation,
        architecture="_".join(filter(None, (prefix, "skip" if skip else "", "transcoder"))),
        threshold=threshold,
        signed=activation != "relu",  # circuit-tracer applies no relu beside its thresholds and its top-k
        k=k,
        promised_l0=(float(k), float(k)) if k else None,
        promised_by=f"k {k}" if k else "",
        **about,
        **place.common(FORMAT, place.path),
    )


def _cross_layer(place: Place, layer: int) -> Sae:
    about = _about(place, layer)
    config = about.pop("config")
    encoders = place.tensors(place.path, about.pop("said_by"), d=about.pop("d"), n=about.pop("n"))
    decoder_file = place.folder / f"W_dec_{layer}.safetensors"
    if not decoder_file.is_file():
        raise BadRequest(f"{place.path} has its decoders in {decoder_file.name}, which is not beside it")
    W_enc = encoders.take(f"W_enc_{layer}", "n d").T
    b_dec = encoders.take(f"b_dec_{layer}", "o")
    layers = sum(1 for file in place.folder.iterdir() if ENCODER.fullmatch(file.name))
    decoders = place.tensors(
        decoder_file,
        place.path.name,
        n=encoders.size("n"),
        o=encoders.size("o"),
        targets=layers - layer if layers > layer and _complete(place.folder, layers) else None,
    )
    activation = _activation(place, config, "jumprelu" if f"threshold_{layer}" in encoders else "relu")
    if activation == "topk":
        reason = "no cross-layer set with it is known"
        raise refuse_key(place, place.folder / CONFIG, "activation", config["activation"], reason)
    threshold = encoders.take(f"threshold_{layer}", "n") if activation == "jumprelu" else None
    W_dec = decoders.take(f"W_dec_{layer}", "n targets o")
    return Sae(
        W_enc=W_enc,
        b_enc=encoders.take(f"b_enc_{layer}", "n"),
        W_dec=W_dec,
        b_dec=b_dec,
        targets=tuple(range(layer, layer + W_dec.shape[1])),
        activation=activation,
        architecture="clt" if threshold is None else "jumprelu_clt",
        threshold=threshold,
        signed=threshold is not None,
        **about,
        **place.common(FORMAT, place.path, decoder_file),
    )


def _complete(folder: Path, layers: int) -> bool:
    """Whether the encoders of all layers from 0 on are here, so that their number is that of the model's layers."""
    return all((folder / f"W_enc_{layer}.safetensors").is_file() for layer in range(layers))


def _activation(place: Place, config: dict[str, Any], by_tensors: str) -> str:
    """Returns the activation that the config names, else the one that the tensors mean. Raises BadRequest."""
    said = config.get("activation")
    activation = {None: by_tensors, "jump_relu": "jumprelu"}.get(said, said)
    if activation not in ("relu", "jumprelu", "topk"):
        raise BadRequest(f"{place.folder / CONFIG}: activation '{said}' cannot be read; known: relu, jump_relu, topk")
    if activation != "topk" and config.get("k") is not None:
        reason = f"the activation is {activation}, which keeps no k largest"
        raise refuse_key(place, place.folder / CONFIG, "k", config["k"], reason)
    return str(activation)


def _choose_k(place: Place, config: dict[str, Any], tensors: Tensors) -> int:
    """Returns how many features a TopK keeps of each token. Raises BadRequest where nothing says it."""
    k = place.option("k") or config.get("k") or (int(tensors.number("k")) if "k" in tensors else None)
    tensors.let_be("k")
    k = k or next((known for name, known in UNSAID_K.items() if name in place.words), None)
    if k is None:
        raise BadRequest(
            f"{place.folder / CONFIG}: activation is topk, but nothing says k; give it: {place.location}?k=64"
        )
    return int(k)


def _about(place: Place, layer: int | None) -> dict[str, Any]:
    """Model, hooks and sizes, by the configs beside the file or what the user says."""
    file = place.folder / CONFIG
    config = place.config(file) if file.is_file() else {}
    check_keys(place, file, config, TAKEN, HARMLESS)
    training_file = next((place.folder / name for name in TRAINING if (place.folder / name).is_file()), None)
    training = read_config(training_file) if training_file else {}
    inferred: list[str] = []
    model = config.get("model_name")
    if "hook_point" in place.options:
        reads, writes = place.options["hook_point"], place.options.get("hook_point_out")
    elif layer is None:
        raise BadRequest(
            f"{place.path}: its name says no layer, as layer_7.safetensors does; name it: {place.location}?layer=7"
        )
    elif "feature_input_hook" in config:
        reads = f"blocks.{layer}.{_suffix(word(config, 'feature_input_hook', file))}"
        writes = f"blocks.{layer}.{_suffix(word(config, 'feature_output_hook', file))}"
    elif training:
        reads, writes = f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"
        inferred.append(
            f"{CONFIG} names no hooks: they are the MLP's input and output, as in all sets trained like this one"
        )
    else:
        raise BadRequest(
            f"{place.path}: there is no {CONFIG} beside it to say where it reads and writes; name both: "
            f"{place.location}"
            f"?hook_point=blocks.{layer}.mlp.hook_in&hook_point_out=blocks.{layer}.hook_mlp_out"
        )
    if model is None and (size := re.search(r"qwen3-(\d+(?:\.\d+)?)b", place.words, re.IGNORECASE)):
        model = f"Qwen/Qwen3-{size[1]}B"
        inferred.append(f"the model is concluded from the path: {model}")
    return {
        "hook_point": reads,
        "hook_point_out": writes,
        "model_name": model,
        "context_size": _value(training, "batch_size"),
        "inferred": tuple(inferred),
        "config": config,
        "d": _value(training, "d_model"),
        "n": _value(training, "d_feature"),
        "said_by": training_file.name if training_file else "",
    }


def _suffix(hook: str) -> str:
    # TransformerLens's hook_mlp_in is the stream before the norm; our names say which of the two places of that name is
    # meant.
    return "hook_resid_mid" if hook == "hook_mlp_in" else hook


def _value(training: dict[str, Any], name: str) -> int | None:
    value = training.get(name)
    value = value.get("value") if isinstance(value, dict) else value
    return value if isinstance(value, int) else None
