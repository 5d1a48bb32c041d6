"""Where weights are and what a user says about them: a path, a part of a file, and what is known better than by the files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import yaml

from featurestore import BadRequest
from ingest.weights.tensors import SUFFIXES, Tensors, hash_of


def _truth(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError


# What may stand behind a location's question mark, as in ./sae?scale=1.7&hook_point=blocks.3.hook_resid_post
OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "layer": int,  # which of the layers that one file holds
    "hook_point": str,
    "hook_point_out": str,
    "k": int,
    "scale": float,  # the input is multiplied by it
    "norm": str,
    "threshold_times": float,
    "transposed": _truth,  # square matrices the other way round
    "subtract_b_dec": _truth,
    "centred": _truth,
    "fold_value_biases": _truth,
    "prepend_bos": _truth,
    "context_size": int,
    "model_name": str,
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A directory or file of weights on this machine."""

    path: Path
    location: str  # as it is recorded, to be read again
    words: str  # the path in which releases' names are looked for; a hub's, where it came from there
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lean: bool = False  # leave large matrices mapped in their file

    @property
    def folder(self) -> Path:
        """The directory of the files that go with the weights."""
        return self.path if self.path.is_dir() else self.path.parent

    def file(self, *names: str) -> Path | None:
        """The first of these files that is here; of a place that is itself a file, this one if it has such a name."""
        if self.path.is_dir():
            return next((self.path / name for name in names if (self.path / name).is_file()), None)
        return next((self.path for name in names if self.path.match(name)), None)

    def tensors(self, file: Path, promised_by: str = "", **sizes: int | None) -> Tensors:
        """The tensors of a file, held to the sizes that another promises."""
        return Tensors(file, promised_by, lean=self.lean, **sizes)

    def names(self) -> frozenset[str]:
        """Names of the tensors, where the place is a file of them; else none."""
        return Tensors(self.path).names if self.path.is_file() and self.path.suffix in SUFFIXES else frozenset()

    def option(self, name: str, default: Any = None) -> Any:
        """What the user says, else the default."""
        return self.options.get(name, default)

    def common(self, format: str, *files: Path) -> dict[str, Any]:
        """Fields of Sae that every reader fills alike: where from, whose, and the sum of the files."""
        return {"location": self.location, "format": format, "hash": hash_of(*files)}


def split_options(location: str) -> tuple[str, dict[str, Any]]:
    """A location and the options behind its question mark. Raises BadRequest at unknown ones or values."""
    before, mark, after = location.rpartition("?")
    if not mark or Path(location).exists():
        return location, {}
    options = {}
    for name, text in parse_qsl(after, keep_blank_values=True):
        if name not in OPTIONS:
            raise BadRequest(f"{location}: there is no option '{name}'; there are {', '.join(OPTIONS)}")
        try:
            options[name] = OPTIONS[name](text)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}.get(OPTIONS[name], "true or false")  # type: ignore[call-overload]
            raise BadRequest(f"{location}: {name} is '{text}'; {kind} is wanted") from None
    return before, options


def with_options(location: str, **options: Any) -> str:
    """The location with more behind its question mark; what excludes one another is replaced, factors are multiplied."""
    before, there = split_options(location)
    if "norm" in options:
        there.pop("scale", None)
    if "scale" in options:
        there.pop("norm", None)
    if "threshold_times" in options and "threshold_times" in there:
        options = options | {"threshold_times": options["threshold_times"] * there["threshold_times"]}
    if "transposed" in options and "transposed" in there:
        options = options | {"transposed": options["transposed"] != there["transposed"]}
    together = {
        name: str(value).lower() if isinstance(value, bool) else value for name, value in (there | options).items()
    }
    return f"{before}?{urlencode(together, safe='/:')}" if together else before


def read_config(file: Path) -> dict[str, Any]:
    """The object in a .json, .yaml or .yml file. Raises BadRequest."""
    try:
        text = file.read_text("utf-8")
        found = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as exc:
        first = str(exc).strip().splitlines()[0][:200]
        raise BadRequest(f"{file} cannot be read: {first}") from None
    if not isinstance(found, dict):
        raise BadRequest(f"{file} holds no {'JSON object' if file.suffix == '.json' else 'mapping'}")
    return found


def whole(config: Mapping[str, Any], name: str, file: Path) -> int:
    """A whole number above 0. Raises BadRequest naming file and value."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequest(f"{file}: {name} is {value!r}; a whole number above 0 is wanted")
    return value


def word(config: Mapping[str, Any], name: str, file: Path) -> str:
    """A text that is not empty. Raises BadRequest naming file and value."""
    value = config.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{file}: {name} is {value!r}; a text is wanted")
    return value
