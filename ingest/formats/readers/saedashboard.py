"""Batches of SAEDashboard (batch-0.json, batch-1.json, ...), with what is known to be distorted in them put right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pyarrow

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch, Windows
from ingest.formats.readers.labels import clean, parse_feature
from ingest.formats.records import activation_tables
from ingest.formats.records.activation_tables import NUMBER_LIST, TEXT_LIST
from ingest.formats.records.dashboard_rows import BadRecord, feature_columns
from ingest.formats.records.windows import drop_filler
from ingest.formats.rejects import Rejects

FORMAT = "saedashboard"
BATCH = re.compile(r"batch-\d+\.json(\.gz)?")
SCHEMA = pyarrow.schema(
    [
        ("feature", pyarrow.int64()),
        ("tokens", TEXT_LIST),
        ("values", NUMBER_LIST),
        ("low", pyarrow.float64()),
        ("high", pyarrow.float64()),
        ("share", pyarrow.float64()),
        ("position", pyarrow.int64()),
        ("extra", pyarrow.string()),
    ]
)
NAMES = {"bin_min": "low", "bin_max": "high", "bin_contains": "share", "qualifying_token_index": "position"}
DECIMALS = 5  # to which SAEDashboard rounds activations


def recognises(path: Path) -> bool:
    """Return whether a path holds batches of SAEDashboard."""
    found = find(str(path))
    return bool(found) and all(BATCH.fullmatch(file.name) for file in found)


def find(path: str) -> list[Path]:
    """Return the batches, in the order of their numbers."""
    if Path(path).is_file():
        return [Path(path)]
    return [file for file in files.find_files(path, "batch-*.json", "batch-*.json.gz") if BATCH.fullmatch(file.name)]


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return whose batches these are, as one line."""
    content = _read_batch(path)
    name = options.get("dictionary") or _dictionary(path, content, options)
    return f"{Path(path).name}: {len(content['features']):,} features of {name}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the features and the windows of one batch. Raises BadRequest when the file is none."""
    content = _read_batch(path)
    dictionary = options.get("dictionary") or _dictionary(path, content, options)
    rows: list[dict[str, Any]] = []
    facts: dict[str, Any] = {"import_tool": "SAEDashboard", "decimals": DECIMALS}
    examples: list[dict[str, Any]] = []
    for number, record in enumerate(content["features"]):
        place = f"features[{number}]"
        try:
            row, its_facts, its_examples = _feature(path, place, record, rejects)
        except BadRecord as exc:
            rejects.add(path, place, str(exc), _excerpt(record))
            continue
        rows.append(row)
        facts |= its_facts
        examples += its_examples
    windows, dropped = _windows(examples)
    yield Batch(dictionary, facts, features=rows, windows=windows, dropped=dropped)


def _read_batch(path: str) -> dict[str, Any]:
    content = files.read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("features"), list):
        raise BadRequest(f"{path} is no batch of SAEDashboard: it has no list of features")
    return content


def _dictionary(path: str, content: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return the id that Neuronpedia gives the source: {model}/{layer}-{set}, with the suffix of the SAE."""
    model, layer, name = (content.get(key) for key in ("model_id", "layer", "sae_set"))
    model = options.get("model") or model
    if not isinstance(model, str) or not model or layer is None or not isinstance(name, str):
        raise BadRequest(f"{path} does not say its model, layer and set: name them with --dictionary MODEL/SOURCE")
    suffix = content.get("sae_id_suffix")
    source = options.get("source") or f"{layer}-{name}" + (f"__{suffix}" if isinstance(suffix, str) and suffix else "")
    return f"{clean(model)}/{clean(source)}"


def _feature(
    path: str, place: str, record: Any, rejects: Rejects
) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return a feature's row, what it says of the dictionary, and its examples. Raises BadRecord."""
    if not isinstance(record, dict):
        raise BadRecord("it is no object")
    feature = parse_feature(record.get("feature_index"))
    if feature is None:
        raise BadRecord("its feature_index is no number")
    prompts, length = record.get("n_prompts_total"), record.get("n_tokens_in_prompt")
    tokens = None
    if isinstance(prompts, int) and isinstance(length, int) and prompts > 0 and length > 0:
        tokens = prompts * length
    row = {"feature": feature} | feature_columns(record, tokens)
    facts: dict[str, Any] = {"prompts": prompts, "context_size": length, "tokens_counted": tokens} if tokens else {}
    if isinstance(record.get("dataset"), str) and record["dataset"]:
        facts["dataset"] = record["dataset"]
    activations = record.get("activations") or []
    if not isinstance(activations, list):
        raise BadRecord("its activations are no list")
    examples = [
        example
        for number, activation in enumerate(activations)
        if (example := _example(path, f"{place}.activations[{number}]", feature, activation, rejects)) is not None
    ]
    tops = [example["high"] for example in examples if example["low"] == -1 and example["high"]]
    if tops and row.get("max_activation") is None and max(tops) > 0:
        row["max_activation"] = max(tops)  # the group of the strongest ends at the feature's maximum
    return row, facts, examples


def _example(path: str, place: str, feature: int, activation: Any, rejects: Rejects) -> dict[str, Any] | None:
    """Return the columns of one example; None where it is rejected."""
    if not isinstance(activation, dict):
        rejects.add(path, place, "it is no object", repr(activation))
        return None
    row = {ours: activation.get(theirs) for theirs, ours in NAMES.items()}
    row |= {"feature": feature, "tokens": activation.get("tokens"), "values": activation.get("values"), "extra": None}
    if activation.get("dfa_values"):
        said = {name: activation[name] for name in activation if name.startswith("dfa_")}
        row["extra"] = msgspec.json.encode(said).decode()
    try:
        table = pyarrow.Table.from_pylist([row], SCHEMA)
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError):
        rejects.add(path, place, "a field has another type than an activation's", _excerpt(activation))
        return None
    for reason in activation_tables.find_problems(table).values():
        rejects.add(path, place, reason, _excerpt(activation))
        return None
    return row


def _windows(examples: list[dict[str, Any]]) -> tuple[Windows | None, dict[str, int]]:
    if not examples:
        return None, {}
    return drop_filler(activation_tables.make_windows(pyarrow.Table.from_pylist(examples, SCHEMA)))


def _excerpt(record: Any) -> str:
    return repr(record)[:400]
