"""Atoms of OpenAI's sae-viewer: a JSON file for each feature, with a histogram, and strongest and random sequences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import clean, parse_feature
from ingest.formats.records import anthropic_rows
from ingest.formats.records.dashboard_rows import MOST_FLOAT, BadRecord
from ingest.formats.rejects import Rejects

FORMAT = "sae-viewer"
FEATURES = 256
BIN = 0.2  # width of a bin of the histogram
MOST_BINS = 4096
GROUPS = {"top": "top", "random": "random"}
EXTRA = ("mean_act", "mean_act_squared", "skew", "kurtosis")
EXTRA_SEQUENCE = ("doc_id", "idx", "ablate_loss_diff", "kl")


def recognises(path: Path) -> bool:
    """Return whether a path is an atom, or a directory with one."""
    file = path if path.is_file() else next(iter(sorted(path.rglob("*.json"))), None)
    if file is None or not file.name.endswith(".json"):
        return False
    try:
        content = files.read_json(file)
    except BadRequest:
        return False
    return isinstance(content, dict) and {"density", "top", "random"} <= set(content)


def find(path: str) -> list[Path]:
    """Return the directories with atoms, or a single file."""
    place = Path(path)
    return [place] if place.is_file() else sorted({file.parent for file in files.find_files(path, "*.json")})


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return how many atoms a directory has, as one line."""
    return f"{Path(path).name}: {len(_list(Path(path))):,} atoms of {_dictionary(Path(path), options)}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the atoms of a directory, some hundred at once."""
    dictionary = _dictionary(Path(path), options)
    rows: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for file in _list(Path(path)):
        feature = parse_feature(file.name.partition(".")[0])
        try:
            record = files.read_json(file)
            if feature is None or not isinstance(record, dict) or "top" not in record:
                raise BadRecord("it is no atom")
            row = {"feature": feature} | _columns(record)
            windows = _examples(path, file.name, feature, record, rejects)
        except (BadRecord, BadRequest) as exc:
            rejects.add(path, file.name, str(exc) if isinstance(exc, BadRecord) else "it is not JSON, or damaged")
            continue
        rows.append(row)
        examples += windows
        if len(rows) >= FEATURES:
            yield Batch(dictionary, features=rows, windows=anthropic_rows.make_windows(examples))
            rows, examples = [], []
    yield Batch(dictionary, features=rows, windows=anthropic_rows.make_windows(examples))


def _list(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    # An ablated file repeats its atom with more beside it.
    found = [file for file in place.glob("*.json") if not file.stem.endswith("-ablated")]
    return sorted(found, key=files.natural_order)


def _dictionary(place: Path, options: Mapping[str, Any]) -> str:
    """Return model/source: the subject, and the path below it, as in gpt2-small/v5_32k-layer_8-resid_post_mlp."""
    if options.get("dictionary"):
        return str(options["dictionary"])
    folder = (place if place.is_dir() else place.parent).resolve()
    parts = [part for part in folder.parts if part not in ("/", "atoms")]
    at = parts.index("viewer") + 1 if "viewer" in parts else max(0, len(parts) - 2)
    model, rest = (parts[at : at + 1] or ["model"])[0], parts[at + 1 :] or ["atoms"]
    return f"{clean(options.get('model') or model)}/{clean(options.get('source') or '-'.join(rest))}"


def _columns(record: Mapping[str, Any]) -> dict[str, Any]:
    density = record.get("density")
    if not isinstance(density, int | float) or isinstance(density, bool) or not 0 <= density <= 1:
        raise BadRecord("its density is no share")
    extra = {name: record[name] for name in EXTRA if isinstance(record.get(name), int | float)}
    row: dict[str, Any] = {"density": float(density)}
    histogram = record.get("hist")
    if isinstance(histogram, dict) and histogram:
        try:
            counts = {int(number): int(count) for number, count in histogram.items()}
        except (TypeError, ValueError, OverflowError):
            raise BadRecord("its histogram has bins that are no numbers") from None
        low, high = min(counts), max(counts)
        if high - low < MOST_BINS and min(counts.values()) >= 0:
            row["histogram"] = [counts.get(number, 0) for number in range(low, high + 1)]
            row["histogram_edges"] = [low * BIN, (high + 1) * BIN]
        else:
            extra["hist"] = histogram
    tops = [item.get("act") for item in record.get("top") or [] if isinstance(item, dict)]
    known = [value for value in tops if isinstance(value, int | float)]
    if any(abs(value) > MOST_FLOAT for value in known):
        raise BadRecord("an activation is no number of 32 bits")
    row["max_activation"] = max(known) if known and max(known) > 0 else None
    row["extra"] = msgspec.json.encode(extra).decode() if extra else None
    return row


def _examples(path: str, place: str, feature: int, record: Mapping[str, Any], rejects: Rejects) -> list[dict[str, Any]]:
    """Return the sequences of an atom as example rows."""
    groups = []
    for group, band in GROUPS.items():
        sequences = [item for item in record.get(group) or [] if isinstance(item, dict)]
        examples = [
            {"tokens": item.get("tokens"), "tokens_acts_list": item.get("acts")}
            | {name: item[name] for name in EXTRA_SEQUENCE if name in item}
            for item in sequences
        ]
        groups.append({"quantile_name": band, "examples": examples})
    return anthropic_rows.example_rows(path, place, feature, {"examples_quantiles": groups}, rejects)
