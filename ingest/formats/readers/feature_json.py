"""A JSON file for each feature, in a directory: circuit-tracer's, or those of Anthropic's browsers (A/1 among them)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import DICTIONARY, clean, guess_name, parse_feature
from ingest.formats.records import anthropic_rows
from ingest.formats.records.dashboard_rows import BadRecord
from ingest.formats.rejects import Rejects

FORMAT = "feature-json"
FEATURES = 256  # in a batch


def recognises(path: Path) -> bool:
    """Return whether a path is such a file, or a directory with one."""
    file = path if path.is_file() else next(iter(sorted(path.rglob("*.json"))), None)
    if file is None or not file.name.endswith((".json", ".json.gz")):
        return False
    try:
        content = files.read_json(file)
    except BadRequest:
        return False
    return isinstance(content, dict) and "examples_quantiles" in content


def find(path: str) -> list[Path]:
    """Return the directories that hold the files of one layer each, or a single file."""
    place = Path(path)
    if place.is_file():
        return [place]
    return sorted({file.parent for file in files.find_files(path, "*.json")}, key=files.natural_order)


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return how many files a directory has, as one line."""
    count = len(_list(Path(path)))
    return f"{Path(path).name}: {count:,} file{'s' if count != 1 else ''}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the features of a directory of files, some hundred at once."""
    rows: dict[str, list[dict[str, Any]]] = {}
    examples: dict[str, list[dict[str, Any]]] = {}
    count = 0
    for file in _list(Path(path)):
        place = file.name
        try:
            record = files.read_json(file)
        except BadRequest as exc:
            rejects.add(path, place, "it is not JSON, or damaged", str(exc))
            continue
        try:
            dictionary, feature = _identify(file, record, options)
            row = {"feature": feature} | anthropic_rows.feature_columns(record)
            windows = anthropic_rows.example_rows(path, place, feature, record, rejects)
        except BadRecord as exc:
            rejects.add(path, place, str(exc), repr(record)[:400])
            continue
        rows.setdefault(dictionary, []).append(row)
        examples.setdefault(dictionary, []).extend(windows)
        count += 1
        if count % FEATURES == 0:
            yield from _make(rows, examples)
            rows, examples = {}, {}
    yield from _make(rows, examples)


def _list(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = [file for pattern in ("*.json", "*.json.gz") for file in place.glob(pattern)]
    return sorted(found, key=files.natural_order)


def _make(rows: dict[str, list[dict[str, Any]]], examples: dict[str, list[dict[str, Any]]]) -> Iterator[Batch]:
    for dictionary, features in rows.items():
        windows = anthropic_rows.make_windows(examples.get(dictionary, []))
        yield Batch(dictionary, features=features, windows=windows)


def _identify(file: Path, record: Any, options: Mapping[str, Any]) -> tuple[str, int]:
    """Return the dictionary and the number of a file's feature. Its name may be a Cantor pair of layer and number."""
    if not isinstance(record, dict) or "examples_quantiles" not in record:
        raise BadRecord("it is no object with examples_quantiles")
    stem = parse_feature(file.name.partition(".")[0])
    feature = parse_feature(record.get("index", record.get("feature", stem)))
    if feature is None:
        raise BadRecord("its index is no number")
    if options.get("dictionary"):
        return options["dictionary"], feature
    scan = record.get("transcoder_id")
    if isinstance(scan, str) and DICTIONARY.fullmatch(scan):
        return scan, feature
    layer = record.get("layer")
    if stem == feature == 0 and scan:  # the pair of layer 0 and feature 0
        layer = 0
    if not isinstance(layer, int) and stem is not None and stem != feature:
        pair = invert_cantor(stem)
        layer = pair[0] if pair[1] == feature else None
    parent, name = guess_name(file.parent / "x")[0], file.parent.name
    model = options.get("model") or (scan if isinstance(scan, str) and scan else file.resolve().parent.parent.name)
    source = options.get("source") or (f"layer_{layer}" if isinstance(layer, int) else name or parent)
    return f"{clean(str(model)) or 'model'}/{clean(source)}", feature


def invert_cantor(number: int) -> tuple[int, int]:
    """Return the layer and the feature whose Cantor pair a number is."""
    diagonal = (math.isqrt(8 * number + 1) - 1) // 2
    feature = number - diagonal * (diagonal + 1) // 2
    return diagonal - feature, feature
