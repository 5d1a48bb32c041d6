"""Weights of chosen features in SAELens's layout: cfg.json and sae_weights.safetensors, as its loader reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from featurestore import BadRequest
from ingest.formats.output import new_directory

if TYPE_CHECKING:
    import torch

    from featurestore import Dictionary, FeatureStore

# The dimension of a tensor that is one of features; the others have none.
OF_FEATURES = {"W_enc": 1, "W_dec": 0, "b_enc": 0, "b_gate": 0, "b_mag": 0, "r_mag": 0, "threshold": 0}
FEATURES = "features.json"


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write a dictionary's weights into `target`, each of several into a directory below it; returns how many features.

    features.json has the store's number of each feature. Raises Unavailable where the weights are not to be had, or
    SAELens has no form for them, BadRequest where no feature is chosen.
    """
    rows = {row.dictionary: row for row in store.dictionaries()}
    counts = {"features": 0, "dictionaries": 0}
    with new_directory(target) as root:
        for dictionary in dictionaries:
            chosen = _choose(store, dictionary, where)
            if chosen:
                folder = root if len(dictionaries) == 1 else root / dictionary
                folder.mkdir(parents=True, exist_ok=True)
                _write_one(rows[dictionary], chosen, folder)
                counts = {"features": counts["features"] + len(chosen), "dictionaries": counts["dictionaries"] + 1}
        if not counts["features"]:
            raise BadRequest(f"no feature fits --where '{where}': there is nothing to write")
    return counts


def _choose(store: FeatureStore, dictionary: str, where: str) -> list[int]:
    statement = f"select feature from features where dictionary = $dictionary and ({where}) order by feature"
    numbers: list[int] = store.sql(statement, {"dictionary": dictionary}).to_arrow()["feature"].to_pylist()
    return numbers


def _write_one(row: Dictionary, chosen: list[int], folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from ingest import dictionary_weights, sae_lens_object

    config, state = sae_lens_object.describe(dictionary_weights.read(None, row))
    if len(chosen) < config["d_sae"]:
        state = select_features(state, torch.tensor(chosen))
        config = config | {"d_sae": len(chosen)}
        if "k" in config:  # the k strongest of fewer features: some fire that would not among all
            config["k"] = min(config["k"], len(chosen))
    about = {"dictionary": row.dictionary, "weights_hash": row.weights_hash, "features": chosen}
    (folder / FEATURES).write_bytes(msgspec.json.encode(about))
    (folder / "cfg.json").write_bytes(msgspec.json.format(msgspec.json.encode(config)))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "sae_weights.safetensors")


def select_features(state: dict[str, torch.Tensor], chosen: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors with chosen features alone, in the order of `chosen`, (n,) int64."""
    return {
        name: tensor.index_select(OF_FEATURES[name], chosen) if name in OF_FEATURES else tensor
        for name, tensor in state.items()
    }
