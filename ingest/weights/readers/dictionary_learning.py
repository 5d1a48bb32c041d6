"""saprmarks/dictionary_learning: ae.pt (or checkpoints/ae_STEP.pt) and config.json, six classes, and backups amid
training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.keys import check_keys, refuse_key, words
from ingest.weights.place import Place
from ingest.weights.tensors import Tensors

FORMAT = "dictionary_learning"
FILES = ("ae.pt", "config.json")
SITES = {
    "resid_post": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "resid": "hook_resid_post",
    "mlp_out": "hook_mlp_out",
    "mlp": "hook_mlp_out",
    "attn_out": "hook_attn_out",
    "attention_out": "hook_attn_out",
    "attn": "hook_attn_out",
}


TAKEN = words("""
    dict_class activation_dim dict_size submodule_name layer lm_name k group_sizes norm_factor apply_b_dec_to_input
    """)
HARMLESS = words("""
    trainer_class threshold_beta threshold_start_step top_k_aux k_anneal_steps anneal_start anneal_end group_fractions
    group_weights remove_low_rank_bias p_start p_end
    """)
# Of the buffer that gave activations. BOS is never counted, whether training removed it or not.
BUFFER = words("""
    ctx_len add_special_tokens io d_submodule n_ctxs refresh_batch_size out_batch_size remove_bos
    max_activation_norm_multiple
    """)


def recognises(place: Place) -> bool:
    """Whether there is an ae.pt, or the place is a .pt with the tensor names of one of the classes."""
    if place.file("ae.pt", "ae_*.pt"):
        return True
    if place.path.is_dir() or place.path.suffix not in (".pt", ".pth"):
        return False
    names = place.names()
    return bool(names) and ("ae" in names or _class(names, None) is not None)


def read(place: Place) -> Sae:
    """The dictionary as the library's own classes compute it; a backup's biases are scaled as the library does at the
    end."""
    file = place.file("ae.pt", "ae_*.pt") or place.path
    config = _config(place, file)
    trainer = config.get("trainer") or {}
    buffer = config.get("buffer") or {}
    tensors = place.tensors(file, "config.json", d=trainer.get("activation_dim"), n=trainer.get("dict_size"))
    factor = 1.0
    if "ae" in tensors and "optimizer" in tensors:
        trainer = tensors.value("config") or trainer
        factor = float(tensors.value("norm_factor") or 1)
        tensors.descend("ae")
    for part, keys in ((config, {"trainer", "buffer"}), (trainer, TAKEN), (buffer, BUFFER)):
        check_keys(place, file.with_name("config.json"), part, keys, HARMLESS)
    name = _class(tensors.names, trainer.get("dict_class"))
    if name is None:
        raise BadRequest(
            f"{file}: dict_class {trainer.get('dict_class')!r} with tensors {', '.join(sorted(tensors.names)[:9])} "
            "cannot be "
            f"read; known: {', '.join(CLASSES)}"
        )
    inferred = [] if trainer else ["there is no config.json: the class is concluded from the tensors' names"]
    hook_point = _side(place, buffer, _hook(place, trainer, inferred, file), file)
    read_class = CLASSES[name]
    fields = read_class(place, tensors, inferred)
    if trainer.get("apply_b_dec_to_input"):
        fields["subtract_b_dec"] = True
    if not buffer.get("add_special_tokens", True):
        fields["prepend_bos"] = False
    # Between the library's scaled activations and the model's: as its scale_biases, for any class.
    for field in ("b_enc", "b_dec", "b_mag", "threshold"):
        if factor != 1 and fields.get(field) is not None:
            fields[field] = fields[field] * factor
    k = fields.get("k") or trainer.get("k")
    promised = (
        float(k)
        if isinstance(k, int) and name in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")
        else None
    )
    return Sae(
        **fields,
        architecture=name,
        hook_point=hook_point,
        model_name=trainer.get("lm_name"),
        context_size=buffer.get("ctx_len"),
        inferred=tuple(inferred),
        promised_l0=(promised, promised) if promised else None,
        promised_by=f"k {k}" if promised else "",
        **place.common(FORMAT, file),
    )


def _config(place: Place, file: Path) -> dict[str, Any]:
    for folder in (file.parent, file.parent.parent):
        if (folder / "config.json").is_file():
            return place.config(folder / "config.json")
    return {}


def _class(names: frozenset[str], class_name: str | None) -> str | None:
    """The class by what the config says, else by the tensors it alone has."""
    if class_name in CLASSES:
        return class_name
    if class_name:
        return None
    if "decoder_bias" in names:
        return "GatedAutoEncoder"
    if "group_sizes" in names:
        return "MatryoshkaBatchTopKSAE"
    if {"W_enc", "W_dec", "threshold"} <= names:
        return "JumpReluAutoEncoder"
    if {"encoder.weight", "b_dec", "k"} <= names:
        return "BatchTopKSAE" if "threshold" in names else "AutoEncoderTopK"
    if {"encoder.weight", "decoder.weight", "bias"} <= names:
        return "AutoEncoder"
    return "AutoEncoderNew" if {"encoder.weight", "decoder.weight", "decoder.bias"} <= names else None


def _hook(place: Place, trainer: dict[str, Any], inferred: list[str], file: Path) -> str:
    layer = trainer.get("layer")
    if "hook_point" in place.options:
        return str(place.options["hook_point"])
    module = trainer.get("submodule_name")
    if module and (match := re.fullmatch(r"(\w+?)(?:_layer)?_?(\d+)?", module)) and match[1] in SITES:
        layer = int(match[2]) if match[2] else layer
        if isinstance(layer, int):
            return f"blocks.{layer}.{SITES[match[1]]}"
    if module and re.search(r"\.\d+(\.|$)", module):
        return module if module.endswith((".input", ".output")) else f"{module}.output"
    if module is None and isinstance(layer, int):
        inferred.append(f"no submodule_name: it is taken to read the residual stream after layer {layer}, as is usual")
        return f"blocks.{layer}.hook_resid_post"
    raise BadRequest(
        f"{file}: submodule_name is {module!r} and layer {layer!r}, so nobody knows what the dictionary reads; "
        f"name it: {place.location}?hook_point=blocks.N.hook_resid_post"
    )


def _side(place: Place, buffer: dict[str, Any], hook: str, file: Path) -> str:
    """Returns the hook on the side of the module that the buffer kept. Raises BadRequest where that is not known."""
    if buffer.get("io", "out") == "out" or "hook_point" in place.options:
        return hook
    if buffer["io"] == "in" and hook.endswith(".output"):
        return hook.removesuffix("output") + "input"
    reason = "it was trained on another side of the module than its output; name what it reads: ?hook_point=PLACE"
    raise refuse_key(place, file.with_name("config.json"), "io", buffer["io"], reason)


def _linear(tensors: Tensors) -> dict[str, Any]:
    return {"W_enc": tensors.take("encoder.weight", "n d").T, "W_dec": tensors.take("decoder.weight", "d n").T}


def _autoencoder(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    fields = _linear(tensors)
    b_enc = tensors.take("encoder.bias", "n")
    norms = torch.linalg.vector_norm(fields["W_dec"], dim=1, dtype=torch.float32)
    if not torch.allclose(norms, torch.ones_like(norms)):
        inferred.append(
            "decoder rows were not of norm 1: encoder and activations are scaled by it, as the library does"
        )
        # The library makes encoders of rows that are zero zero as well: such features never fire.
        rows = norms.where(norms > 0, 1.0)
        fields = {"W_enc": fields["W_enc"].float() * norms, "W_dec": fields["W_dec"].float() / rows[:, None]}
        b_enc = b_enc * norms
    b_dec = tensors.take("bias", "d")
    return fields | {"b_enc": b_enc, "b_dec": b_dec, "activation": "relu", "subtract_b_dec": True}


def _new(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    biases = {"b_enc": tensors.take("encoder.bias", "n"), "b_dec": tensors.take("decoder.bias", "d")}
    return _linear(tensors) | biases | {"activation": "relu"}


def _read_gated(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    return _linear(tensors) | {
        "b_enc": tensors.take("gate_bias", "n"),
        "b_mag": tensors.take("mag_bias", "n"),
        "r_mag": tensors.take("r_mag", "n"),
        "b_dec": tensors.take("decoder_bias", "d"),
        "activation": "gated",
        "subtract_b_dec": True,
    }


def _jumprelu(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    return _plain(tensors) | {"threshold": tensors.take("threshold", "n"), "activation": "jumprelu"}


def _plain(tensors: Tensors) -> dict[str, Any]:
    shapes = {"W_enc": "d n", "W_dec": "n d", "b_enc": "n", "b_dec": "d"}
    return {name: tensors.take(name, shape) for name, shape in shapes.items()}


def _topk(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    biases = {"b_enc": tensors.take("encoder.bias", "n"), "b_dec": tensors.take("b_dec", "d")}
    tensors.let_be("threshold")  # of another way to encode
    return _linear(tensors) | biases | _k_largest(place, tensors)


def _batch_topk(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    biases = {"b_enc": tensors.take("encoder.bias", "n"), "b_dec": tensors.take("b_dec", "d")}
    return _linear(tensors) | biases | _one_threshold(place, tensors)


def _matryoshka(place: Place, tensors: Tensors, inferred: list[str]) -> dict[str, Any]:
    groups = tuple(int(size) for size in tensors.value("group_sizes"))
    fields = _plain(tensors) | _one_threshold(place, tensors) | {"groups": groups}
    if sum(groups) != tensors.size("n"):
        raise BadRequest(
            f"{tensors.file}: group_sizes add up to {sum(groups)}, but there are {tensors.size('n')} features"
        )
    return fields


def _k_largest(place: Place, tensors: Tensors) -> dict[str, Any]:
    tensors.let_be("k", "threshold")
    k = place.option("k") or int(tensors.number("k"))
    if not 1 <= k <= tensors.size("n"):
        raise BadRequest(f"{tensors.file}: k is {k}, but there are {tensors.size('n')} features")
    return {"activation": "topk", "k": k, "subtract_b_dec": True}


def _one_threshold(place: Place, tensors: Tensors) -> dict[str, Any]:
    if "k" in place.options:
        return _k_largest(place, tensors)
    tensors.let_be("k")  # of training, among the tokens of a batch
    threshold = tensors.take("threshold", "")
    if threshold < 0:
        raise BadRequest(
            f"{tensors.file}: threshold is {float(threshold):g}: training had not set it yet, and without it there "
            "is only the "
            f"top of a batch; {place.location}?k={int(tensors.number('k'))} reads it with the k largest of each token"
        )
    return {"activation": "jumprelu", "threshold": threshold, "subtract_b_dec": True}


CLASSES = {
    "AutoEncoder": _autoencoder,
    "AutoEncoderNew": _new,
    "GatedAutoEncoder": _read_gated,
    "JumpReluAutoEncoder": _jumprelu,
    "AutoEncoderTopK": _topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
}
