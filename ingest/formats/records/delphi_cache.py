"""A split of Delphi's cache: sparse activations of a span of features, from which every statistic is counted again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pyarrow

import featurestore
from featurestore import BadRequest, Unavailable
from featurestore.extension.text import first_line
from ingest.formats import files
from ingest.formats.batches import Batch, Windows
from ingest.formats.rejects import Rejects

WINDOW = 32  # tokens of a window, as Delphi shows them
TOP = 20  # windows of a feature that are kept
OCTAVE_BINS = 4


def read_split(path: Path, dictionary: str, tokenizer: str | None, rejects: Rejects) -> Iterator[Batch]:
    """Yield the statistics of the features of a split, and the windows around their strongest activations.

    `tokenizer` is a directory or hub name; without one, tokens are shown by their ids. Raises BadRequest when the file
    is damaged.
    """
    arrays = _load(path)
    first, last = (int(number) for number in path.stem.split("_"))
    locations, activations = arrays["locations"].astype(numpy.int64), arrays["activations"].astype(numpy.float32)
    tokens = arrays.get("tokens")
    _check(path, locations, activations, tokens, last - first + 1)
    bad = ~numpy.isfinite(activations)
    for row in numpy.flatnonzero(bad)[:1000].tolist():
        rejects.add(str(path), f"activation {row}", "it is no finite number")
    locations, activations = locations[~bad], activations[~bad]
    counted = int(tokens.size) if tokens is not None else 0
    width = int(tokens.shape[1]) if tokens is not None else int(locations[:, 1].max(initial=0)) + 1
    facts = _read_facts(path.parent) | {"import_tool": "delphi", "context_size": width}
    if counted:
        facts |= {"tokens_counted": counted, "prompts": len(tokens)}  # type: ignore[arg-type]
    features = _statistics(locations, activations, first, last - first + 1, counted, width)
    yield Batch(dictionary, facts, features=features)
    if tokens is not None and len(activations):
        yield Batch(dictionary, windows=_windows(locations, activations, tokens, first, tokenizer))


def _load(path: Path) -> dict[str, Any]:
    try:
        from safetensors.numpy import load_file

        arrays: dict[str, Any] = load_file(path)
    except ImportError:
        raise Unavailable(f"reading {path} needs safetensors: pip install 'featurestore[harvest]'") from None
    except Exception as exc:  # the library raises whatever its parser meets
        raise BadRequest(f"{path} cannot be read: {first_line(exc)}; fetch it again") from None
    if not {"locations", "activations"} <= set(arrays):
        raise BadRequest(f"{path} has no locations and activations: it is no cache of Delphi")
    return arrays


def _check(path: Path, locations: Any, activations: Any, tokens: Any, span: int) -> None:
    if locations.ndim != 2 or locations.shape[1] != 3 or len(locations) != len(activations):
        raise BadRequest(f"{path}: its locations {locations.shape} do not fit its activations {activations.shape}")
    if len(locations) and locations[:, 2].max() >= span:
        raise BadRequest(f"{path}: it has features beyond those of its name")
    if tokens is not None:
        if tokens.ndim != 2:
            raise BadRequest(f"{path}: its tokens have shape {tokens.shape}; sequences of one length are wanted")
        if len(locations) and (locations[:, 0].max() >= len(tokens) or locations[:, 1].max() >= tokens.shape[1]):
            raise BadRequest(f"{path}: it has places beyond its tokens")


def _read_facts(folder: Path) -> dict[str, Any]:
    config = folder / "config.json"
    content = files.read_json(config) if config.is_file() else {}
    content = content if isinstance(content, dict) else {}
    dataset = content.get("dataset_repo") or content.get("dataset")
    return {"dataset": dataset if isinstance(dataset, str) else None, "hook_point": folder.name}


def _statistics(
    locations: numpy.ndarray, activations: numpy.ndarray, first: int, span: int, counted: int, width: int
) -> pyarrow.Table:
    """Return rows of stored.features for a span of features."""
    latent = locations[:, 2]
    active = numpy.bincount(latent, minlength=span)
    contexts = numpy.unique(locations[:, [2, 0]], axis=0)[:, 0]
    values = activations.astype(numpy.float64)
    total, squares = (numpy.bincount(latent, weights=values**power, minlength=span) for power in (1, 2))
    most = numpy.full(span, -numpy.inf)
    numpy.maximum.at(most, latent, values)
    place = locations[:, 0] * width + locations[:, 1]
    earliest, latest = numpy.full(span, numpy.iinfo(numpy.int64).max), numpy.full(span, -1)
    numpy.minimum.at(earliest, latent, place)
    numpy.maximum.at(latest, latent, place)
    dead = active == 0
    with numpy.errstate(divide="ignore", invalid="ignore"):
        mean = total / active
        spread = numpy.sqrt(numpy.maximum(squares / active - mean**2, 0))
        bins = numpy.floor(OCTAVE_BINS * (numpy.log2(numpy.abs(values)) + 6))
    bins = numpy.clip(bins, 0, featurestore.HISTOGRAM_BINS - 1).astype(numpy.int64)
    counts = numpy.bincount(latent * featurestore.HISTOGRAM_BINS + bins, minlength=span * featurestore.HISTOGRAM_BINS)
    ends = numpy.arange(0, (span + 1) * featurestore.HISTOGRAM_BINS, featurestore.HISTOGRAM_BINS, dtype=numpy.int32)
    columns = {
        "feature": numpy.arange(first, first + span, dtype=numpy.int32),
        "active_tokens": active,
        "active_contexts": numpy.bincount(contexts, minlength=span),
        "mean_activation": pyarrow.array(mean.astype(numpy.float32), mask=dead),
        "std_activation": pyarrow.array(spread.astype(numpy.float32), mask=dead),
        "max_activation": pyarrow.array(most.astype(numpy.float32), mask=dead),
        "first_active": pyarrow.array(earliest, mask=dead),
        "last_active": pyarrow.array(latest, mask=dead),
        "histogram": pyarrow.ListArray.from_arrays(ends, pyarrow.array(counts)),
    }
    if counted:
        columns["density"] = active / counted
    return pyarrow.table(columns)


def _windows(
    locations: numpy.ndarray, activations: numpy.ndarray, tokens: numpy.ndarray, first: int, tokenizer: str | None
) -> Windows:
    """Return the windows around the strongest activations of each feature, one of each sequence."""
    sequence, latent = locations[:, 0], locations[:, 2]
    order = numpy.lexsort((-activations, sequence, latent))
    fresh = numpy.ones(len(order), bool)
    fresh[1:] = (numpy.diff(latent[order]) != 0) | (numpy.diff(sequence[order]) != 0)
    peaks = order[fresh]  # the strongest of each feature in each sequence
    peaks = peaks[numpy.lexsort((-activations[peaks], latent[peaks]))]
    starts = numpy.ones(len(peaks), bool)
    starts[1:] = numpy.diff(latent[peaks]) != 0
    places = numpy.arange(len(peaks))
    peaks = peaks[places - numpy.maximum.accumulate(numpy.where(starts, places, 0)) < TOP]
    width = tokens.shape[1]
    size = min(WINDOW, width)
    begin = numpy.clip(locations[peaks, 1] - size // 2, 0, width - size)
    columns = begin[:, None] + numpy.arange(size)
    ids = tokens[sequence[peaks][:, None], columns].astype(numpy.int64)
    # Activations are found by one number for feature, sequence and position.
    keys = (latent * len(tokens) + sequence) * width + locations[:, 1]
    by_key = numpy.argsort(keys)
    wanted = ((latent[peaks] * len(tokens) + sequence[peaks]) * width)[:, None] + columns
    at = numpy.minimum(numpy.searchsorted(keys[by_key], wanted), len(keys) - 1)
    values = numpy.where(keys[by_key][at] == wanted, activations[by_key][at], 0)
    nothing = numpy.full(len(peaks), numpy.nan)
    return Windows(
        feature=first + latent[peaks],
        length=numpy.full(len(peaks), size, numpy.int64),
        tokens=_texts(ids.reshape(-1), tokenizer),
        values=values.reshape(-1).astype(numpy.float32),
        position=locations[peaks, 1] - begin,
        band=["top"] * len(peaks),
        low=nothing,
        high=nothing,
    )


def _texts(ids: numpy.ndarray, tokenizer: str | None) -> pyarrow.DictionaryArray:
    """Return the bytes of tokens; without a tokenizer their ids, as in "<123>"."""
    known, codes = numpy.unique(ids, return_inverse=True)
    pieces = [f"<{id}>".encode() for id in known.tolist()]
    if tokenizer:
        from ingest.model.vocabulary import token_bytes

        vocabulary = token_bytes(load_tokenizer(tokenizer))
        pieces = [vocabulary[id] if id < len(vocabulary) else f"<{id}>".encode() for id in known.tolist()]
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes.astype(numpy.int32)), pyarrow.array(pieces))


def load_tokenizer(name: str) -> Any:
    """Return a tokenizer of transformers. Raises Unavailable when it cannot be loaded."""
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except ImportError:
        raise Unavailable("reading tokens needs transformers: pip install 'featurestore[harvest]'") from None
    except (OSError, ValueError) as exc:
        raise Unavailable(f"the tokenizer {name} cannot be loaded: {first_line(exc)}") from None
