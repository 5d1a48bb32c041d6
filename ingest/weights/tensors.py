"""Tensors of one weights file, taken by name and checked for shape, type and broken numbers."""

from __future__ import annotations

import hashlib
import itertools
import pickle
import re
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open

from featurestore import BadRequest
from featurestore.extension.arrays import plain_errors
from featurestore.extension.text import first_line

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
BLOCK = 1 << 24  # numbers searched for NaN at a time
LFS = b"version https://git-lfs"


def all_finite(tensor: torch.Tensor) -> bool:
    """Tells whether no number is NaN or infinite; looks at a block at a time, so that a mapped file stays mapped."""
    flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor
    return all(bool(torch.isfinite(part).all()) for part in torch.split(flat, BLOCK if flat.ndim == 1 else 1024))


MOST_DEPTH, MOST_VALUES = 12, 100_000  # of mappings and lists in a file whose values are named by their paths


class Tensors:
    """The tensors of a .safetensors, .npz, .pt or .pth file.

    `sizes` binds letters to lengths that another file promises, as in d=2304. A shape is written in letters, "d n". The
    first tensor with a letter that is not bound yet binds it, and all later tensors must agree.
    """

    def __init__(
        self,
        file: Path,
        promised_by: str = "",
        *,
        lean: bool = False,
        ignore: Collection[str] = (),
        flat: bool = False,
        **sizes: int | None,
    ):
        """Opens the file without reading numbers. Raises BadRequest if it is damaged, or a pickle of more than tensors.

        With `flat`, tensors in inner mappings and lists are named by their path: `sites.0.encoder.weight`.
        """
        self.file, self._lean, self._ignore = file, lean, frozenset(ignore)
        self._sizes = {letter: (size, promised_by) for letter, size in sizes.items() if size is not None}
        self._values = _open(file, flat)
        self.names = frozenset(self._values) - self._ignore
        self._taken: set[str] = set()

    def find_rest(self) -> list[str]:
        """Returns the names of the tensors that nobody took or let be, sorted."""
        return sorted(map(str, self.names - self._taken))

    def let_be(self, *patterns: str) -> None:
        """Marks the tensors whose whole name matches one of these regular expressions as known not to matter."""
        self._taken |= {name for name in self.names if any(re.fullmatch(pattern, str(name)) for pattern in patterns)}

    def leave_siblings(self, names: Collection[str]) -> None:
        """Marks the tensors of other dictionaries in the file, and values that are no tensors, as known not to matter.

        Others are those under another prefix than `names` have in common, and those whose names differ by numbers.
        """
        self._taken |= self.names - set(self.find_rest_beside(names)) - set(names)

    def find_rest_beside(self, names: Collection[str]) -> list[str]:
        """Returns the names of the tensors beside these that are of the same dictionary, sorted; see leave_siblings."""
        inside = [name.split(".") for name in names]
        depth = 0
        while all(len(parts) > depth + 1 and parts[depth] == inside[0][depth] for parts in inside):
            depth += 1
        prefix = "".join(f"{part}." for part in inside[0][:depth])
        alike = {re.sub(r"\d+", "0", name) for name in names}
        return sorted(
            name
            for name in self.names - set(names)
            if name.startswith(prefix)
            and re.sub(r"\d+", "0", name) not in alike
            and isinstance(self._values[name], torch.Tensor)
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor of floating point numbers."""
        found = {name: self._values[name] for name in sorted(self.names, key=str)}
        return {
            name: tuple(value.shape)
            for name, value in found.items()
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        }

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def descend(self, name: str) -> None:
        """Continues with the mapping under `name`, as in checkpoints that hold more than weights. Raises BadRequest."""
        inner = self._values[name]
        if not isinstance(inner, Mapping):
            raise BadRequest(
                f"{self.file}: {name} is a {type(inner).__name__}; a mapping of names to tensors is wanted"
            )
        self._values = inner
        self.names = frozenset(inner) - self._ignore
        self._taken = set()

    def value(self, name: str, default: Any = None) -> Any:
        """Returns a value that is no tensor: a word, a number, a mapping; `default` without one of that name."""
        self._taken.add(name)
        return self._values[name] if name in self.names else default

    def size(self, letter: str) -> int:
        """Returns the length that a letter is bound to."""
        return self._sizes[letter][0]

    def first(self, *names: str) -> str:
        """Returns the first of these names that exists. Raises BadRequest if none does."""
        for name in names:
            if name in self.names:
                return name
        raise self._missing(" or ".join(names))

    def take(self, name: str, shape: str, at: int | None = None) -> torch.Tensor:
        """Returns the tensor as float32; its shape must be as in `shape`: "d n", or "" for a single number.

        `at` selects the part [at]. With `lean`, matrices stay mapped in the file, in the file's number type. Raises
        BadRequest, naming file, tensor and both shapes, or that a number is NaN or infinite; such numbers of single
        features, along a dimension "n", are left for `masked.settle`, which knows all of a feature's numbers.
        """
        if name not in self.names:
            raise self._missing(name)
        self._taken.add(name)
        tensor = self._numbers(name)
        if not isinstance(tensor, torch.Tensor) or not (tensor.is_floating_point() or tensor.ndim == 0):
            what = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise BadRequest(f"{self.file}: {name} is of type {what}; floating point numbers are wanted")
        self._check_shape(name, tuple(tensor.shape), shape.split())
        tensor = tensor if at is None else tensor[at]
        if "n" not in shape.split() and not all_finite(tensor):
            raise BadRequest(f"{self.file}: {name} holds NaN or infinity")
        if self._lean and tensor.ndim > 1:
            return tensor
        # Always a copy: numbers of a mapped file would change if the file were written again.
        return tensor.to(torch.float32, copy=True)

    def rank(self, name: str) -> int:
        """Returns the number of dimensions of the tensor; 0 for an unknown name."""
        return getattr(self._values[name], "ndim", 0) if name in self.names else 0

    def length(self, name: str) -> int:
        """Returns the first dimension of the tensor; 0 for an unknown name, or without dimensions."""
        return self._values[name].shape[0] if self.rank(name) else 0

    def number(self, name: str) -> float:
        """Returns a number, or a tensor's single number. Raises BadRequest."""
        if name not in self.names:
            raise self._missing(name)
        self._taken.add(name)
        value = self._numbers(name)
        if isinstance(value, torch.Tensor) and value.numel() != 1:
            raise BadRequest(f"{self.file}: {name} has shape {tuple(value.shape)}; one number is wanted")
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):  # a complex number, an integer of many digits
            raise BadRequest(f"{self.file}: {name} is {value!r:.100}; one number is wanted") from None

    def _numbers(self, name: str) -> Any:
        """Returns the value of that name. Raises BadRequest for a tensor without numbers of its own."""
        value = _tensor(self._values, name)
        if isinstance(value, torch.Tensor) and (value.is_meta or value.layout != torch.strided or value.is_quantized):
            kind = "meta" if value.is_meta else "quantized" if value.is_quantized else str(value.layout)
            raise BadRequest(f"{self.file}: {name} is a {kind} tensor; save it as a dense one, tensor.to_dense()")
        return value

    def _check_shape(self, name: str, shape: tuple[int, ...], letters: list[str]) -> None:
        """Binds new letters to lengths. Raises BadRequest if the shape contradicts bound letters."""
        wanted = [self._sizes.get(letter, (None, ""))[0] for letter in letters]
        if len(shape) == len(letters) and all(want in (None, have) for want, have in zip(wanted, shape, strict=True)):
            for letter, have in zip(letters, shape, strict=True):
                self._sizes.setdefault(letter, (have, name))
            return
        shown = tuple(want if want is not None else letter for want, letter in zip(wanted, letters, strict=True))
        says = {self._sizes[letter][1] for letter, want in zip(letters, wanted, strict=True) if want is not None}
        by = " and ".join(sorted(says)) or "its format"
        spelled = f"({', '.join(map(str, shown))}{',' if len(shown) == 1 else ''})"
        raise BadRequest(
            f"{self.file}: {name} has shape {shape}, but {by} promises {spelled}; they are not of the same dictionary"
        )

    def _missing(self, name: str) -> BadRequest:
        names = ", ".join(sorted(self.names)[:12]) or "none"
        return BadRequest(f"{self.file} has no tensor {name}; it has {names}")


def _open(file: Path, flat: bool = False) -> Mapping[str, Any]:
    """Returns the tensors and other values of a file by name; `flat` with inner ones by path. Raises BadRequest."""
    try:
        if file.stat().st_size == 0:
            raise BadRequest(f"{file} is empty; fetch it again")
        with file.open("rb") as stream:
            if stream.read(len(LFS)) == LFS:
                raise BadRequest(f"{file} is a pointer of git-lfs, not the file itself: run git lfs pull there")
        if file.suffix == ".safetensors":
            return _Safetensors(file)
        if file.suffix == ".npz":
            return _Npz(file)
        values = _unpickle(file)
        if flat:
            flat_values: dict[str, Any] = {}
            _flatten(values, "", file, flat_values, itertools.count())
            return flat_values
        if not isinstance(values, Mapping):
            raise BadRequest(f"{file} holds a {type(values).__name__}; a mapping of names to tensors is wanted")
        return values
    except (SafetensorError, OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise _unreadable(file, exc) from None


class _Safetensors(Mapping[str, Any]):
    """A .safetensors file, tensors read when asked for."""

    def __init__(self, file: Path):
        self._file = file
        self._open: Any = safe_open(file, framework="pt")
        self._names = list(self._open.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            tensor: torch.Tensor = self._open.get_tensor(name)
            return tensor
        except SafetensorError as exc:
            raise _unreadable(self._file, exc) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Npz(Mapping[str, Any]):
    """A .npz file, arrays read when asked for."""

    def __init__(self, file: Path):
        self._file = file
        with zipfile.ZipFile(file) as archive:
            self._names = [name.removesuffix(".npy") for name in archive.namelist()]

    def __getitem__(self, name: str) -> torch.Tensor:
        try:
            with plain_errors(), numpy.load(self._file, allow_pickle=False) as archive:
                return torch.from_numpy(archive[name])
        except (OSError, ValueError, TypeError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as exc:
            raise _unreadable(self._file, exc) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _flatten(
    values: Any, prefix: str, file: Path, found: dict[str, Any], visits: Iterator[int], depth: int = 0
) -> None:
    """Puts the values in mappings and lists into `found` by their paths. Raises BadRequest for too many or too deep.

    `visits` counts what was looked at: lists without values count too.
    """
    if next(visits) > MOST_VALUES:
        raise BadRequest(f"{file}: its values are nested more than {MOST_DEPTH} deep, or are more than {MOST_VALUES:,}")
    if isinstance(values, Mapping):
        inner = [(str(name), value) for name, value in values.items()]
    elif isinstance(values, list | tuple):
        inner = [(str(at), value) for at, value in enumerate(values)]
    else:
        found[prefix.removesuffix(".")] = values
        return
    # A list may hold itself, or the same list many times: a small file, and no end of values.
    if depth == MOST_DEPTH or len(found) + len(inner) > MOST_VALUES:
        raise BadRequest(f"{file}: its values are nested more than {MOST_DEPTH} deep, or are more than {MOST_VALUES:,}")
    for key, inside in inner:
        _flatten(inside, f"{prefix}{key}.", file, found, visits, depth + 1)


def _unpickle(file: Path) -> Any:
    """Reads a .pt file with torch's safe unpickler: tensors, words, numbers and their containers; nothing runs code."""
    try:
        # Mapping works for files in torch's zip format; older ones are read whole.
        mapped = zipfile.is_zipfile(file)
        values = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as exc:
        match = re.search(r"WeightsUnpickler error: (.*)", str(exc))
        what = match[1].strip() if match else str(exc).splitlines()[0]
        if "global" not in what.lower():
            raise _unreadable(file, RuntimeError(what)) from None
        raise BadRequest(
            f"{file} is a pickle that holds more than tensors ({what[:200]}), and reading it would run its code; if "
            "you "
            "trust it, save its tensors with safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as exc:
        raise _unreadable(file, exc) from None
    return values


def _tensor(values: Mapping[str, Any], name: str) -> Any:
    """Returns the value of that name; a tensor without its gradient."""
    value = values[name]
    return value.detach() if isinstance(value, torch.Tensor) else value


def _unreadable(file: Path, exc: Exception) -> BadRequest:
    return BadRequest(f"{file} cannot be read: {first_line(exc)}; fetch it again")


def hash_of(*files: Path) -> str:
    """Returns the sha256 of a file, or of several files' sums, first 16 hex digits."""
    sums = []
    for file in files:
        with file.open("rb") as stream:
            sums.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return (sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest())[:16]
