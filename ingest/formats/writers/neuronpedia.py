"""Neuronpedia's layouts: an export as in its public bucket, and the bodies that its upload takes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ingest.formats.output import new_directory
from ingest.formats.writers import records

if TYPE_CHECKING:
    from featurestore import Dictionary, Feature, FeatureStore

FORMAT = "neuronpedia"
FEATURES = 1024  # in a batch of an export
UPLOADED = 128  # at most in a body of the upload
MOST_LABEL, MOST_LOGITS = 512, 20  # of an uploaded feature


def write(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write model/source/{features,activations,explanations}/batch-N.jsonl.gz and source.jsonl; returns the counts."""
    counts = {"features": 0, "activations": 0, "explanations": 0}
    with new_directory(target) as root:
        for dictionary in _choose(store, dictionaries):
            folder = root / dictionary.model / dictionary.source
            folder.mkdir(parents=True)
            (folder / "source.jsonl").write_bytes(msgspec.json.encode(_source(dictionary)) + b"\n")
            found = records.find_features(store, dictionary.dictionary, where, options.get("examples"))
            for number, features in enumerate(_batches(found, FEATURES)):
                for kind, rows in _rows(dictionary, features).items():
                    counts[kind] += _write_lines(folder / kind / f"batch-{number}.jsonl.gz", rows)
    return counts


def write_upload(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write bodies of POST /api/feature/upload-batch, batch-N.json, of at most 128 features with examples each."""
    counts = {"features": 0, "batches": 0}
    with new_directory(target) as root:
        for dictionary in _choose(store, dictionaries):
            folder = root / dictionary.model / dictionary.source
            folder.mkdir(parents=True)
            found = records.find_features(store, dictionary.dictionary, where, options.get("examples"))
            with_examples = (feature for feature in found if feature.examples)
            for number, features in enumerate(_batches(with_examples, UPLOADED)):
                body = {"modelId": dictionary.model, "source": dictionary.source}
                body |= {"features": [_make_upload(feature) for feature in features]}  # type: ignore[dict-item]
                (folder / f"batch-{number}.json").write_bytes(msgspec.json.encode(body))
                counts["features"] += len(features)
                counts["batches"] += 1
    return counts


def _choose(store: FeatureStore, dictionaries: list[str]) -> list[Dictionary]:
    return [dictionary for dictionary in store.dictionaries() if dictionary.dictionary in dictionaries]


def _batches(features: Iterator[Feature], size: int) -> Iterator[list[Feature]]:
    while batch := list(islice(features, size)):
        yield batch


def _rows(dictionary: Dictionary, features: list[Feature]) -> dict[str, list[dict[str, Any]]]:
    """Return the records of features by kind. A feature of which nothing but its labels is known has no record."""
    known = [feature for feature in features if feature.state != "unharvested" or feature.top_logits or feature.extra]
    return {
        "features": [records.feature_record(dictionary, feature) for feature in known],
        "activations": [
            records.activation_record(dictionary, feature, number, example)
            for feature in features
            for number, example in enumerate(feature.examples)
        ],
        "explanations": [row for feature in features for row in records.explanation_records(dictionary, feature)],
    }


def _source(dictionary: Dictionary) -> dict[str, Any]:
    row: dict[str, Any] = {"id": dictionary.source, "modelId": dictionary.model, "dataset": dictionary.dataset}
    if dictionary.prompts and dictionary.context_size:
        row |= {"num_prompts": dictionary.prompts, "num_tokens_in_prompt": dictionary.context_size}
    return row


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> int:
    if rows:
        path.parent.mkdir(exist_ok=True)
        with gzip.GzipFile(path, "wb", compresslevel=5, mtime=0) as file:
            for row in rows:
                file.write(msgspec.json.encode(row) + b"\n")
    return len(rows)


def _make_upload(feature: Feature) -> dict[str, Any]:
    """Return one feature as the upload takes it."""
    activations = []
    for example in feature.examples:
        activation: dict[str, Any] = {"tokens": example.tokens, "values": example.activations}
        if example.band_low is not None and example.band_high is not None:
            activation |= {"quantileMin": example.band_low, "quantileMax": example.band_high}
        activations.append(activation)
    row: dict[str, Any] = {"index": int(feature.id.rpartition("/")[2]), "activations": activations}
    if feature.density is not None:
        row["density"] = feature.density
    for name, effects in (("topLogits", feature.top_logits), ("bottomLogits", feature.bottom_logits)):
        if effects:
            row[name] = [{"token": effect.token, "value": effect.value} for effect in effects[:MOST_LOGITS]]
    if feature.labels:
        row["explanations"] = [{"text": label.label[:MOST_LABEL]} for label in feature.labels]
    return row
