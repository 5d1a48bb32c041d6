"""What featurestore keeps for its user on this machine: a cache, and the models and weights that the user has named.

A store says where its model and weights lie, and may come from anybody. These places are opened where the user of this
machine has named them, by harvesting from them, and for somebody who works on this machine also where they are folders
of data files on it.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
from importlib.util import find_spec
from pathlib import Path

DATA_SUFFIXES = frozenset((".json", ".jsonl", ".md", ".npy", ".npz", ".safetensors", ".txt", ".yaml", ".yml"))
MOST_FILES = 1000  # of a folder that is looked through


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
    return _is_of_demo(location) or location in _read_locations()


def find_remembered(name: str | None) -> str | None:
    """Return the place of this name that the user has named last, or that of the demo; None without one.

    A service says the last name of its weights' place alone: who has the same weights has named where they are.
    """
    if not name or "/" in name or "\\" in name:
        return None
    places = [place for place in _read_lines() if Path(place).name == name and Path(place).is_absolute()]
    demo = find_spec("featurestore_demo")
    ours = [Path(root, "dictionaries", name) for root in (demo and demo.submodule_search_locations) or ()]
    return next((place for place in (*reversed(places), *map(str, ours)) if os.path.exists(place)), None)


def holds_data(location: str) -> bool:
    """Return whether this is the absolute path of a folder of this machine that holds nothing but files of data.

    Reading such files runs nothing. Pickles, code, pipes and devices are none, a name without a path neither: a hub
    would be asked for it. Hidden files are not read, and not looked at.
    """
    path = Path(location)
    if not _is_plain_path(location) or not path.is_dir():
        return False
    files = 0
    for folder, folders, names in os.walk(path):
        if any(Path(folder, name).is_symlink() for name in folders):
            return False  # os.walk does not follow it
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            files += 1
            if files > MOST_FILES or file.suffix.lower() not in DATA_SUFFIXES or not file.is_file():
                return False
    return files > 0


def _is_plain_path(location: str) -> bool:
    return "\0" not in location and Path(location).is_absolute() and ".." not in Path(location).parts


def _is_of_demo(location: str) -> bool:
    """Return whether this lies in the demo, or is a folder with the same files: that of another installation."""
    demo = find_spec("featurestore_demo")
    if demo is None or not _is_plain_path(location):
        return False
    path = Path(location)
    roots = [Path(root) for root in demo.submodule_search_locations or ()]
    if any(path.is_relative_to(root) for root in roots):
        return True
    ours = (root / part for root in roots for part in ("model", f"dictionaries/{path.name}"))
    return any(folder.name == path.name and _is_same_folder(folder, path) for folder in ours)


def _is_same_folder(ours: Path, other: Path) -> bool:
    """Return whether two folders hold files of the same names and bytes."""
    try:
        names = sorted(os.listdir(ours))
        if names != sorted(os.listdir(other)) or not all((other / name).is_file() for name in names):
            return False
        return not any(filecmp.cmpfiles(ours, other, names, shallow=False)[1:])
    except OSError:
        return False


def _locations_file() -> Path:
    root = os.environ.get("FEATURESTORE_STATE") or "~/.local/state/featurestore"
    return Path(root).expanduser() / "locations"


def _read_locations() -> set[str]:
    return set(_read_lines())


def _read_lines() -> list[str]:
    try:
        return [_unquote(line) for line in _locations_file().read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []


def _quote(location: str) -> str:
    return location.encode("unicode_escape").decode("ascii")


def _unquote(line: str) -> str:
    try:
        return line.encode("ascii").decode("unicode_escape")
    except UnicodeError:
        return ""
