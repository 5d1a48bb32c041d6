"""OpenAI's sparse_autoencoder for GPT-2 small: LOCATION[_v4|_v5_32k|_v5_128k]/autoencoders/LAYER.pt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import Place

FORMAT = "OpenAI sparse_autoencoder"
FILES = ("0.pt",)
LOCATIONS = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_post_mlp": "hook_resid_post",
}


def recognises(place: Place) -> bool:
    """Whether the place is a .pt with these names."""
    return place.path.suffix == ".pt" and {"pre_bias", "latent_bias", "encoder.weight"} <= place.names()


def read(place: Place) -> Sae:
    """The dictionary. Inputs are normalised where the activation is TopK, as the library decides it."""
    tensors = place.tensors(place.path)
    tensors.let_be("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square")
    activation = tensors.value("activation", "ReLU")
    if activation != "TopK":
        tensors.let_be("activation_state_dict")
    fields: dict[str, Any] = {"activation": "relu", "architecture": "standard"}
    if activation == "TopK":
        state = tensors.value("activation_state_dict", {})
        k, after = int(place.option("k") or state.get("k") or 0), state.get("postact_fn", "ReLU")
        if k < 1 or after not in ("ReLU", "Identity"):
            raise BadRequest(f"{place.path}: activation_state_dict has k {state.get('k')!r} and postact_fn {after!r}")
        fields = {"activation": "topk", "architecture": "topk", "k": k, "signed": after == "Identity"}
        fields |= {"norm": "layer_norm", "promised_l0": (float(k), float(k)), "promised_by": f"its TopK: k {k}"}
    elif activation != "ReLU":
        raise BadRequest(f"{place.path}: activation '{activation}' cannot be read; known: ReLU, TopK")
    W_enc = tensors.take("encoder.weight", "n d").T
    # A decoder that is tied to the encoder is its transpose.
    W_dec = tensors.take("decoder.weight", "d n").T if "decoder.weight" in tensors else W_enc.T
    return Sae(
        W_enc=W_enc,
        b_enc=tensors.take("latent_bias", "n"),
        W_dec=W_dec,
        b_dec=tensors.take("pre_bias", "d"),
        subtract_b_dec=True,
        hook_point=_hook(place),
        model_name="openai-community/gpt2",
        **fields,
        **place.common(FORMAT, place.path),
    )


def _hook(place: Place) -> str:
    if "hook_point" in place.options:
        return str(place.options["hook_point"])
    location = next(
        (
            re.sub(r"_v\d.*", "", part)
            for part in reversed(Path(place.words).parts)
            if part.startswith(tuple(LOCATIONS))
        ),
        "",
    )
    layer = place.path.stem
    if location not in LOCATIONS or not layer.isdigit():
        raise BadRequest(
            f"{place.path}: its path is not LOCATION/autoencoders/LAYER.pt with one of {', '.join(LOCATIONS)}; name "
            "what it reads: "
            f"{place.location}?hook_point=blocks.8.hook_resid_post"
        )
    return f"blocks.{layer}.{LOCATIONS[location]}"
