"""Features that are masked, zero or broken: named, kept as dead where that is what they mean, and refused where not."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from featurestore import BadRequest
from ingest.sae import Sae
from ingest.weights.place import with_options
from ingest.weights.tensors import all_finite

NEVER = -1e30  # the bias of a feature that never fires
SHOWN = 12


def settle(sae: Sae, drop_bad: bool) -> Sae:
    """Returns the dictionary with numbers that are all finite; `inferred` names its masked features and zero rows.

    A feature whose threshold is infinite, or whose bias is minus infinity, never fires: it is kept, and dead. Other
    infinite numbers and NaN have no clear meaning: with `drop_bad` these features never fire, too, and without it
    BadRequest names them.
    """
    parts = (sae.W_enc, sae.b_enc, sae.W_dec, sae.threshold, sae.b_mag, sae.r_mag)
    notes = [*_name_zero_rows(sae)]
    if all(part is None or all_finite(part) for part in parts):
        return dataclasses.replace(sae, inferred=(*sae.inferred, *notes)) if notes else sae
    broken, masked = _sort(sae)
    if bool((broken & ~masked).any()):
        bad = broken & ~masked
        if not drop_bad:
            raise BadRequest(
                f"{sae.location}: {_names(sae)} holds NaN or infinity in {_list(bad)}; read them as features that "
                f"never fire: {with_options(sae.location, drop_bad=True)}"
            )
        notes.append(f"{_list(bad)} held NaN or infinity: they never fire, as drop_bad says")
    if bool(masked.any()):
        notes.append(f"{_list(masked)} are masked by an infinite threshold or bias: they never fire")
    return dataclasses.replace(_silence(sae, broken | masked), inferred=(*sae.inferred, *notes))


def _sort(sae: Sae) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns which features (n,) have broken numbers, and which are clearly masked; a feature may be both."""
    none = torch.zeros(sae.d_sae, dtype=torch.bool)
    broken = ~torch.isfinite(sae.W_enc).all(0) | ~torch.isfinite(sae.W_dec.flatten(1)).all(1)
    signed = sae.signed and sae.activation != "jumprelu"
    masked = none.clone()
    if sae.activation != "abstopk" and not signed:
        masked |= sae.b_enc == -torch.inf
    if sae.b_mag is not None:
        masked |= sae.b_mag == -torch.inf
    if sae.threshold is not None:
        masked |= sae.threshold.expand(sae.d_sae) == torch.inf
    for part in (sae.b_enc, sae.threshold, sae.b_mag, sae.r_mag):
        if part is not None:
            broken = broken | ~torch.isfinite(part.expand(sae.d_sae))
    return broken, masked


def _silence(sae: Sae, features: torch.Tensor) -> Sae:
    """Returns the dictionary with these features (n,) bool never firing and writing nothing."""
    fields: dict[str, Any] = {
        "W_enc": sae.W_enc.clone(),
        "W_dec": sae.W_dec.clone(),
        "b_enc": sae.b_enc.masked_fill(features, 0.0 if sae.activation == "abstopk" else NEVER),
    }
    fields["W_enc"][:, features] = 0
    fields["W_dec"][features] = 0
    if sae.threshold is not None and sae.threshold.ndim:
        fields["threshold"] = sae.threshold.masked_fill(features, 0.0)
    if sae.b_mag is not None and sae.r_mag is not None:
        fields |= {"b_mag": sae.b_mag.masked_fill(features, 0.0), "r_mag": sae.r_mag.masked_fill(features, 0.0)}
    if sae.rank_norms is not None:
        fields["rank_norms"] = sae.rank_norms.masked_fill(features, 1.0)
    return dataclasses.replace(sae, **fields)


def _name_zero_rows(sae: Sae) -> list[str]:
    zero = (sae.W_dec == 0).flatten(1).all(1)
    if not bool(zero.any()):
        return []
    return [f"{_list(zero)} have a decoder vector of zeros: they write nothing, whatever they are active on"]


def _names(sae: Sae) -> str:
    """Returns the names of the parts with numbers that are not finite."""
    parts = ("W_enc", "b_enc", "W_dec", "threshold", "b_mag", "r_mag")
    return " and ".join(name for name in parts if (part := getattr(sae, name)) is not None and not all_finite(part))


def _list(features: torch.Tensor) -> str:
    """Returns the numbers of the features (n,) bool for people."""
    numbers = features.nonzero().flatten().tolist()
    more = f" and {len(numbers) - SHOWN:,} more" if len(numbers) > SHOWN else ""
    return f"{len(numbers):,} of {len(features):,} features ({', '.join(map(str, numbers[:SHOWN]))}{more})"
