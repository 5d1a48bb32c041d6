"""Gemma Scope 1 (google/gemma-scope-{2b,9b,27b}-{pt,it}-{res,mlp,att}, …-transcoders): params.npz, JumpReLU.

Nothing but tensors is in the file; site and layer are in the path: layer_N/width_W/average_l0_L/params.npz.
"""

from __future__ import annotations

import re

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import Place
from ingest.weights.tensors import Tensors

FORMAT = "Gemma Scope"
FILES = ("params.npz",)
SITES = {
    "res": ("hook_resid_post", None),
    "mlp": ("hook_mlp_out", None),
    "att": ("attn.hook_z", None),
    # What the MLP reads, without the gain of the norm before it.
    "transcoders": ("ln2.hook_normalized", "hook_mlp_out"),
}


def recognises(place: Place) -> bool:
    """Whether there is a params.npz, or the place is an .npz with a threshold."""
    if place.path.is_dir():
        return place.file("params.npz") is not None
    return place.path.suffix == ".npz"


def read(place: Place) -> Sae:
    """The dictionary. Raises BadRequest when the path does not say where it reads, and the user neither."""
    file = place.file("params.npz", "*.npz")
    assert file is not None
    tensors = place.tensors(file)
    release = re.search(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att|transcoders)", place.words)
    embedding = "embedding" in place.words
    reads, writes = _hooks(place, release[3] if release else None, embedding)
    W_enc = tensors.take(tensors.first("W_enc", "w_enc"), "d n")
    W_dec = tensors.take(tensors.first("W_dec", "w_dec"), "n o")
    _check_scaling(tensors)
    if embedding:
        # Trained on embeddings before the model multiplies them by sqrt(d_model).
        W_enc, W_dec = W_enc / len(W_enc) ** 0.5, W_dec * len(W_enc) ** 0.5
    promise = re.findall(r"average_l0_(\d+)", place.words)
    return Sae(
        W_enc=W_enc,
        b_enc=tensors.take("b_enc", "n"),
        W_dec=W_dec,
        b_dec=tensors.take("b_dec", "o"),
        threshold=tensors.take("threshold", "n"),
        activation="jumprelu",
        architecture="jumprelu_transcoder" if writes else "jumprelu",
        hook_point=reads,
        hook_point_out=writes,
        model_name=f"google/gemma-2-{release[1]}{'-it' if release[2] == 'it' else ''}" if release else None,
        context_size=1024,
        inferred=("hooks and model are concluded from the path",),
        promised_l0=(float(promise[-1]), float(promise[-1])) if promise else None,
        promised_by=f"the path: average_l0_{promise[-1]}" if promise else "",
        **place.common(FORMAT, file),
    )


def _hooks(place: Place, site: str | None, embedding: bool) -> tuple[str, str | None]:
    if "hook_point" in place.options:
        return place.options["hook_point"], place.options.get("hook_point_out")
    if embedding:
        return "hook_embed", None
    layer = re.findall(r"layer_(\d+)", place.words)
    if site is None or not layer:
        raise BadRequest(
            f"{place.path}: its path names no "
            f"{'layer_N' if site else 'gemma-scope-...-res, -mlp, -att or -transcoders'}, and "
            "the file itself does not say where it reads; name it: "
            f"{place.location}?hook_point=blocks.N.hook_resid_post"
        )
    reads, writes = SITES[site]
    return f"blocks.{layer[-1]}.{reads}", f"blocks.{layer[-1]}.{writes}" if writes else None


def _check_scaling(tensors: Tensors) -> None:
    if "scaling_factor" in tensors and not bool((tensors.take("scaling_factor", "n") == 1).all()):
        raise BadRequest(
            f"{tensors.file}: scaling_factor is not 1 everywhere, which is not known here; fold it into W_dec"
        )
