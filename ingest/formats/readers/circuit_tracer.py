"""circuit-tracer's stores of features: index.json.gz, and a file of packed records for each layer."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import clean, parse_feature
from ingest.formats.records import anthropic_rows
from ingest.formats.records.dashboard_rows import BadRecord
from ingest.formats.rejects import Rejects

FORMAT = "circuit-tracer"
INDEX = "index.json.gz"
FEATURES = 512  # in a batch
MOST_RECORD = 64 << 20  # bytes of one unpacked record


def recognises(path: Path) -> bool:
    """Return whether a directory has the index of such a store."""
    return _find_index(path) is not None


def find(path: str) -> list[Path]:
    """Return the files of the layers that the index names. Raises BadRequest when one is missing."""
    index = _find_index(Path(path))
    if index is None:
        raise BadRequest(f"{path} has no {INDEX}: it is no store of features")
    found = [index.parent / entry["filename"] for _, entry in sorted(_read_index(index).items())]
    missing = [file.name for file in found if not file.is_file()]
    if missing:
        raise BadRequest(f"{index} names files that are missing: {', '.join(missing[:5])}; fetch them")
    return found


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return how many features a layer's file has, as one line."""
    layer, offsets = _entry(Path(path))
    return f"{Path(path).name}: {len(offsets) - 1:,} features of {_dictionary(Path(path), layer, options)}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the features of a layer."""
    layer, offsets = _entry(Path(path))
    dictionary = _dictionary(Path(path), layer, options)
    facts = {"d_sae": len(offsets) - 1, "layer": layer, "import_tool": "circuit-tracer", "kind": "transcoder"}
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    with open(path, "rb") as file:
        for feature, (begin, end) in enumerate(itertools.pairwise(offsets)):
            if begin == end:
                continue  # a feature that never fired
            place = f"feature {feature}"
            try:
                file.seek(begin)
                record = _unpack(file.read(end - begin))
                index = parse_feature(record.get("index", feature))
                if index != feature:
                    raise BadRecord("its index is not its place in the file")
                row = {"feature": feature} | anthropic_rows.feature_columns(record)
                windows = anthropic_rows.example_rows(path, place, feature, record, rejects)
            except BadRecord as exc:
                rejects.add(path, place, str(exc))
                continue
            if not record.get("isDead"):
                rows.append(row)
                examples += windows
            if len(rows) >= FEATURES:
                yield Batch(dictionary, facts, features=rows, windows=anthropic_rows.make_windows(examples))
                rows, examples = [], []
    yield Batch(dictionary, facts, features=rows, windows=anthropic_rows.make_windows(examples))


def _unpack(content: bytes) -> dict[str, Any]:
    """Return the record in its slot: a length, then JSON in gzip or zlib. Raises BadRecord."""
    if len(content) < 4:
        raise BadRecord("its record is cut short")
    (size,) = struct.unpack_from("<I", content)
    packed = content[4 : 4 + size]
    if len(packed) < size:
        raise BadRecord("its record is cut short")
    try:
        unpacker = zlib.decompressobj(wbits=47)  # either header
        text = unpacker.decompress(packed, MOST_RECORD)
    except zlib.error:
        raise BadRecord("its record cannot be unpacked") from None
    if unpacker.unconsumed_tail:
        raise BadRecord("its record is larger than a feature can be")
    if not unpacker.eof:
        raise BadRecord("its record is cut short")
    try:
        record = files.parse_json(text, "record")
    except BadRequest:
        raise BadRecord("its record is not JSON") from None
    if not isinstance(record, dict):
        raise BadRecord("its record is no object")
    return record


def _find_index(path: Path) -> Path | None:
    places = [path] if path.name == INDEX else [path / INDEX, path / "features" / INDEX]
    return next((place for place in places if place.is_file()), None)


def _read_index(index: Path) -> dict[int, dict[str, Any]]:
    """Return the file and the offsets of each layer. Other keys, such as a version, are passed over."""
    content = files.read_json(index)
    if not isinstance(content, dict):
        raise BadRequest(f"{index} is no index: an object is wanted")
    layers: dict[int, dict[str, Any]] = {}
    for key, entry in content.items():
        if not str(key).isdigit():
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str) or "/" in entry["filename"]:
            raise BadRequest(f"{index}: layer {key} names no file beside it")
        offsets = entry.get("offsets")
        if not isinstance(offsets, list) or not all(isinstance(offset, int) for offset in offsets) or len(offsets) < 2:
            raise BadRequest(f"{index}: layer {key} has no offsets")
        if any(a > b for a, b in itertools.pairwise(offsets)) or offsets[0] < 0:
            raise BadRequest(f"{index}: the offsets of layer {key} do not ascend")
        layers[int(key)] = entry
    if not layers:
        raise BadRequest(f"{index} names no layers")
    return layers


def _entry(path: Path) -> tuple[int, list[int]]:
    for layer, entry in _read_index(path.parent / INDEX).items():
        if entry["filename"] == path.name:
            return layer, entry["offsets"]
    raise BadRequest(f"{path.parent / INDEX} does not name {path.name}")


def _dictionary(path: Path, layer: int, options: Mapping[str, Any]) -> str:
    folder = path.resolve().parent
    name = folder.parent.name if folder.name == "features" else folder.name
    if options.get("dictionary"):
        model, _, source = options["dictionary"].partition("/")
        return (
            f"{model}/{source.replace('{layer}', str(layer))}" if "{layer}" in source else f"{model}/{layer}-{source}"
        )
    model = options.get("model") or name
    return f"{clean(model) or 'model'}/{layer}-{clean(options.get('source') or 'transcoder')}"


def pack(record: bytes) -> bytes:
    """Return a record as it stands in a layer's file."""
    packed = gzip.compress(record, 6, mtime=0)
    return struct.pack("<I", len(packed)) + packed
