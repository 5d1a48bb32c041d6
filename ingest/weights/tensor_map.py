"""Which tensor of a file is which part of a dictionary, as users write it: after ?map=, or as TOML beside weights.

In short: W_enc:encoder_weights,b_enc:encoder_bias,W_dec:decoder.weight.T,b_dec:pre_bias,activation:topk,k:32. `.T`
turns a matrix round, `[3]` takes the part at 3 of a stacked tensor. Knows nothing of tensors.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from featurestore import BadRequest
from featurestore.extension.text import first_line
from ingest.weights.place import OPTIONS, Place

# Parts of a dictionary that a tensor may be, and what each is, for errors.
PARTS: Mapping[str, str] = {
    "W_enc": "encoder (d_in, features)",
    "b_enc": "bias of features",
    "W_dec": "decoder (features, d_out)",
    "b_dec": "bias of the output",
    "b_pre": "what is subtracted from the input first",
    "threshold": "threshold of features, or one number",
    "log_threshold": "logarithm of the threshold",
    "r_mag": "logarithm of a gated dictionary's rescaling",
    "b_mag": "bias of a gated dictionary's magnitudes",
    "W_skip": "skip connection (d_out, d_in)",
}
ACTIVATIONS = ("relu", "jumprelu", "topk", "batchtopk", "abstopk", "groupmax", "gated")
SETTINGS = ("activation", "k", "file")
BESIDE = ".map.toml"  # after the name of a weights file; in a directory the file is called map.toml
ALONE = "map.toml"


class TensorPath(NamedTuple):
    """The tensor of a name; of a stacked one the part `at`; turned round where `transposed`."""

    name: str
    at: int | None = None
    transposed: bool = False

    def __str__(self) -> str:
        return f"{self.name}{'' if self.at is None else f'[{self.at}]'}{'.T' if self.transposed else ''}"


@dataclasses.dataclass(frozen=True)
class TensorMap:
    """The tensors by part, and the settings that a file does not say. `source` is where the map is written."""

    parts: Mapping[str, TensorPath]
    settings: Mapping[str, Any]
    source: str
    file: Path | None = None  # the TOML

    def __str__(self) -> str:
        settings = (f"{name}:{str(value).lower()}" for name, value in self.settings.items())
        return ",".join([*(f"{part}:{path}" for part, path in self.parts.items()), *settings])


def find_map(place: Place) -> TensorMap | None:
    """Returns the map of a place: of ?map=, else of the TOML beside it; None without one. Raises BadRequest."""
    if (written := place.option("map")) is not None:
        if written.endswith(".toml"):
            beside = place.folder / written
            return read_file(beside if beside.is_file() else Path(written))
        return parse(written, f"{place.path}?map=")
    beside = place.path / ALONE if place.path.is_dir() else place.path.with_name(place.path.name + BESIDE)
    return read_file(beside) if beside.is_file() else None


def parse(text: str, source: str) -> TensorMap:
    """Returns the map that a text writes. Raises BadRequest, naming the entry."""
    entries: dict[str, Any] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        name, colon, value = entry.partition(":")
        if not colon or not value.strip():
            raise BadRequest(f"{source}: '{entry}' is no entry of a map; PART:TENSOR is wanted, as in W_enc:encoder")
        if name.strip() in entries:
            raise BadRequest(f"{source}: {name.strip()} is given twice")
        entries[name.strip()] = value.strip()
    return _make(entries, source)


def read_file(file: Path) -> TensorMap:
    """Returns the map in a TOML. Raises BadRequest."""
    try:
        entries = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise BadRequest(f"{file}: there is no such file; a map is written out, or is a TOML") from None
    except (OSError, ValueError) as exc:
        raise BadRequest(f"{file} cannot be read: {first_line(exc)}") from None
    return dataclasses.replace(_make(entries, str(file)), file=file.absolute())


# Options that are looked for before a map is read, or that say what of the file is meant.
ELSEWHERE = ("map", "drop_bad", "layer")


def _make(entries: Mapping[str, Any], source: str) -> TensorMap:
    parts: dict[str, TensorPath] = {}
    settings: dict[str, Any] = {}
    for name, value in entries.items():
        if name in PARTS and not (name == "threshold" and _as_number(value) is not None):
            if not isinstance(value, str) or not value:
                raise BadRequest(f"{source}: {name} is {value!r:.100}; the name of a tensor is wanted")
            parts[name] = parse_path(value)
        elif name in ELSEWHERE:
            raise BadRequest(f"{source}: {name} does not stand in a map: write it behind the location, as ?{name}=...")
        elif name in (*SETTINGS, "threshold") or name in OPTIONS:
            settings[name] = _convert(name, value, source)
        else:
            known = ", ".join([*PARTS, *SETTINGS, *(option for option in OPTIONS if option not in (*ELSEWHERE, "k"))])
            raise BadRequest(f"{source}: there is no '{name}' in a map; there are {known}")
    if not {"W_enc", "W_dec"} & parts.keys():
        raise BadRequest(f"{source}: neither W_enc nor W_dec is named; there is no dictionary without either")
    return TensorMap(parts, settings, source)


def _convert(name: str, value: Any, source: str) -> Any:
    """Returns a setting's value in its type. Raises BadRequest."""
    if name == "activation":
        if value not in ACTIVATIONS:
            raise BadRequest(f"{source}: activation is {value!r:.100}; it is one of {', '.join(ACTIVATIONS)}")
        return value
    if name == "threshold":
        return _as_number(value)
    if name == "k" and isinstance(value, str) and not value.isdigit():
        return value  # the name of a number in the file
    if name == "file":
        return str(value)
    try:
        return OPTIONS[name](",".join(value) if isinstance(value, list) else str(value).strip())
    except (ValueError, TypeError):
        raise BadRequest(f"{source}: {name} is {value!r:.100}, which it cannot be; docs/weights.md says what") from None


def _as_number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return float(value) if isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d*)?(e-?\d+)?", value) else None


def parse_path(text: str) -> TensorPath:
    """Returns the path that a text writes: NAME, NAME[3], NAME.T or NAME[3].T."""
    match = re.fullmatch(r"(.+?)(?:\[(\d+)\])?(\.T)?", text.strip())
    assert match is not None
    return TensorPath(match[1], int(match[2]) if match[2] else None, bool(match[3]))
