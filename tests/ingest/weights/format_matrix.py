"""Writers of the formats but SAELens's, by architecture and setting, as the tables of docs/weights.md name them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy
import torch
import yaml

from tests.ingest.weights.readers.test_circuit_tracer import CONFIG, cross_layer, layer_file
from tests.ingest.weights.readers.test_dictionary_learning import CLASSES, written
from tests.ingest.weights.readers.test_gemma_scope import RES, TRANSCODER, second
from tests.ingest.weights.readers.test_openmoss import HOOK, NORM_IN, current
from tests.ingest.weights.readers.test_single_files import openai, sparsify
from tests.support.published_weights import made, tensors

SAE_TYPES = ("sae", "clt", "lorsa", "molt")


def _write_openmoss(root: Path, activation: str, setting: str) -> str:
    """OpenMOSS: `setting` is norm_activation, use_glu_encoder or sae_type."""
    w = made()
    more = {"activation_function.log_jumprelu_threshold": numpy.log(w["threshold"])}
    more[f"dataset_average_activation_norm.{HOOK}"] = numpy.array(NORM_IN, numpy.float32)
    more = {name: value for name, value in more.items() if "threshold" not in name or activation == "jumprelu"}
    key = "sae_type" if setting in SAE_TYPES else "norm_activation"
    config = {"use_glu_encoder": True} if setting == "use_glu_encoder" else {key: setting}
    return str(current(root, w, more=more, act_fn=activation, **config))


def _write_dictionary_learning(root: Path, name: str, setting: str) -> str:
    found = dict(CLASSES.get(name, CLASSES["AutoEncoder"])[0])
    if setting == "backup":
        trainer = {"dict_class": name, "layer": 3, "submodule_name": None, "k": 3}
        backup = {"step": 1, "optimizer": {}, "norm_factor": 2.5, "ae": tensors(**found), "config": trainer}
        (root / "config.json").write_text(json.dumps({"trainer": trainer}))
        torch.save(backup, root / "ae.pt")
        return str(root)
    if setting == "threshold -1":
        found["threshold"] = numpy.array(-1, numpy.float32)
        return str(written(root, name, found))
    if setting == "io: in":
        folder = written(root, name, found, submodule_name="model.layers.3.mlp")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"buffer": {"io": "in"}}))
        return str(folder)
    return str(written(root, name, found))


def _write_sparsify(root: Path, activation: str, setting: str) -> str:
    w = made()
    more = {"W_skip": w["affine"].T} if setting == "skip_connection" else {}
    config = {"skip_connection": {"transcode": True, "skip_connection": True}, "sae": {}}
    return str(sparsify(root, w, "layers.5.mlp", more, activation=activation, **config.get(setting, {setting: True})))


def _write_circuit_tracer(root: Path, activation: str, setting: str) -> str:
    w = made()
    if setting == "cross-layer":
        cross_layer(root, threshold=activation == "jumprelu")
        if activation == "topk":
            config = yaml.safe_load((root / "config.yaml").read_text())
            (root / "config.yaml").write_text(yaml.safe_dump(config | {"activation": "topk", "k": 3}))
        return str(root / "W_enc_1.safetensors")
    more = {"jumprelu": {"activation_function.threshold": w["threshold"]}, "topk": {"k": numpy.array(3)}}
    skip = {"W_skip": w["affine"].T} if setting == "W_skip" else {}
    stray = {"threshold": more["jumprelu"], "k": more["topk"]}.get(setting, {})
    config = CONFIG | {"activation": activation} if stray else CONFIG
    return str(layer_file(root, w, config=config, **(more.get(activation, {}) | skip | stray)))


def _write_gemma_scope_2(root: Path, architecture: str, setting: str) -> str:
    path = RES if setting == "sae" else TRANSCODER
    return str(second(root, path, affine=setting == "affine skip", architecture=architecture))


def _write_openai(root: Path, activation: str, setting: str) -> str:
    state = {"activation": activation, "activation_state_dict": {"k": 3, "postact_fn": "ReLU"}}
    state = state if activation == "TopK" else {"activation": activation}
    return str(openai(root, made(), tied=setting == "tied", **state))


WRITERS: dict[str, Callable[[Path, str, str], str]] = {
    "OpenMOSS": _write_openmoss,
    "dictionary_learning": _write_dictionary_learning,
    "sparsify": _write_sparsify,
    "circuit-tracer": _write_circuit_tracer,
    "Gemma Scope 2": _write_gemma_scope_2,
    "OpenAI": _write_openai,
}
