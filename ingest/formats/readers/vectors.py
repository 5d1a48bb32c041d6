"""Named directions: probes, steering vectors or any matrix, from .npy, .npz, safetensors, .pt, CSV or JSON files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy

from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import clean, guess_name, parse_label
from ingest.formats.rejects import Rejects

FORMAT = "vectors"
SUFFIXES = (".npy", ".npz", ".safetensors", ".pt", ".pth", ".csv", ".tsv", ".json")
NAMES = ("names", "labels")  # a file of names beside: probes.names.txt, names.txt, labels.json

Named = list[tuple[str, numpy.ndarray]]  # "" where a vector has no name


def recognises(path: Path) -> bool:
    """Return whether a path is a file of tensors. A CSV could be anything, so it must be asked for."""
    return path.is_file() and path.suffix in (".npy", ".npz", ".safetensors", ".pt", ".pth")


def find(path: str) -> list[Path]:
    """Return the files to read."""
    found = files.find_files(path, *(f"*{suffix}" for suffix in SUFFIXES))
    return [file for file in found if not re.search(rf"(?:^|\.)(?:{'|'.join(NAMES)})\.\w+$", file.name)]


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return how many vectors a file holds, as one line."""
    vectors = read_vectors(path)
    named = sum(bool(name) for name, _ in vectors)
    return f"{Path(path).name}: {len(vectors):,} vectors of width {len(vectors[0][1]):,}, {named:,} with a name"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the vectors of a file as one dictionary, their names as labels. Broken rows are rejected."""
    vectors: list[numpy.ndarray] = []
    labels: list[dict[str, Any]] = []
    named = read_vectors(path)
    width = len(named[0][1])
    explainer = options.get("explainer") or f"import:{guess_name(path)[1]}"[:200]
    names = _read_names(Path(path))
    if names and len(names) != len(named):
        raise BadRequest(f"{path} has {len(named):,} vectors, the file of names beside it {len(names):,}")
    for number, (own, vector) in enumerate(named):
        if len(vector) != width:
            rejects.add(path, f"row {number}", "its width is another than that of the first", own)
        elif not numpy.isfinite(vector).all() or numpy.abs(vector).max() > numpy.finfo(numpy.float16).max:
            rejects.add(path, f"row {number}", "it has numbers that are not finite in float16", own)
        else:
            label, problem = parse_label(names[number] if names else own)
            if not problem:
                labels.append({"feature": len(vectors), "label": label, "explainer": explainer})
            vectors.append(vector)
    if not vectors:
        return
    model, source = guess_name(path)
    model, source = options.get("model") or model, options.get("source") or source
    dictionary = options.get("dictionary") or f"{clean(model)}/{clean(source)}"
    matrix = numpy.stack(vectors)
    norms = numpy.linalg.norm(matrix, axis=1)
    features = [{"feature": number, "decoder_norm": float(norm)} for number, norm in enumerate(norms)]
    facts = {"kind": "vectors", "d_out": width, "d_sae": len(vectors), "space": options.get("space") or dictionary}
    yield Batch(dictionary, facts, features=features, labels=labels, vectors=(numpy.arange(len(matrix)), matrix))


def read_vectors(path: str) -> Named:
    """Return the vectors of a file with their names. Raises BadRequest when it holds none."""
    suffix = Path(path).suffix
    if suffix in (".csv", ".tsv"):
        named = _read_csv(path, "\t" if suffix == ".tsv" else ",")
    elif suffix == ".json":
        named = _of_json(path, files.read_json(path))
    else:
        named = _of_tensors(path, read_tensors(path))
    if not named:
        raise BadRequest(f"{path} holds no vectors")
    return named


def read_tensors(path: str) -> dict[str, Any]:
    """Return the arrays of a file by name; nothing in it is run. Raises BadRequest when it cannot be read so."""
    suffix = Path(path).suffix
    try:
        if suffix == ".npy":
            return {"": numpy.load(path, allow_pickle=False)}
        if suffix == ".npz":
            with numpy.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        if suffix == ".safetensors":
            from safetensors.torch import load_file  # NumPy has no bfloat16

            return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}
        import torch

        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as exc:
        raise Unavailable(f"reading {path} needs {exc.name}: pip install 'featurestore[harvest]'") from None
    except Exception as exc:  # each library raises whatever its parser meets
        raise BadRequest(f"{path} is no file of numbers that can be read safely: {first_line(exc)}") from None
    loaded = loaded if isinstance(loaded, dict) else {"": loaded}
    return {str(name): value.float().numpy() for name, value in loaded.items() if hasattr(value, "float")}


def _of_tensors(path: str, tensors: Mapping[str, Any]) -> Named:
    named: Named = []
    for name in sorted(tensors, key=lambda text: files.natural_order(Path(text))):
        array = numpy.asarray(tensors[name])
        if array.dtype.kind not in "fiu":
            raise BadRequest(f"{path}: {name or 'its array'} does not hold numbers")
        if array.ndim == 1:
            named.append((name, array.astype(numpy.float32)))
        elif array.ndim == 2:
            alone = len(array) == 1
            named += [(name if alone else "", row.astype(numpy.float32)) for row in array]
        else:
            raise BadRequest(f"{path}: {name or 'its array'} has shape {array.shape}; vectors or matrices are wanted")
    return named


def _of_json(path: str, content: Any) -> Named:
    if isinstance(content, dict) and isinstance(content.get("vectors"), list):
        content = content["vectors"]
    items = content.items() if isinstance(content, dict) else (("", row) for row in content)
    try:
        return [(str(name), numpy.asarray(row, dtype=numpy.float32).reshape(-1)) for name, row in items]
    except (TypeError, ValueError):
        raise BadRequest(
            f"{path}: an object of names and lists of numbers is wanted, or a list of such lists"
        ) from None


def _read_csv(path: str, separator: str) -> Named:
    text = files.read_all(path).decode("utf-8-sig", errors="replace")
    named: Named = []
    for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator), start=1):
        if not cells:
            continue
        name = "" if _is_number(cells[0]) else cells[0]
        numbers = cells[1:] if name else cells
        if not named and not all(map(_is_number, numbers)):
            continue  # the header
        try:
            named.append((name, numpy.array(numbers, dtype=numpy.float32)))
        except ValueError:
            raise BadRequest(f"{path}, line {number}: a name and numbers are wanted") from None
    return named


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_names(path: Path) -> list[str] | None:
    """Return the names in a file beside the vectors: a line each, or a JSON list; None without one."""
    for name in NAMES:
        for place in (path.with_name(f"{path.stem}.{name}"), path.with_name(name)):
            for suffix in (".txt", ".json"):
                file = place.with_name(place.name + suffix)
                if file.is_file():
                    if suffix == ".txt":
                        return file.read_text("utf-8").splitlines()
                    content = files.read_json(file)
                    return [str(text) for text in content] if isinstance(content, list) else None
    return None
