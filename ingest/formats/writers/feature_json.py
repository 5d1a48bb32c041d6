"""Features as circuit-tracer's front ends read them: a JSON file for each, or a packed store with an index."""

from __future__ import annotations

import gzip
import itertools
from typing import TYPE_CHECKING, Any

import msgspec

from featurestore import BadRequest
from ingest.formats.output import new_directory
from ingest.formats.readers.circuit_tracer import INDEX, pack
from ingest.formats.writers import records

if TYPE_CHECKING:
    from featurestore import Example, Feature, FeatureStore


def write_files(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write {Cantor pair of layer and index}.json for each feature, all dictionaries in one directory.

    Raises BadRequest when the layer of a dictionary is not known, or two are of one layer.
    """
    layers = _find_layers(store, dictionaries)
    count = 0
    with new_directory(target) as root:
        for layer, dictionary in layers.items():
            for feature in records.find_features(store, dictionary, where, options.get("examples")):
                index = int(feature.id.rpartition("/")[2])
                path = root / f"{(layer + index) * (layer + index + 1) // 2 + index}.json"
                path.write_bytes(msgspec.json.encode(feature_record(dictionary, feature)))
                count += 1
    return {"features": count}


def write_store(
    store: FeatureStore, dictionaries: list[str], where: str, target: str, options: dict[str, Any]
) -> dict[str, int]:
    """Write index.json.gz and layer_N.bin. Features that the condition leaves out are there as dead ones: without a
    record, readers fail. Raises as `write_files` does."""
    layers = _find_layers(store, dictionaries)
    sizes = {row.dictionary: row.d_sae for row in store.dictionaries()}
    index: dict[str, Any] = {}
    count = 0
    with new_directory(target) as root:
        for layer, dictionary in layers.items():
            name = f"layer_{layer}.bin"
            offsets = [0]
            with open(root / name, "wb") as file:
                for feature in records.find_features(store, dictionary, where, options.get("examples")):
                    number = int(feature.id.rpartition("/")[2])
                    _fill(file, offsets, number)
                    offsets.append(offsets[-1] + file.write(pack(_encode(dictionary, feature))))
                    count += 1
                _fill(file, offsets, sizes[dictionary])
            index[str(layer)] = {"filename": name, "offsets": offsets}
        (root / INDEX).write_bytes(gzip.compress(msgspec.json.encode(index), mtime=0))
    return {"features": count, "layers": len(layers)}


def _fill(file: Any, offsets: list[int], number: int) -> None:
    """Write dead features up to a number."""
    for dead in range(len(offsets) - 1, number):
        record = msgspec.json.encode({"index": dead, "examples_quantiles": [], "isDead": True})
        offsets.append(offsets[-1] + file.write(pack(record)))


def _encode(dictionary: str, feature: Feature) -> bytes:
    record = feature_record(dictionary, feature)
    if feature.state == "unharvested" and not feature.examples and not feature.extra:
        record["isDead"] = True
    return msgspec.json.encode(record)


def _find_layers(store: FeatureStore, dictionaries: list[str]) -> dict[int, str]:
    layers: dict[int, str] = {}
    for row in store.dictionaries():
        if row.dictionary in dictionaries:
            if row.layer is None:
                raise BadRequest(f"the layer of {row.dictionary} is not known, and the files are named by it")
            if row.layer in layers:
                raise BadRequest(f"{layers[row.layer]} and {row.dictionary} are both of layer {row.layer}: name one")
            layers[row.layer] = row.dictionary
    return dict(sorted(layers.items()))


def feature_record(dictionary: str, feature: Feature) -> dict[str, Any]:
    """Return the record of a feature."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for example in feature.examples:
        groups.setdefault("Top activations" if example.band == "top" else example.band, []).append(_example(example))
    record: dict[str, Any] = {
        "transcoder_id": dictionary,
        "index": int(feature.id.rpartition("/")[2]),
        "examples_quantiles": [{"quantile_name": name, "examples": rows} for name, rows in groups.items()],
        "top_logits": [effect.token for effect in feature.top_logits],
        "bottom_logits": [effect.token for effect in feature.bottom_logits],
        "top_logit_values": [effect.value for effect in feature.top_logits],
        "bottom_logit_values": [effect.value for effect in feature.bottom_logits],
    }
    if feature.histogram and feature.histogram_edges:
        edges = feature.histogram_edges
        record |= {"act_min": edges[0], "histogram": list(feature.histogram)}
        steps = [high - low for low, high in itertools.pairwise(edges)]
        is_equal = max(steps) - min(steps) < 1e-6 * max(steps)
        if not is_equal or abs(edges[-1] - (feature.max_activation or 0)) > max(steps) / 1000:
            # Readers take bins for equal, and to end at the maximum.
            record |= {"act_buckets": record.pop("histogram"), "act_bucket_edges": list(edges)}
    record |= {"act_min": record.get("act_min", 0.0), "act_max": feature.max_activation or 0.0}
    if feature.density is not None:
        record["activation_frequency"] = feature.density
    return record | records.read_extra(feature.extra)


def _example(example: Example) -> dict[str, Any]:
    row: dict[str, Any] = {
        "tokens": list(example.tokens),
        "tokens_acts_list": list(example.activations),
        "train_token_ind": 0 if example.position is None else example.position - example.start,
        "is_repeated_datapoint": bool(example.repeated),
    }
    return row | records.read_extra(example.extra)
