"""A dictionary as an object of the package sae_lens, made from its weights and compared with them. Knows no files."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

import torch

from featurestore import Unavailable

NORMS = {"none": "none", "scale": "none", "l2": "constant_norm_rescale", "layer_norm": "layer_norm"}
ARCHITECTURES = {"relu": "standard", "jumprelu": "jumprelu", "topk": "topk", "abstopk": "abstopk", "gated": "gated"}
CHECKED = 8  # inputs on which both are compared


def make_object(sae: Any) -> Any:
    """Return an `Sae` as an SAE of sae_lens, in float32, with equal activations and outputs.

    Scales and decoder norms are folded into the weights. Raises Unavailable where sae_lens is not installed, or has no
    form for this dictionary.
    """
    try:
        sae_lens = importlib.import_module("sae_lens")
    except ImportError as exc:
        raise Unavailable(f"{exc.name} is not installed: pip install sae-lens") from None
    config, state = describe(sae)
    try:
        theirs = sae_lens.SAE.from_dict(config)
        theirs.load_state_dict(state)
    except (KeyError, ValueError, TypeError, RuntimeError) as exc:
        raise Unavailable(f"this version of sae_lens does not take {sae.location}: {exc}"[:400]) from None
    theirs.eval()
    _compare(sae, theirs)
    return theirs


def describe(sae: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the config and the tensors of a dictionary as sae_lens names them.

    Raises Unavailable for a dictionary that it has no form for.
    """
    architecture = ARCHITECTURES.get(sae.activation)
    if architecture is None or sae.targets or (sae.signed and sae.activation != "abstopk"):
        kind = "a cross-layer transcoder" if sae.targets else f"{sae.activation}{' with signs' if sae.signed else ''}"
        raise Unavailable(f"sae_lens has no form for {sae.location}: {kind}")
    if sae.rank_norms is not None and sae.activation != "jumprelu":
        raise Unavailable(f"sae_lens has no form for {sae.location}: its features are ranked by other norms")
    is_transcoder = sae.hook_point_out is not None
    if is_transcoder:
        skip, prefix = "skip_" if sae.W_skip is not None else "", "" if sae.activation == "relu" else f"{architecture}_"
        architecture = f"{prefix}{skip}transcoder"
    state, subtracts = _fold(sae)
    metadata = {
        "model_name": sae.model_name,
        "hook_name": sae.hook_point,
        "hook_name_out": sae.hook_point_out,
        "context_size": sae.context_size,
        "prepend_bos": sae.prepend_bos,
        "neuronpedia_id": sae.neuronpedia_id,
    }
    config = {
        "architecture": architecture,
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": subtracts,
        "normalize_activations": NORMS[sae.norm],
        "metadata": {name: value for name, value in metadata.items() if value is not None},
    }
    return config | ({"d_out": sae.d_out} if is_transcoder else {}) | ({"k": sae.k} if sae.k else {}), state


def _fold(sae: Any) -> tuple[dict[str, torch.Tensor], bool]:
    """Return the tensors with scales and decoder norms folded in, and whether b_dec is still subtracted from inputs."""
    W_enc, W_dec, b_dec, b_enc = (getattr(sae, name).float().clone() for name in ("W_enc", "W_dec", "b_dec", "b_enc"))
    gated, subtracts = sae.activation == "gated", sae.subtract_b_dec
    gate: Any = (sae.r_mag.float().clone(), sae.b_mag.float().clone()) if gated else (None, None)
    r_mag, b_mag = gate
    if sae.norm == "scale":
        if subtracts:
            before = b_dec @ W_enc
            b_enc -= before
            if gated:
                b_mag -= before * r_mag.exp()
            subtracts = False
        W_enc *= sae.scale
        out = sae.scale if sae.scale_out is None else sae.scale_out
        W_dec, b_dec = W_dec / out, b_dec / out
    if sae.rescale_by_decoder_norm:
        norms = sae._rescaling
        W_dec /= norms[:, None]
        if gated:
            r_mag, b_mag = r_mag + norms.log(), b_mag * norms
        else:
            W_enc, b_enc = W_enc * norms, b_enc * norms
    state = {"W_enc": W_enc, "W_dec": W_dec, "b_dec": b_dec, "b_gate" if gated else "b_enc": b_enc}
    if gated:
        state |= {"r_mag": r_mag, "b_mag": b_mag}
    if sae.activation == "jumprelu":
        state["threshold"] = sae._bar.float().expand(sae.d_sae).clone()
    if sae.W_skip is not None:
        state["W_skip"] = sae.W_skip.float().clone()
    return state, subtracts


def _compare(sae: Any, theirs: Any) -> None:
    """Raises Unavailable where the object computes something else than the dictionary."""
    x = torch.randn(CHECKED, sae.d_in, generator=torch.Generator().manual_seed(0)) * 3
    with torch.no_grad():
        activations, other = sae.encode(x.clone()), theirs.encode(x.clone())
        same = torch.allclose(activations, other, rtol=1e-3, atol=1e-3 * max(1.0, float(activations.abs().max())))
        out, theirs_out = sae.decode(activations, x.clone()), theirs(x.clone())
        same = same and torch.allclose(out, theirs_out, rtol=1e-3, atol=1e-3 * max(1.0, float(out.abs().max())))
    if not same:
        fields = {field.name: getattr(sae, field.name) for field in dataclasses.fields(sae)}
        settings = ", ".join(f"{name} {value}" for name, value in fields.items() if name in ("activation", "norm"))
        raise Unavailable(f"sae_lens computes something else from {sae.location} ({settings}): use encode and decode")
