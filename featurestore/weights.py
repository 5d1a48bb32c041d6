"""The weights of a dictionary, read by the package that is installed for it (entry point `featurestore.weights`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from featurestore.errors import Unavailable
from featurestore.values.dictionary import Dictionary

if TYPE_CHECKING:
    import torch


LOCATIONS_VARIABLE = "FEATURESTORE_ALLOW_STORE_LOCATIONS"  # of the environment
MayOpen = Callable[[str], bool]  # whether a model or weights at this place may be opened


class Weights(Protocol):
    """A trained dictionary. Shapes: d_in read, d_out written, n features."""

    W_enc: torch.Tensor  # (d_in, n)
    b_enc: torch.Tensor  # (n,)
    W_dec: torch.Tensor  # (n, d_out); of a cross-layer transcoder (n, layers, d_out)
    b_dec: torch.Tensor  # (d_out,)
    activation: str
    location: str
    hash: str

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return activations (t, n) on inputs (t, d_in)."""
        ...

    def decode(self, activations: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return what the dictionary writes, (t, d_out), given activations and the inputs that they came from."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor by its name, such as W_enc."""
        ...

    def to_sae_lens(self) -> Any:
        """Return the same dictionary as an SAE of sae_lens. Raises Unavailable where sae_lens is not installed."""
        ...


def check_location(what: str, location: str | None, dictionary: Dictionary, may_open: MayOpen) -> None:
    """Raise Unavailable for the place of a model or of weights that the store names and that may not be opened.

    A store may come from anybody: whatever it names would be opened, or fetched, with the rights of the user. Whether
    content has the hash that the store records is checked by what loads it.
    """
    if location is not None and not may_open(location):
        raise Unavailable(
            f"{location!r:.200} is where the store says that the {what} of {dictionary.dictionary} can be found, and "
            "you have not harvested from there: if you trust the store, say --allow-store-locations (or set "
            f"${LOCATIONS_VARIABLE}=1). Without that, a folder of this machine with nothing but safetensors, npz, JSON "
            "and text is opened, though by no service"
        )


def allows_locations() -> bool:
    """Return whether the environment says that whatever a store names may be opened."""
    return os.environ.get(LOCATIONS_VARIABLE, "").lower() in ("1", "true", "yes", "on")


def read_weights(dictionary: Dictionary, may_open: MayOpen, location: str | Path | None = None) -> Weights:
    """Return the weights of a dictionary, from where the store says they were read, or from `location`.

    Raises Unavailable where they may not be opened, are not there, or are others than those that the store was made
    with.
    """
    if location is None:
        check_location("weights", dictionary.weights_location, dictionary, may_open)
    return cast(Weights, _find_reader()(location, dictionary))


def read_location(location: str | Path) -> Weights:
    """Return the weights in a directory or file, or on the hub (hf://...). Raises NotFound and BadRequest."""
    return cast(Weights, _find_reader()(location, None))


def is_location(text: str) -> bool:
    """Return whether a text is a place of weights, rather than the id of a dictionary."""
    return "://" in text or text.startswith((".", "/", "~")) or os.path.exists(text)


def _find_reader() -> Any:
    from importlib.metadata import entry_points

    installed = list(entry_points(group="featurestore.weights"))
    if not installed:
        raise Unavailable("reading weights needs the harvest extra: pip install 'featurestore[harvest]'")
    return installed[0].load()
