"""The weights of a dictionary of a store, or of a place: what the entry point `featurestore.weights` gives."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore import BadRequest, Dictionary, FeatureStoreError, Unavailable

if TYPE_CHECKING:
    from ingest.sae import Sae


def read(location: str | Path | None, dictionary: Dictionary | None) -> Sae:
    """Return weights from `location`, or from where the store read those of `dictionary`.

    With a dictionary they are held to its hash. Raises Unavailable where they are missing or have changed; without a
    dictionary NotFound and BadRequest.
    """
    if dictionary is None:
        return read_location(str(location))
    place = str(location) if location is not None else dictionary.weights_location
    if place is None:
        raise Unavailable(f"the store does not say where the weights of {dictionary.dictionary} are")
    try:
        sae = read_location(place)
    except FeatureStoreError as exc:
        elsewhere = "" if location is not None else "; if they are elsewhere, name the place with weights="
        raise Unavailable(f"the weights of {dictionary.dictionary} are not at hand: {exc}{elsewhere}") from None
    if dictionary.weights_hash not in (None, sae.hash):
        raise Unavailable(
            f"{dictionary.dictionary} was harvested with other weights than are at {place} "
            f"({dictionary.weights_hash}, now {sae.hash}): harvest it again"
        )
    if sae.d_sae != dictionary.d_sae:
        raise BadRequest(f"{place} has {sae.d_sae:,} features, and {dictionary.dictionary} has {dictionary.d_sae:,}")
    return sae


@functools.lru_cache(maxsize=32)
def read_location(location: str) -> Sae:
    """Return the weights at a place, which are kept. Raises NotFound, BadRequest and Unavailable."""
    from ingest import weights

    return weights.read(location)
