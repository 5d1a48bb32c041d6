"""Delphi's explanations: a text file for each label, named by hook point and feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ingest.formats.output import new_directory
from ingest.formats.writers import records

if TYPE_CHECKING:
    from featurestore import FeatureStore


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write explanations/{hook point}_latent{N}.txt with the best label of each feature, and the run's config."""
    count = 0
    rows = {row.dictionary: row for row in store.dictionaries()}
    with new_directory(target) as root:
        (root / "explanations").mkdir()
        for dictionary in dictionaries:
            hook = (rows[dictionary].hook_point or rows[dictionary].source).replace("/", "-")
            for feature in records.find_features(store, dictionary, f"has_label and ({where})", 0):
                path = root / "explanations" / f"{hook}_latent{feature.id.rpartition('/')[2]}.txt"
                path.write_bytes(msgspec.json.encode(feature.label))
                count += 1
        models = sorted({rows[dictionary].model for dictionary in dictionaries})
        (root / "run_config.json").write_bytes(msgspec.json.encode({"model": models[0]}))
    return {"explanations": count}
