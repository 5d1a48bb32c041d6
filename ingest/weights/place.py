"""Where weights are, and the options that a user gives with a location in place of what the files say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import yaml

from featurestore import BadRequest
from featurestore.extension.text import first_line
from ingest.weights.tensors import SUFFIXES, Tensors, hash_of


def _truth(text: str) -> bool:
    """Returns the truth value of an option. Raises ValueError."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError


def _names(text: str) -> tuple[str, ...]:
    """Returns the names in a list with commas. Raises ValueError for none."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ValueError
    return names


# What may stand behind a location's question mark, as in ./sae?scale=1.7&hook_point=blocks.3.hook_resid_post
OPTIONS: Mapping[str, Callable[[str], Any]] = {
    "layer": int,  # which of the layers that one file holds
    "hook_point": str,
    "hook_point_out": str,
    "k": int,
    "scale": float,  # the input is multiplied by it
    "norm": str,
    "threshold_times": float,
    "transposed": _truth,  # for square matrices stored the other way round
    "subtract_b_dec": _truth,
    "centred": _truth,
    "fold_value_biases": _truth,
    "prepend_bos": _truth,
    "context_size": int,
    "model_name": str,
    "map": str,  # which tensor is which part, for files of no known format; or the TOML that says so
    "ignore": _names,  # keys of configs and tensors that are read as if they were not there
    "drop_bad": _truth,  # features with broken numbers become features that never fire
}
# What is wanted of an option's value, in words.
_WANTED = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    _truth: "true or false",
    _names: "a list of names, as in a,b",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """A directory or file of weights on this machine."""

    path: Path
    location: str  # as it is recorded, to be read again
    words: str  # the path, or the hub's location, in which names of releases are looked for
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    lean: bool = False  # leave large matrices mapped in their file
    opened: list[Tensors] = dataclasses.field(default_factory=list)  # files of tensors that a reader opened
    configs: dict[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)  # configs that a reader read

    @property
    def ignore(self) -> tuple[str, ...]:
        """The keys and tensors that the user leaves out."""
        return tuple(self.options.get("ignore", ()))

    def leave_out(self, *names: str) -> str:
        """Returns the location that leaves out these keys or tensors, too."""
        return with_options(self.location, ignore=(*self.ignore, *names))

    @property
    def folder(self) -> Path:
        """The directory of the weights and their configs."""
        return self.path if self.path.is_dir() else self.path.parent

    def file(self, *names: str) -> Path | None:
        """Returns the first of these files that exists; if the place is itself a file, this file if its name
        matches."""
        if self.path.is_dir():
            return next((self.path / name for name in names if (self.path / name).is_file()), None)
        return next((self.path for name in names if self.path.match(name)), None)

    def tensors(self, file: Path, promised_by: str = "", *, flat: bool = False, **sizes: int | None) -> Tensors:
        """Opens the tensors of a file; `sizes` are those that the file `promised_by` promises."""
        tensors = Tensors(file, promised_by, lean=self.lean, ignore=self.ignore, flat=flat, **sizes)
        self.opened.append(tensors)
        return tensors

    def config(self, file: Path) -> dict[str, Any]:
        """Returns the object in a config file, without the keys that the user leaves out. Raises BadRequest."""
        config = self.configs[file] = _without(read_config(file), self.ignore)
        if not isinstance(config.get("architecture", ""), str | None):
            raise BadRequest(f"{file}: architecture is {config['architecture']!r:.100}; a word is wanted")
        return dict(config)

    def check_tensors(self) -> None:
        """Checks that each tensor of the opened files was taken or is known not to matter. Raises BadRequest."""
        for tensors in self.opened:
            if left := tensors.find_rest():
                raise BadRequest(
                    f"{tensors.file}: {', '.join(left[:6])}: not known beside what was read, so that leaving it out "
                    f"would change the dictionary without a word; if it does not matter, read without it: "
                    f"{self.leave_out(*left)}"
                )

    def names(self) -> frozenset[str]:
        """Returns the names of the tensors if the place is a file of tensors; else an empty set."""
        return Tensors(self.path).names if self.path.is_file() and self.path.suffix in SUFFIXES else frozenset()

    def option(self, name: str, default: Any = None) -> Any:
        """Returns the value of the user's option, or the default."""
        return self.options.get(name, default)

    def common(self, format: str, *files: Path) -> dict[str, Any]:
        """Returns the fields of Sae that every reader fills alike: location, format and hash of the files."""
        return {"location": self.location, "format": format, "hash": hash_of(*files)}


def split_options(location: str) -> tuple[str, dict[str, Any]]:
    """Returns a location and the options behind its question mark. Raises BadRequest for unknown options or values."""
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
            raise BadRequest(f"{location}: {name} is '{text}'; {_WANTED[OPTIONS[name]]} is wanted") from None
    return before, options


def with_options(location: str, **options: Any) -> str:
    """Returns the location with more options; options that exclude one another are replaced, factors are multiplied."""
    before, known = split_options(location)
    if "norm" in options:
        known.pop("scale", None)
    if "scale" in options:
        known.pop("norm", None)
    if "threshold_times" in options and "threshold_times" in known:
        options = options | {"threshold_times": options["threshold_times"] * known["threshold_times"]}
    if "transposed" in options and "transposed" in known:
        options = options | {"transposed": options["transposed"] != known["transposed"]}
    merged = {name: _as_text(value) for name, value in (known | options).items()}
    return f"{before}?{urlencode(merged, safe='/:,[]')}" if merged else before


def _as_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(dict.fromkeys(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without(config: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Returns a config without the keys of these names, those in inner mappings too."""
    return {
        key: _without(value, names) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in names
    }


def read_config(file: Path) -> dict[str, Any]:
    """Returns the object in a .json, .yaml or .yml file. Raises BadRequest."""
    try:
        text = file.read_text("utf-8")
        config = json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        raise BadRequest(f"{file} cannot be read: {first_line(exc)}") from None
    if not isinstance(config, dict):
        raise BadRequest(f"{file} holds no {'JSON object' if file.suffix == '.json' else 'mapping'}")
    return config


def whole(config: Mapping[str, Any], name: str, file: Path) -> int:
    """Returns a whole number above 0. Raises BadRequest, naming file and value."""
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequest(f"{file}: {name} is {value!r}; a whole number above 0 is wanted")
    return value


def word(config: Mapping[str, Any], name: str, file: Path) -> str:
    """Returns a text that is not empty. Raises BadRequest, naming file and value."""
    value = config.get(name)
    if not isinstance(value, str) or not value:
        raise BadRequest(f"{file}: {name} is {value!r}; a text is wanted")
    return value
