"""The formats that are read, and which of them a path holds."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from featurestore import BadRequest, NotFound

# The module of each format, below `readers`: one is imported when it is asked for, as the processes that read files
# start in half the time then. Formats that recognise their own files with most certainty come first.
MODULES = {
    "circuit-tracer": "circuit_tracer",
    "columnar": "columnar",
    "delphi": "delphi",
    "saedashboard": "saedashboard",
    "vectors": "vectors",
    "neuronpedia": "neuronpedia",
    "feature-json": "feature_json",
    "sae-viewer": "sae_viewer",
    "labels": "labels",
}


def find_format(name: str) -> ModuleType:
    """Return the format of a name. Raises BadRequest when there is none."""
    if name not in MODULES:
        raise BadRequest(f"there is no format '{name}'; there are: {', '.join(sorted(MODULES))}")
    return importlib.import_module(f"ingest.formats.readers.{MODULES[name]}")


def detect(path: str) -> ModuleType:
    """Return the format of a file or directory. Raises NotFound when there is no such path, BadRequest when no format
    recognises it."""
    place = Path(path)
    if not place.exists():
        raise NotFound(f"{path} does not exist: name a file or a directory")
    for module in map(find_format, MODULES):
        if module.recognises(place):
            return module
    raise BadRequest(
        f"{path} is of no format that is recognised: name it, as in `featurestore import labels {path}`; there are: "
        f"{', '.join(sorted(MODULES))}"
    )
