"""The mean number of active features that files state beside the weights, where a format has no key of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.weights.place import Place
from ingest.weights.tensors import Tensors

KEYS = ("l0", "average_l0", "avg_l0", "mean_l0", "l0_norm", "target_l0")
FILES = ("eval_results.json", "metrics.json", "evals.json", "metadata.json")
IN_PATH = re.compile(r"(?:^|[^a-z])(?:(?:average|avg|mean)_)?l0[_=-]?(\d+(?:\.\d+)?)(?![\w.]*[a-z])", re.IGNORECASE)
SPARSITY = "sparsity.safetensors"  # SAELens: log10 of each feature's density


def find_stated_l0(place: Place) -> tuple[float, str] | None:
    """Returns the number and where it is stated: a config that was read, measurements beside it, or the path."""
    for file, config in place.configs.items():
        for name, value in _numbers(config):
            return value, f"{file.name}: {name} {value:g}"
    for file in (folder / name for folder in (place.folder, place.folder.parent) for name in FILES):
        for name, value in _numbers(_read(file)):
            return value, f"{file.name}: {name} {value:g}"
    if (density := _sum_densities(place.folder / SPARSITY)) is not None:
        return density, f"{SPARSITY}: densities that add up to {density:.1f}"
    if matches := IN_PATH.findall(place.words):
        return float(matches[-1]), f"the path: l0 {matches[-1]}"
    return None


def _numbers(config: Mapping[str, Any], within: str = "", depth: int = 3) -> Iterator[tuple[str, float]]:
    """Yields the names and values of keys that state an L0, outer ones first."""
    for key, value in config.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        if str(key).lower() in KEYS and is_number:
            yield f"{within}{key}", float(value)
    for key, value in config.items():
        if isinstance(value, dict) and depth:
            yield from _numbers(value, f"{within}{key}.", depth - 1)


def _read(file: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; an empty one where there is none, since measurements are not needed."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _sum_densities(file: Path) -> float | None:
    if not file.is_file():
        return None
    try:
        tensors = Tensors(file)
        return float((10 ** tensors.take("sparsity", "n").clamp(max=0)).sum()) if "sparsity" in tensors else None
    except BadRequest:
        return None
