"""Dictionaries of no published format, read by a map that the user writes: which tensor is which part.

A map wins over the readers of published formats. What it does not say is not guessed: a matrix that lies the other way
round, a tensor that it does not name and an activation that lacks its numbers are errors.
"""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.options import apply_options
from ingest.weights.place import Place, with_options
from ingest.weights.tensor_map import TensorMap, TensorPath, find_map
from ingest.weights.tensors import SUFFIXES, Tensors

FORMAT = "mapped"
FILES = ("map.toml",)
SHAPES = {
    "W_enc": "d n",
    "W_dec": "n o",
    "b_enc": "n",
    "b_dec": "o",
    "b_pre": "d",
    "threshold": "n",
    "log_threshold": "n",
    "r_mag": "n",
    "b_mag": "n",
    "W_skip": "o d",
}
ORDER = ("b_enc", "b_pre", "b_dec", "threshold", "log_threshold", "r_mag", "b_mag", "W_enc", "W_dec", "W_skip")
NEEDS = {
    "jumprelu": ("threshold", "log_threshold"),
    "topk": ("k",),
    "abstopk": ("k",),
    "groupmax": ("k",),
    "batchtopk": ("threshold", "log_threshold", "k"),
    "gated": ("r_mag",),
}


def recognises(place: Place) -> bool:
    """Whether there is a map for the place."""
    return find_map(place) is not None


def read(place: Place) -> Sae:
    """The dictionary, as its map says."""
    map = find_map(place)
    assert map is not None
    if "k" in place.options:
        map = dataclasses.replace(map, settings={**map.settings, "k": place.options["k"]})
    file = _find_file(place, map)
    transcodes = "hook_point_out" in {*map.settings, *place.options}
    tensors = place.tensors(file, flat=True)
    tensors.let_be(*(re.escape(name) for name in map.settings.get("ignore", ())))
    parts = _take_parts(tensors, map, transcodes)
    tensors.leave_siblings([path.name for path in map.parts.values()])
    W_enc, W_dec = parts.get("W_enc"), parts.get("W_dec")
    inferred = [f"which tensor is what is written in {map.source}"]
    if W_enc is None or W_dec is None:
        inferred.append("encoder and decoder share one matrix")
        W_enc, W_dec = (W_dec.T if W_enc is None else W_enc), (W_enc.T if W_dec is None else W_dec)  # type: ignore[union-attr]
    d, n = W_enc.shape
    if W_dec.shape[0] != n or (W_dec.shape[1] != d and not transcodes):
        raise BadRequest(
            f"{file}: W_enc is {tuple(W_enc.shape)} and W_dec {tuple(W_dec.shape)} by {map.source}; (d_in, features) "
            "and (features, d_out) are wanted: write .T after the name of a matrix that lies the other way round, or "
            "name hook_point_out if it writes to another place than it reads"
        )
    for name, size in (("b_enc", n), ("b_dec", W_dec.shape[1])):
        if name not in parts:
            inferred.append(f"there is no {name}: it is 0")
            parts[name] = torch.zeros(size)
    fields = _choose_activation(tensors, parts, map, file)
    fields |= _fold_pre(parts, W_enc, map)
    settings = {name: value for name, value in map.settings.items() if name not in _TAKEN}
    if not (hook := place.option("hook_point", settings.get("hook_point"))):
        raise BadRequest(
            f"{file}: {map.source} does not say what the dictionary reads: write hook_point in it, or behind the "
            f"location, as in {with_options(place.location, hook_point='blocks.8.hook_resid_post')}"
        )
    settings["hook_point"] = hook
    files = [file] if map.file is None else [file, map.file]
    sae = Sae(
        W_enc=W_enc,
        W_dec=W_dec,
        b_enc=parts["b_enc"],
        b_dec=parts["b_dec"],
        W_skip=parts.get("W_skip"),
        inferred=tuple(inferred),
        hook_point=hook,
        **fields,
        **place.common(FORMAT, *files),
    )
    return apply_options(sae, {name: value for name, value in settings.items() if name not in place.options})


_TAKEN = ("activation", "k", "file", "threshold", "ignore")


def _find_file(place: Place, map: TensorMap) -> Path:
    """The file of tensors: the place itself, the one that the map names, or the only one of a directory."""
    if place.path.is_file():
        return place.path
    if (name := map.settings.get("file")) is not None:
        if os.path.basename(name) != name or not (place.path / name).is_file():
            raise BadRequest(f"{map.source}: file is '{name}'; there is no such file in {place.path}")
        return Path(place.path / str(name))
    files = sorted(file for file in place.path.iterdir() if file.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    names = ", ".join(file.name for file in files[:6])
    raise BadRequest(
        f"{place.path} has {'several files' if files else 'no file'} of tensors{f': {names}' if files else ''}; "
        f"say which: file in the map"
    )


def _take_parts(tensors: Tensors, map: TensorMap, transcodes: bool) -> dict[str, torch.Tensor]:
    """The tensors by part; vectors first, so that their lengths say how matrices must lie."""
    shapes = {part: shape if transcodes else shape.replace("o", "d") for part, shape in SHAPES.items()}
    parts = {}
    for part in ORDER:
        if part not in map.parts:
            continue
        path = map.parts[part]
        if str(path) in tensors:  # a name that ends in .T or [3] itself
            path = TensorPath(str(path))
        shape = shapes[part]
        if part in ("threshold", "log_threshold") and tensors.rank(path.name) - (path.at is not None) == 0:
            shape = ""
        letters = " ".join(reversed(shape.split())) if path.transposed else shape
        if path.at is not None:
            letters = f"sites {letters}".strip()
        try:
            tensor = _take(tensors, path, letters)
        except BadRequest as exc:
            turn = TensorPath(path.name, path.at, not path.transposed)
            hint = f"; if it lies the other way round, write {part}:{turn}" if len(shape.split()) == 2 else ""
            raise BadRequest(f"{exc} ({map.source} says it is {part}{hint})") from None
        parts[part] = tensor.T if path.transposed and tensor.ndim == 2 else tensor
    return parts


def _take(tensors: Tensors, path: TensorPath, letters: str) -> torch.Tensor:
    if path.at is not None and not 0 <= path.at < tensors.length(path.name):
        raise BadRequest(f"{tensors.file}: {path.name} has {tensors.length(path.name)} parts; there is no {path}")
    return tensors.take(path.name, letters, path.at)


def _choose_activation(tensors: Tensors, parts: dict[str, torch.Tensor], map: TensorMap, file: Path) -> dict[str, Any]:
    """The fields of the activation. Raises BadRequest where its numbers are missing, or others are there."""
    given = {name for name in ("threshold", "log_threshold", "k", "r_mag") if name in {*map.parts, *map.settings}}
    activation = map.settings.get("activation") or (
        "gated" if "r_mag" in given else "jumprelu" if given - {"k"} else "topk" if "k" in given else "relu"
    )
    needs = NEEDS.get(activation, ())
    if needs and not given & set(needs):
        raise BadRequest(f"{file}: {map.source} says {activation}, which needs {' or '.join(needs)}")
    if unused := given - set(needs) - ({"k"} if activation == "jumprelu" else set()):
        raise BadRequest(
            f"{file}: {map.source} says {activation} and gives {', '.join(sorted(unused))}, which {activation} has no "
            "use for; name the activation that it was trained with, or leave that out"
        )
    fields: dict[str, Any] = {"architecture": activation if activation != "relu" else "standard"}
    if "k" in given:
        k = map.settings["k"]
        if isinstance(k, str):
            named = tensors.number(k)
            if not named.is_integer() or named < 1:
                raise BadRequest(f"{file}: {k} is {named:g}; k is a whole number of features, as 32 is")
            k = int(named)
        if not 1 <= k <= len(parts["b_enc"]):
            raise BadRequest(f"{file}: k is {k}, of {len(parts['b_enc'])} features; {map.source} says so")
        if activation == "groupmax" and len(parts["b_enc"]) % k:
            raise BadRequest(f"{file}: groupmax of k {k} needs {len(parts['b_enc'])} features in k equal groups")
        fields |= {"promised_l0": (float(k), float(k)), "promised_by": f"its map: k {k}"}
        if activation in ("topk", "abstopk", "groupmax") or (activation == "batchtopk" and given == {"k"}):
            fields["k"] = k
    if "threshold" in map.settings:
        fields["threshold"] = torch.tensor(map.settings["threshold"])
    elif "threshold" in parts or "log_threshold" in parts:
        fields["threshold"] = parts["threshold"] if "threshold" in parts else parts["log_threshold"].exp()
    if activation == "gated":
        fields |= {"r_mag": parts["r_mag"], "b_mag": parts.get("b_mag", parts["b_enc"])}
    elif activation == "batchtopk":
        activation = "jumprelu" if "threshold" in fields else "topk"
    return fields | {"activation": activation}


def _fold_pre(parts: dict[str, torch.Tensor], W_enc: torch.Tensor, map: TensorMap) -> dict[str, Any]:
    """What is subtracted from the input: the output's bias itself, or else another vector, which the bias of features
    takes up."""
    if "b_pre" not in parts:
        return {}
    if map.parts["b_pre"] == map.parts.get("b_dec"):
        return {"subtract_b_dec": True}
    parts["b_enc"] = parts["b_enc"] - parts["b_pre"] @ W_enc.float()
    return {}
