"""The options behind a location's question mark, applied to a dictionary in place of what its files say."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from featurestore import BadRequest

if TYPE_CHECKING:
    from ingest.sae import Sae

NOT_FIELDS = ("layer", "ignore", "drop_bad", "map")  # options that are no field of Sae


def apply_options(sae: Sae, options: dict[str, Any]) -> Sae:
    """Returns the dictionary with the user's options in place of the files' values. Raises BadRequest if they do not
    fit."""
    from ingest.sae import NORMS

    fields = {name: value for name, value in options.items() if name not in NOT_FIELDS}
    if (times := fields.pop("threshold_times", None)) is not None:
        if sae.threshold is None:
            raise BadRequest(f"{sae.location}: threshold_times is given, but {sae.architecture} has no thresholds")
        fields["threshold"] = sae.threshold * times
    if fields.pop("transposed", False):
        if not sae.W_enc.shape == sae.W_dec.shape == sae.W_enc.T.shape:
            raise BadRequest(f"{sae.location}: transposed is given, but W_enc is {tuple(sae.W_enc.shape)}, not square")
        fields |= {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec.T}
    if fields.get("norm", sae.norm) not in NORMS or (fields.get("norm") == "scale" and "scale" not in fields):
        raise BadRequest(
            f"{sae.location}: norm is '{fields['norm']}'; it is one of none, l2, layer_norm, or scale=NUMBER is given"
        )
    if "scale" in fields:
        if not fields["scale"] > 0:
            raise BadRequest(f"{sae.location}: scale is {fields['scale']}; a number above 0 is wanted")
        fields |= {"norm": "scale", "scale_out": None}
    if "k" in fields and not (sae.k is not None and 1 <= fields["k"] <= sae.d_sae):
        raise BadRequest(
            f"{sae.location}: k is {fields['k']}; {sae.architecture} of {sae.d_sae} features cannot have it"
        )
    if fields.get("subtract_b_dec") and sae.d_in != sae.d_out:
        raise BadRequest(
            f"{sae.location}: subtract_b_dec is true, but it reads {sae.d_in} numbers and writes {sae.d_out}"
        )
    return dataclasses.replace(sae, **fields) if fields else sae
