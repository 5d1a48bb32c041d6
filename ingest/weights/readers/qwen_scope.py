"""Qwen-Scope (Qwen/SAE-Res-MODEL-W32K-L0_50): layerN.sae.pt, TopK on the residual stream after layer N."""

from __future__ import annotations

import re

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import Place

FORMAT = "Qwen-Scope"
FILES = ("layer0.sae.pt",)
FILE = re.compile(r"layer(\d+)\.sae\.pt")


def recognises(place: Place) -> bool:
    """Whether the place is a file of that name."""
    return bool(FILE.fullmatch(place.path.name))


def read(place: Place) -> Sae:
    """The dictionary. k is in the repository's name, or the user says it."""
    match = FILE.fullmatch(place.path.name)
    assert match is not None
    release = re.search(r"SAE-Res-(.+?)-W(\d+)K-L0_(\d+)", place.words)
    k = place.option("k", int(release[3]) if release else None)
    if k is None:
        raise BadRequest(
            f"{place.path}: its path has no SAE-Res-MODEL-W..K-L0_k that says k; give it: {place.location}?k=50"
        )
    tensors = place.tensors(place.path, "the path" if release else "", n=int(release[2]) * 1024 if release else None)
    sae = Sae(
        W_enc=tensors.take("W_enc", "n d").T,
        b_enc=tensors.take("b_enc", "n"),
        W_dec=tensors.take("W_dec", "d n").T,
        b_dec=tensors.take("b_dec", "d"),
        activation="topk",
        architecture="topk",
        k=k,
        hook_point=place.option("hook_point", f"blocks.{match[1]}.hook_resid_post"),
        model_name=f"Qwen/{release[1]}" if release else None,
        promised_l0=(float(k), float(k)),
        promised_by=f"the path: L0_{release[3]}" if release else "k, as given",
        inferred=("k and model are concluded from the path",) if release else (),
        **place.common(FORMAT, place.path),
    )
    if not 1 <= k <= sae.d_sae:
        raise BadRequest(f"{place.path}: k is {k}, but there are {sae.d_sae} features")
    return sae
