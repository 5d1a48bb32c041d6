"""A probe's or steering vector from a file: .npy, .safetensors or .pt."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.display.text import first_line
from featurestore.errors import BadRequest, NotFound, Unavailable

if TYPE_CHECKING:
    import numpy

SUFFIXES = (".npy", ".safetensors", ".pt", ".pth")
_NAMED = re.compile(rf"(?P<file>.*(?:{'|'.join(map(re.escape, SUFFIXES))}))(?::(?P<name>[^:]*))?(?::(?P<row>\d+))?")


def is_file(text: str) -> bool:
    """Whether a text names a file of vectors, rather than a feature."""
    return _NAMED.fullmatch(text) is not None


def read(text: str) -> numpy.ndarray:
    """Return the vector, (d,) float32, that `FILE`, `FILE:NAME` or `FILE:NAME:ROW` names; NAME may be empty.

    Raises NotFound for a missing file, tensor or row, BadRequest for anything but a single vector of numbers, and
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
        tensor = tensors[name]
    elif len(tensors) == 1:
        tensor = next(iter(tensors.values()))
    else:
        raise BadRequest(f"{path} has {len(tensors)} tensors; say which, as in {path}:{next(iter(tensors), 'NAME')}")
    return _vector(text, tensor, named["row"])


def _vector(text: str, tensor: Any, row: str | None) -> numpy.ndarray:
    import numpy

    if not isinstance(tensor, numpy.ndarray) or tensor.dtype.kind not in "fiu":
        raise BadRequest(f"{text} does not hold numbers")
    if row is not None:
        if tensor.ndim != 2 or int(row) >= len(tensor):
            raise NotFound(f"{text}: there is no row {row} in an array of shape {tensor.shape}")
        tensor = tensor[int(row)]
    elif tensor.ndim == 2 and 1 in tensor.shape:
        tensor = tensor.reshape(-1)
    if tensor.ndim != 1 or not len(tensor):
        raise BadRequest(f"{text} has shape {tensor.shape}; one vector is wanted, or a row's number as in FILE::0")
    vector: numpy.ndarray = tensor.astype(numpy.float32)
    return vector


def _tensors(path: Path) -> dict[str, Any]:
    """Return the arrays of a file by name; the array of a .npy file has an empty name."""
    if path.suffix == ".npy":
        return {"": _npy(path)}
    return _safetensors(path) if path.suffix == ".safetensors" else _torch(path)


def _npy(path: Path) -> Any:
    from featurestore.storage import numpy_files

    try:
        return numpy_files.read_array(path)
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
        raise Unavailable(f"{path} holds bfloat16, which needs torch: pip install 'featurestore[harvest]'") from None
    return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}


def _torch(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        raise Unavailable(f"reading {path} needs torch: pip install 'featurestore[harvest]'") from None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch raises whatever the unpickler meets
        raise BadRequest(f"{path} is no file of tensors that loads safely (weights_only): {first_line(exc)}") from None
    if isinstance(loaded, torch.Tensor):
        loaded = {"": loaded}
    if not isinstance(loaded, dict):
        raise BadRequest(f"{path} holds a {type(loaded).__name__}; a tensor, or tensors by name, are wanted")
    return {str(name): _array(value) for name, value in loaded.items()}


def _array(value: Any) -> Any:
    return value.detach().float().numpy() if hasattr(value, "detach") else value
