"""Tensors of one weights file, taken by name and checked: the one place where shapes, missing and broken numbers are told."""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError, safe_open

from featurestore import BadRequest

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
BLOCK = 1 << 24  # numbers looked at together for NaN
LFS = b"version https://git-lfs"


class Tensors:
    """The tensors of a .safetensors, .npz, .pt or .pth file.

    `sizes` binds letters to lengths that another file promises, as in d=2304. A shape is asked for in letters, "d n"; a
    letter not bound yet is bound by the first tensor that has it, and the others are held to that.
    """

    def __init__(self, file: Path, promised_by: str = "", *, lean: bool = False, **sizes: int | None):
        """Open, without reading numbers. Raises BadRequest when the file is damaged, or is a pickle of more than tensors."""
        self.file, self._lean = file, lean
        self._sizes = {letter: (size, promised_by) for letter, size in sizes.items() if size is not None}
        self._found = _opened(file)
        self.names = frozenset(self._found)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def nested(self, name: str) -> None:
        """Go on with the mapping that is kept under `name`, as in checkpoints that hold more than weights."""
        inner = self._found[name]
        if not isinstance(inner, Mapping):
            raise BadRequest(
                f"{self.file}: {name} is a {type(inner).__name__}; a mapping of names to tensors is wanted"
            )
        self._found = inner
        self.names = frozenset(inner)

    def value(self, name: str, default: Any = None) -> Any:
        """What is stored under `name` where it is no tensor: a word, a number, a mapping."""
        return self._found[name] if name in self.names else default

    def size(self, letter: str) -> int:
        return self._sizes[letter][0]

    def first(self, *names: str) -> str:
        """The first of these names that there is. Raises BadRequest when there is none."""
        for name in names:
            if name in self.names:
                return name
        raise self._missing(" or ".join(names))

    def take(self, name: str, shape: str, at: int | None = None) -> torch.Tensor:
        """The tensor as float32, of a shape in letters: "d n", or "" for a single number; only its part [at], if that is given.

        With `lean`, matrices stay mapped in the file in their own type. Raises BadRequest naming file, tensor, the shape
        found and the one wanted, or that a number is none.
        """
        if name not in self.names:
            raise self._missing(name)
        tensor = _tensor(self._found, name)
        if not isinstance(tensor, torch.Tensor) or not (tensor.is_floating_point() or tensor.ndim == 0):
            what = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise BadRequest(f"{self.file}: {name} is of type {what}; floating point numbers are wanted")
        self._check_shape(name, tuple(tensor.shape), shape.split())
        tensor = tensor if at is None else tensor[at]
        flat = tensor.reshape(-1) if tensor.is_contiguous() else tensor
        if not all(bool(torch.isfinite(part).all()) for part in flat.split(BLOCK)):
            raise BadRequest(f"{self.file}: {name} holds NaN or infinity")
        if self._lean and tensor.ndim > 1:
            return tensor
        # Always a copy: a mapped file that somebody writes anew would change, or end, under the reader.
        return tensor.to(torch.float32, copy=True)

    def rank(self, name: str) -> int:
        """Number of the tensor's dimensions; 0 where there is none of that name."""
        return getattr(self._found[name], "ndim", 0) if name in self.names else 0

    def number(self, name: str) -> float:
        """A tensor of one number, or a number."""
        if name not in self.names:
            raise self._missing(name)
        value = _tensor(self._found, name)
        if isinstance(value, torch.Tensor) and value.numel() != 1:
            raise BadRequest(f"{self.file}: {name} has shape {tuple(value.shape)}; one number is wanted")
        return float(value)

    def _check_shape(self, name: str, found: tuple[int, ...], letters: list[str]) -> None:
        wanted = [self._sizes.get(letter, (None, ""))[0] for letter in letters]
        if len(found) == len(letters) and all(want in (None, have) for want, have in zip(wanted, found, strict=True)):
            for letter, have in zip(letters, found, strict=True):
                self._sizes.setdefault(letter, (have, name))
            return
        shown = tuple(want if want is not None else letter for want, letter in zip(wanted, letters, strict=True))
        says = {self._sizes[letter][1] for letter, want in zip(letters, wanted, strict=True) if want is not None}
        by = " and ".join(sorted(says)) or "its format"
        spelled = f"({', '.join(map(str, shown))}{',' if len(shown) == 1 else ''})"
        raise BadRequest(
            f"{self.file}: {name} has shape {found}, but {by} promises {spelled}; they are not of the same dictionary"
        )

    def _missing(self, name: str) -> BadRequest:
        there = ", ".join(sorted(self.names)[:12]) or "none"
        return BadRequest(f"{self.file} has no tensor {name}; it has {there}")


def _opened(file: Path) -> Mapping[str, Any]:
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
        return _unpickled(file)
    except (SafetensorError, OSError, ValueError, EOFError, zipfile.BadZipFile) as exc:
        raise _unreadable(file, exc) from None


class _Safetensors(Mapping[str, Any]):
    def __init__(self, file: Path):
        self._file, self._open = file, safe_open(file, framework="pt")
        self._names = list(self._open.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        try:
            return self._open.get_tensor(name)
        except SafetensorError as exc:
            raise _unreadable(self._file, exc) from None

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class _Npz(Mapping[str, Any]):
    def __init__(self, file: Path):
        self._file = file
        with zipfile.ZipFile(file) as archive:
            self._names = [name.removesuffix(".npy") for name in archive.namelist()]

    def __getitem__(self, name: str) -> torch.Tensor:
        try:
            with numpy.load(self._file, allow_pickle=False) as archive:
                return torch.from_numpy(archive[name])
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
            raise _unreadable(self._file, exc) from None

    def __iter__(self) -> Any:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _unpickled(file: Path) -> Mapping[str, Any]:
    """A .pt file by torch's safe reading: tensors, words, numbers and their containers; nothing that runs code."""
    try:
        # Mapping works for files in torch's zip format; older ones are read whole.
        mapped = zipfile.is_zipfile(file)
        found = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as exc:
        said = re.search(r"WeightsUnpickler error: (.*)", str(exc))
        what = said[1].strip() if said else str(exc).splitlines()[0]
        if "global" not in what.lower():
            raise _unreadable(file, RuntimeError(what)) from None
        raise BadRequest(
            f"{file} is a pickle that holds more than tensors ({what[:200]}), and reading it would run its code; whoever "
            "trusts it can save its tensors with safetensors"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as exc:
        raise _unreadable(file, exc) from None
    if not isinstance(found, Mapping):
        raise BadRequest(f"{file} holds a {type(found).__name__}; a mapping of names to tensors is wanted")
    return found


def _tensor(found: Mapping[str, Any], name: str) -> Any:
    value = found[name]
    return value.detach() if isinstance(value, torch.Tensor) else value


def _unreadable(file: Path, exc: Exception) -> BadRequest:
    first = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:200]
    return BadRequest(f"{file} cannot be read: {first}; fetch it again")


def hash_of(*files: Path) -> str:
    """sha256 of a file, or of several files' sums, first 16 hex digits."""
    sums = []
    for file in files:
        with file.open("rb") as stream:
            sums.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return (sums[0] if len(sums) == 1 else hashlib.sha256("".join(sums).encode()).hexdigest())[:16]
