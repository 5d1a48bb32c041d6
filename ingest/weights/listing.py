"""Which dictionaries a directory or repository holds, and what they are called, by file names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ingest.weights.place import split_options

# A weights file's name -> whether the dictionary is named by its directory, by the one above, or by the file itself.
PATTERNS = (
    (re.compile(r"params\.npz|params\.safetensors|sae_weights\.(safetensors|pt)|sae\.safetensors|ae\.pt"), "directory"),
    (re.compile(r"(final|pruned)\.(safetensors|pt)"), "above"),
    (
        re.compile(r"(params_)?layer_?\d+\.safetensors|W_enc_\d+\.safetensors|layer\d+\.sae\.pt|ae_\d+\.pt|\d+\.pt"),
        "file",
    ),
)
OTHER = re.compile(r".*\.pth?")
NOT_WEIGHTS = re.compile(r"(trainer_state|optimizer|training_args|scheduler|rng_state|tokens_).*")


def dictionaries(names: Iterable[str]) -> list[str]:
    """Returns the places that hold one dictionary each, from the paths of files below a root; "" is the root itself."""
    places: dict[str, None] = {}
    for name in sorted(names, key=_natural):
        folder, _, file = name.rpartition("/")
        for pattern, named_by in PATTERNS:
            if pattern.fullmatch(file):
                above = folder.rpartition("/")[0] if folder.rpartition("/")[2] == "checkpoints" else folder
                places[{"directory": folder, "above": above, "file": name}[named_by]] = None
                break
        else:
            if OTHER.fullmatch(file) and not NOT_WEIGHTS.fullmatch(file):
                places[name] = None
    return list(places)


def dictionaries_in(folder: Path) -> list[str]:
    """Returns `dictionaries` of a directory on this machine."""
    return dictionaries(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def join_names(names: list[str], most: int, location: str = "") -> str:
    """Returns the first `most` names in one line for people, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name or location for name in names[:most]) + more


def _natural(name: str) -> list[tuple[int, str]]:
    """Returns a sort key that puts layer_2 before layer_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


# Directories whose name says little without the parent's.
VAGUE = re.compile(r"average_l0_\d+|width_\w+|canonical|trainer_\d+|seed\d+|checkpoints|autoencoders|\d+|final|pruned")
GENERIC_FILE = re.compile(r"(params|sae_weights|sae|ae)\.\w+")


def split_name(text: str) -> tuple[str, str]:
    """Returns name and place of a dictionary from "NAME=PLACE", or from "PLACE", which then also gives the name.

    The place may have options, which contain equals signs, behind a question mark.
    """
    name, equals, place = text.partition("=")
    if equals and place and name and not re.search(r"[/?\\]", name) and not Path(text).exists():
        return name, place
    plain, options = split_options(text)
    path = re.sub(r"@[^@]*$", "", plain) if plain.startswith("hf://") else str(Path(plain).resolve())
    parts = [part for part in path.removeprefix("hf://").split("/") if part]
    if GENERIC_FILE.fullmatch(parts[-1]) and len(parts) > 1:
        parts.pop()
    parts[-1] = re.sub(r"(\.sae)?\.(safetensors|npz|pth?)$", "", parts[-1])
    first = len(parts) - 1
    while first > 0 and VAGUE.fullmatch(parts[first]):
        first -= 1
    layer = [str(options["layer"])] if "layer" in options else []
    return re.sub(r"[\s?#%]+", "-", "-".join(parts[first:] + layer)), text
