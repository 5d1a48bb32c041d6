"""What featurestore keeps for its user on this machine: a cache, and the models and weights that the user has named.

A store says where its model and weights lie, and may come from anybody. These places are opened where the user of this
machine has named them, by harvesting from them.
"""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path


def cache_root() -> Path:
    """Return the directory of what can be fetched or computed again: $FEATURESTORE_CACHE or ~/.cache/featurestore."""
    return Path(os.environ.get("FEATURESTORE_CACHE") or "~/.cache/featurestore").expanduser()


def remember_locations(*locations: str | None) -> None:
    """Record that the user has named these models or weights. Where nothing can be written, nothing is recorded."""
    known = _read_locations()
    new = [location for location in dict.fromkeys(locations) if location and location not in known]
    if not new:
        return
    with contextlib.suppress(OSError):
        _locations_file().parent.mkdir(parents=True, exist_ok=True)
        with open(_locations_file(), "a", encoding="utf-8") as file:
            # One write, so that two processes do not mix their lines.
            file.write("".join(f"{_quote(location)}\n" for location in new))


def is_remembered(location: str) -> bool:
    """Return whether the user has named this model or these weights, or they are those of the demo."""
    demo = find_spec("featurestore_demo")
    folders = demo.submodule_search_locations if demo else None
    is_path = Path(location).is_absolute() and ".." not in Path(location).parts
    if is_path and any(Path(location).is_relative_to(folder) for folder in folders or ()):
        return True
    return location in _read_locations()


def _locations_file() -> Path:
    root = os.environ.get("FEATURESTORE_STATE") or "~/.local/state/featurestore"
    return Path(root).expanduser() / "locations"


def _read_locations() -> set[str]:
    try:
        return {_unquote(line) for line in _locations_file().read_text("utf-8").splitlines()}
    except (OSError, UnicodeDecodeError):
        return set()


def _quote(location: str) -> str:
    return location.encode("unicode_escape").decode("ascii")


def _unquote(line: str) -> str:
    try:
        return line.encode("ascii").decode("unicode_escape")
    except UnicodeError:
        return ""
