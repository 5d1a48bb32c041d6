"""Gemma Scope 2 (google/gemma-scope-2-*): params.safetensors, lower-case names, JumpReLU; cross-layer transcoders too.

Sites are notes by config.json (hf_hook_point_in, hf_hook_point_out) or, where that is missing, by the path:
{resid_post,attn_out,mlp_out,transcoder}[_all]/layer_N_width_W_l0_L[_affine]/,
clt/width_W_l0_L[_affine]/params_layer_N.safetensors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, words
from ingest.weights.place import Place
from ingest.weights.tensors import Tensors

FORMAT = "Gemma Scope 2"
FILES = ("params.safetensors", "config.json")
LAYER_FILE = re.compile(r"(?:.*[_-])?layer_?(\d+)\.safetensors")
TAKEN = words("architecture type affine_connection hf_hook_point_in hf_hook_point_out layer model_name l0")
# Mean numbers of active features that the release aims at under these names.
L0_WORDS = {"small": (10.0, 20.0), "medium": (30.0, 60.0), "big": (60.0, 150.0)}
# What Gemma 3's modules are in names that need no model type to be understood.
SITES = {
    "output": "hook_resid_post",
    "self_attn.o_proj.input": "attn.hook_z",
    "post_feedforward_layernorm.output": "hook_mlp_out",
    "pre_feedforward_layernorm.output": "mlp.hook_in",
}
BY_WORD = {
    "resid_post": ("hook_resid_post", None),
    "attn_out": ("attn.hook_z", None),
    "mlp_out": ("hook_mlp_out", None),
    "transcoder": ("mlp.hook_in", "hook_mlp_out"),
    "clt": ("mlp.hook_in", "hook_mlp_out"),
}


def recognises(place: Place) -> bool:
    """Whether there is a params.safetensors with the release's tensor names, or the place is a file with them."""
    file = place.file("params.safetensors", "*.safetensors")
    return file is not None and {"w_enc", "w_dec", "threshold"} <= Tensors(file).names


def read(place: Place) -> Sae:
    """The dictionary; of a cross-layer transcoder's file, the features that read at its layer."""
    file = place.file("params.safetensors", "*.safetensors")
    assert file is not None
    config_file = file.parent / "config.json"
    config = place.config(config_file) if config_file.is_file() else {}
    check_keys(place, config_file, config, TAKEN, {"width", "size", "site", "d_model", "d_sae", "release"})
    inferred = [] if config else ["there is no config.json: hooks and model are concluded from the path"]
    architecture = config.get("architecture", "jump_relu")
    if architecture != "jump_relu":
        raise BadRequest(f"{config_file}: architecture '{architecture}' cannot be read; Gemma Scope 2 has jump_relu")
    words = Path(place.words).parts
    site = next(
        (known for part in reversed(words) for known in (*BY_WORD, "crosscoder") if part.startswith(known)), None
    )
    if site == "crosscoder" or config.get("type") == "crosscoder":
        raise BadRequest(f"{file}: a crosscoder reads several layers at once, which cannot be done yet")
    tensors = place.tensors(file)
    W_enc = tensors.take("w_enc", "d n")
    cross_layer = tensors.rank("w_dec") == 3
    layer = _layer(place, file, config)
    reads, writes = _hooks(place, config, site, layer, file)
    if cross_layer:
        W_dec, targets, notes = _decoders(tensors.take("w_dec", "n slots o"), layer, file)
        inferred += notes
    else:
        W_dec, targets = tensors.take("w_dec", "n o"), None
    if config.get("affine_connection") and "affine_skip_connection" not in tensors:
        raise BadRequest(f"{file} has no tensor affine_skip_connection, but config.json says affine_connection")
    skip = tensors.take("affine_skip_connection", "d o").T if "affine_skip_connection" in tensors else None
    kind = "clt" if cross_layer else "transcoder" if writes else ""
    return Sae(
        W_enc=W_enc,
        b_enc=tensors.take("b_enc", "n"),
        W_dec=W_dec,
        b_dec=tensors.take("b_dec", "o"),
        threshold=tensors.take("threshold", "n"),
        W_skip=skip,
        targets=targets,
        activation="jumprelu",
        architecture="_".join(filter(None, ("jumprelu", "skip" if skip is not None else "", kind))),
        hook_point=reads,
        hook_point_out=writes,
        model_name=_model(config, place.words),
        context_size=1024,
        inferred=tuple(inferred),
        **_promise(config, place.words),
        **place.common(FORMAT, file),
    )


def _layer(place: Place, file: Path, config: dict[str, Any]) -> int:
    if match := LAYER_FILE.fullmatch(file.name):
        return int(match[1])
    for part in reversed(Path(place.words).parts):
        if match := re.search(r"layer_(\d+)", part):
            return int(match[1])
    if match := re.search(r"layers\.(\d+)", str(config.get("hf_hook_point_in"))):
        return int(match[1])
    if "layer" in place.options:
        return int(place.options["layer"])
    raise BadRequest(f"{file}: neither path nor config says the layer; name it: {place.location}?layer=N")


def _hooks(place: Place, config: dict[str, Any], site: str | None, layer: int, file: Path) -> tuple[str, str | None]:
    if "hf_hook_point_in" in config:
        reads = _translate(config["hf_hook_point_in"], layer)
        writes = _translate(config.get("hf_hook_point_out") or "", layer)
        return reads, writes if writes and writes != reads else None
    if "hook_point" in place.options:
        return place.options["hook_point"], place.options.get("hook_point_out")
    if site is None:
        raise BadRequest(
            f"{file}: there is no config.json, and the path does not say where the dictionary reads "
            f"({', '.join(BY_WORD)}); "
            f"name it: {place.location}?hook_point=blocks.{layer}.hook_resid_post"
        )
    reads, out = BY_WORD[site]
    return f"blocks.{layer}.{reads}", f"blocks.{layer}.{out}" if out else None


def _translate(path: Any, layer: int) -> str:
    """A module's path and side, in TransformerLens's words where they mean just the same; of the given layer where the
    config covers all of them."""
    if isinstance(path, list):
        path = path[layer] if layer < len(path) else path[-1]
    path = re.sub(r"layers\.(\{\w*\}|\*|\d+)", f"layers.{layer}", str(path))
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", path)
    return f"blocks.{match[1]}.{SITES[match[2]]}" if match and match[2] in SITES else path


def _decoders(W_dec: torch.Tensor, layer: int, file: Path) -> tuple[torch.Tensor, tuple[int, ...], list[str]]:
    """Decoders (n, T, d_out) into the layers from its own on, of (n, slots, d_out).

    As published there is a slot for every layer of the model, those before the own one unused. Copies that hold only
    the layers from the own one on are notes by their number of slots.
    """
    slots = W_dec.shape[1]
    layers = sum(1 for other in file.parent.glob("*.safetensors") if LAYER_FILE.fullmatch(other.name))
    if slots <= layer or (layer and slots == layers - layer):
        return W_dec, tuple(range(layer, layer + slots)), [f"w_dec has {slots} slots: layers {layer} onwards"]
    unused = float(W_dec[:, :layer].float().abs().max()) if layer else 0.0
    notes = [f"w_dec's slots before layer {layer} are not empty (up to {unused:.3g}); left out"] if unused else []
    return W_dec[:, layer:], tuple(range(layer, slots)), notes


def _model(config: dict[str, Any], words: str) -> str | None:
    name = config.get("model_name")
    if name is None:
        match = re.search(r"gemma-scope-2-(270m|1b|4b|12b|27b)-(pt|it)", words)
        name = f"gemma-3-{match[1]}-{match[2]}" if match else None
    if name is None:
        return None
    name = name.replace("-v3", "-3")  # as some configs have it
    if "270m" in name:
        name = name.replace("-pt", "")  # the hub's name of that one
    return name if "/" in name else f"google/{name}"


def _promise(config: dict[str, Any], words: str) -> dict[str, Any]:
    if isinstance(l0 := config.get("l0"), int | float):
        return {"promised_l0": (float(l0), float(l0)), "promised_by": f"config.json: l0 {l0}"}
    sizes = re.findall(r"l0_(small|medium|big)", words)
    if not sizes:
        return {}
    return {"promised_l0": L0_WORDS[sizes[-1]], "promised_by": f"the path: l0_{sizes[-1]}"}
