"""A probe's or steering vector from a file: .npy, .safetensors or .pt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import BadRequest, NotFound, Unavailable

if TYPE_CHECKING:
    import numpy

SUFFIXES = (".npy", ".safetensors", ".pt", ".pth")
_NAMED = re.compile(rf"(?P<file>.*(?:{'|'.join(map(re.escape, SUFFIXES))}))(?::(?P<name>[^:]*))?(?::(?P<row>\d+))?")


def is_file(text: str) -> bool:
    """Whether a text names such a file, rather than a feature."""
    return _NAMED.fullmatch(text) is not None


def read(text: str) -> numpy.ndarray:
    """The vector, (d,) float32, in the file that `FILE`, `FILE:NAME` or `FILE:NAME:ROW` names; NAME may be left empty.

    Raises NotFound for a file, tensor or row that is not there, BadRequest for what is no single vector of numbers, and
    Unavailable when the package that reads the format is not installed.
    """
    named = _NAMED.fullmatch(text)
    if named is None:
        raise BadRequest(f"{text} is no vector's file: {', '.join(SUFFIXES)} are read")
    path = Path(named["file"])
    if not path.is_file():
        raise NotFound(f"no file {path}")
    tensors = _tensors(path)
    name = named["name"]
    if name:
        if name not in tensors:
            raise NotFound(f"{path} has no tensor '{name}'; there are: {', '.join(tensors)}")
        found = tensors[name]
    elif len(tensors) == 1:
        found = next(iter(tensors.values()))
    else:
        raise BadRequest(f"{path} has {len(tensors)} tensors; say which, as in {path}:{next(iter(tensors), 'NAME')}")
    return _vector(text, found, named["row"])


def _vector(text: str, found: Any, row: str | None) -> numpy.ndarray:
    import numpy

    if not isinstance(found, numpy.ndarray) or found.dtype.kind not in "fiu":
        raise BadRequest(f"{text} does not hold numbers")
    if row is not None:
        if found.ndim != 2 or int(row) >= len(found):
            raise NotFound(f"{text}: there is no row {row} in an array of shape {found.shape}")
        found = found[int(row)]
    elif found.ndim == 2 and 1 in found.shape:
        found = found.reshape(-1)
    if found.ndim != 1 or not len(found):
        raise BadRequest(f"{text} has shape {found.shape}; one vector is wanted, or a row's number as in FILE::0")
    return found.astype(numpy.float32)


def _tensors(path: Path) -> dict[str, Any]:
    """The arrays of a file by name; a file of one has it under no name."""
    if path.suffix == ".npy":
        return {"": _npy(path)}
    return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)


def _npy(path: Path) -> Any:
    from featurestore.storage import numpy_files

    try:
        return numpy_files.read(path)
    except (OSError, ValueError, EOFError) as exc:
        raise BadRequest(f"{path} is not a .npy file of numbers: {exc}") from None


def _safetensors(path: Path) -> dict[str, Any]:
    try:
        import safetensors
        from safetensors.numpy import load_file
    except ImportError:
        raise Unavailable(f"reading {path} needs safetensors: pip install 'featurestore[embed]'") from None
    try:
        return load_file(path)
    except (OSError, safetensors.SafetensorError) as exc:
        raise BadRequest(f"{path} is not a readable .safetensors file: {exc}") from None
    except (KeyError, TypeError):  # NumPy has no bfloat16
        return _bfloat16(path)


def _bfloat16(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise Unavailable(f"{path} holds bfloat16, which needs torch: pip install 'featurestore[embed]'") from None
    return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}


def _torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise Unavailable(f"reading {path} needs torch: pip install 'featurestore[embed]'") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch raises whatever the unpickler meets
        first = str(exc).strip().splitlines()[0][:200]
        raise BadRequest(f"{path} is no file of tensors that loads safely (weights_only): {first}") from None
    if isinstance(loaded, torch.Tensor):
        loaded = {"": loaded}
    if not isinstance(loaded, dict):
        raise BadRequest(f"{path} holds a {type(loaded).__name__}; a tensor, or tensors by name, are wanted")
    return {str(name): _array(one) for name, one in loaded.items()}


def _array(value: Any) -> Any:
    return value.detach().float().numpy() if hasattr(value, "detach") else value
