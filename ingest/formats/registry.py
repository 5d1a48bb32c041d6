"""The formats that are read, and which of them a path holds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from featurestore import BadRequest, NotFound
from ingest.formats.readers import (
    circuit_tracer,
    columnar,
    delphi,
    feature_json,
    labels,
    neuronpedia,
    sae_viewer,
    saedashboard,
    vectors,
)

# Those that recognise their own files with most certainty come first.
FORMATS: tuple[ModuleType, ...] = (
    circuit_tracer,
    columnar,
    delphi,
    saedashboard,
    vectors,
    neuronpedia,
    feature_json,
    sae_viewer,
    labels,
)
BY_NAME = {module.FORMAT: module for module in FORMATS}


def find_format(name: str) -> ModuleType:
    """Return the format of a name. Raises BadRequest when there is none."""
    if name not in BY_NAME:
        raise BadRequest(f"there is no format '{name}'; there are: {', '.join(sorted(BY_NAME))}")
    return BY_NAME[name]


def detect(path: str) -> ModuleType:
    """Return the format of a file or directory. Raises NotFound when there is no such path, BadRequest when no format
    recognises it."""
    place = Path(path)
    if not place.exists():
        raise NotFound(f"{path} does not exist: name a file or a directory")
    for module in FORMATS:
        if module.recognises(place):
            return module
    raise BadRequest(
        f"{path} is of no format that is recognised: name it, as in `featurestore import labels {path}`; there are: "
        f"{', '.join(sorted(BY_NAME))}"
    )
