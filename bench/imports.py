"""python -m bench.imports: importing dashboards, beside merely parsing the same bytes.

Writes batches of Neuronpedia's export (JSON lines, gzip): features with 20 examples of 64 tokens each. Parses every
line with the fastest JSON library that is installed, then imports the files into a new store, in processes of their
own. The ratio is wall time of the import over that of parsing; its target is 2, and that of features a second 5,000.
Then imports a columnar bundle of as many features and examples, of which activation rows a second are counted: five
times what Neuronpedia's own import of such bundles takes in.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy
import pyarrow
import pyarrow.parquet

import featurestore
from bench.support.apart import PROCESSES, apart
from featurestore.extension.without_pandas import block_pandas
from ingest.formats.import_run import ImportPlan, local_sources, run
from ingest.formats.joining.report import DictionaryChange
from ingest.formats.readers import columnar, neuronpedia
from ingest.formats.reading import MOST_PROCESSES

EXAMPLES, TOKENS, ACTIVE = 20, 64, 6
TARGET_FEATURES, TARGET_RATIO, TARGET_BYTES, TARGET_ROWS = 5000, 2.0, 700, 28_000


def write_batches(folder: str, features: int, batch: int) -> None:
    """Write an export of so many features, in batches."""
    draw = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [" " * (draw.random() < 0.6) + "".join(draw.choices(letters, k=draw.randint(2, 7))) for _ in range(20_000)]
    root = Path(folder)
    for kind in ("features", "activations"):
        (root / kind).mkdir(parents=True)
    source = {"id": "8-bench", "modelId": "gpt2-small", "num_prompts": 24_576, "num_tokens_in_prompt": 128}
    (root / "source.jsonl").write_bytes(msgspec.json.encode(source))
    for number, first in enumerate(range(0, features, batch)):
        indexes = range(first, min(first + batch, features))
        for kind, make in (("features", _feature), ("activations", _activations)):
            with gzip.open(root / kind / f"batch-{number}.jsonl.gz", "wb", compresslevel=5) as file:
                for index in indexes:
                    for record in make(index, draw, words):
                        file.write(msgspec.json.encode(record) + b"\n")


def _feature(index: int, draw: random.Random, words: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "modelId": "gpt2-small",
            "layer": "8-bench",
            "index": str(index),
            "maxActApprox": 10.0,
            "frac_nonzero": 0.001,
            "freq_hist_data_bar_heights": [draw.randrange(100) for _ in range(50)],
            "freq_hist_data_bar_values": [round(0.1 + 0.2 * bar, 3) for bar in range(50)],
            "pos_str": draw.choices(words, k=10),
            "pos_values": [round(draw.random(), 3) for _ in range(10)],
            "neg_str": draw.choices(words, k=10),
            "neg_values": [-round(draw.random(), 3) for _ in range(10)],
        }
    ]


def _activations(index: int, draw: random.Random, words: list[str]) -> list[dict[str, Any]]:
    records = []
    for number in range(EXAMPLES):
        values = [0.0] * TOKENS
        for place in draw.sample(range(TOKENS), ACTIVE):
            values[place] = round(10 * draw.random(), 3)
        record = {"id": f"{index}-{number}", "modelId": "gpt2-small", "layer": "8-bench", "index": str(index)}
        record |= {"tokens": draw.choices(words, k=TOKENS), "values": values, "maxValue": max(values), "minValue": 0}  # type: ignore[dict-item]
        record |= {"binMin": -1, "binMax": -1, "binContains": -1, "qualifyingTokenIndex": values.index(max(values))}  # type: ignore[dict-item]
        records.append(record)
    return records


def write_bundle(folder: str, features: int, batch: int) -> None:
    """Write a columnar bundle of so many features, in batches."""
    draw = numpy.random.default_rng(1)
    letters = numpy.array([f"\u0120w{number}" for number in range(20_000)])
    for number, first in enumerate(range(0, features, batch)):
        index = numpy.arange(first, min(first + batch, features))
        place = Path(folder) / "layer_8" / f"batch-{number}.columnar" / "feature_batch_0"
        place.mkdir(parents=True)
        tables = {name: pyarrow.table(columns) for name, columns in _bundle_tables(index, draw, letters).items()}
        for name, table in tables.items():
            pyarrow.parquet.write_table(table, place / f"{name}.parquet")
        counts = {name: table.num_rows for name, table in tables.items()}
        manifest = {"tables": {name: f"{name}.parquet" for name in tables}, "row_counts": counts}
        (place / "manifest.json").write_bytes(msgspec.json.encode(manifest))
        (place.parent / "manifest.json").write_bytes(msgspec.json.encode({"dashboard_output_format": "columnar"}))
    ids = {"model_name": "gpt2-small", "source_set_id": "bench", "source_ids": {"8": "8-bench"}}
    (Path(folder) / "source_ids.json").write_bytes(msgspec.json.encode(ids))


def _bundle_tables(index: numpy.ndarray, draw: numpy.random.Generator, words: numpy.ndarray) -> dict[str, Any]:
    count, rows = len(index), len(index) * EXAMPLES
    values = numpy.zeros((rows, TOKENS))
    active = draw.random((rows, TOKENS)).argsort(axis=1)[:, :ACTIVE]
    numpy.put_along_axis(values, active, draw.random((rows, ACTIVE)).round(3) * 10, axis=1)
    tokens = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(draw.integers(len(words), size=rows * TOKENS).astype(numpy.int32)), pyarrow.array(words)
    )
    ends = pyarrow.array(numpy.arange(rows + 1, dtype=numpy.int32) * TOKENS)
    of_feature = {"feature_index": index}
    bars = {"bar_heights": list(draw.integers(1, 100, (count, 50)).astype(float))}
    bars |= {"bar_values": [[0.1 + 0.2 * bar for bar in range(50)]] * count}
    logits = {f"{end}_token_ids": list(draw.integers(50_000, size=(count, 10))) for end in ("top", "bottom")}
    logits |= {f"{end}_logits": list(draw.random((count, 10))) for end in ("top", "bottom")}
    counts = {"positive_count": numpy.full(count, 9), "valid_count": numpy.full(count, 1 << 20)}
    return {
        "feature_statistics": of_feature | counts | {"max": values.reshape(count, -1).max(axis=1)},
        "feature_tables": of_feature | {"correlated_features_indices": [[1, 2, 3]] * count},
        "activation_histograms": of_feature | bars,
        "logits_histograms": of_feature | bars,
        "logits_tables": of_feature | logits,
        "activation_rows": {
            "feature_index": numpy.repeat(index, EXAMPLES),
            "sequence_index": numpy.tile(numpy.arange(EXAMPLES), count),
            "tokens": pyarrow.ListArray.from_arrays(ends, tokens.dictionary_decode()),
            "values": pyarrow.ListArray.from_arrays(ends, pyarrow.array(values.reshape(-1))),
            "bin_min": numpy.full(rows, -1.0),
            "bin_max": numpy.full(rows, -1.0),
            "bin_contains": numpy.full(rows, -1.0),
            "qualifying_token_index": values.argmax(axis=1),
        },
    }


def find_parser() -> tuple[str, Callable[[bytes], Any]]:
    """Return the name of the fastest JSON library here, and its function."""
    if importlib.util.find_spec("orjson"):
        import orjson

        return "orjson", orjson.loads
    return "msgspec", msgspec.json.Decoder().decode


def parse(folder: str, results: Any) -> None:
    """Measure parsing every line of the batches."""
    name, loads = find_parser()
    began, before, size = time.perf_counter(), _count_processor_seconds(), 0
    for path in sorted(Path(folder).rglob("*.jsonl.gz")):
        with gzip.open(path) as file:
            for line in file:
                loads(line)
                size += len(line)
    results["parse_seconds"], results["parser"] = time.perf_counter() - began, name
    results["parse_processor_seconds"] = _count_processor_seconds() - before
    results["megabytes"] = size / 1e6


def import_batches(folder: str, store: str, results: Any) -> None:
    """Measure importing them."""
    before = _count_processor_seconds()
    seconds, change, sizes = _import(neuronpedia, folder, store)
    results["import_processor_seconds"] = _count_processor_seconds() - before
    kept = sum(sizes.get(table, 0) for table in ("examples", "example_rows", "documents", "tokens", "token_stream"))
    results["import_seconds"], results["features"] = seconds, change.features
    results["bytes_per_activation_row"] = kept / change.examples
    results["peak_rss_mb"] = _measure_peak()


def import_bundle(folder: str, store: str, results: Any) -> None:
    """Measure importing a columnar bundle."""
    seconds, change, _ = _import(columnar, folder, store)
    results["columnar_rows_per_s"], results["columnar_peak_rss_mb"] = change.examples / seconds, _measure_peak()


def _import(form: ModuleType, folder: str, store: str) -> tuple[float, DictionaryChange, dict[str, int]]:
    """Return the seconds of an import, what it did to the one dictionary, and the bytes of the store's tables."""
    block_pandas()  # as the command line does
    plan = ImportPlan(form, folder, local_sources(form.find(folder)), {}, {}, Path(f"{store}.import"))
    with featurestore.create(store) as opened:
        began = time.perf_counter()
        report = run(opened, plan)
        seconds = time.perf_counter() - began
        sizes = opened.info().bytes
    (change,) = report.dictionaries
    return seconds, change, sizes


def _count_processor_seconds() -> float:
    """Return the processor seconds of this process and of those that it waited for; load tells little on them."""
    counts = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(count.ru_utime + count.ru_stime for count in counts)


def _measure_peak() -> float:
    """Return the most megabytes of this process and of those that read files beside it."""
    own, read = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own + read * (min(MOST_PROCESSES, len(os.sched_getaffinity(0))) - 1)


def main() -> None:
    """Measure both, print the figures, and JSON if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=512, help="features in a file")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PROCESSES.Manager() as manager:
        results = manager.dict()
        export = f"{folder}/export"
        apart(write_batches, export, options.features, options.batch)
        apart(parse, export, results)
        apart(import_batches, export, f"{folder}/bench.features", results)
        apart(write_bundle, f"{folder}/bundle", options.features, options.batch)
        apart(import_bundle, f"{folder}/bundle", f"{folder}/columnar.features", results)
        figures = dict(results)
    figures |= {
        "format": neuronpedia.FORMAT,
        "features_per_s": figures["features"] / figures["import_seconds"],
        "parse_ratio": figures["import_seconds"] / figures["parse_seconds"],
    }
    print(
        f"{figures['features']:,} features x {EXAMPLES} x {TOKENS} tokens, {figures['megabytes']:.0f} MB: "
        f"{figures['features_per_s']:,.0f} features a second (target {TARGET_FEATURES:,}); parsing with "
        f"{figures['parser']} takes {figures['parse_seconds']:.2f} s, the import {figures['parse_ratio']:.2f} "
        f"times that (target {TARGET_RATIO:g}); peak {figures['peak_rss_mb']:.0f} MB; "
        f"{figures['bytes_per_activation_row']:.0f} bytes an activation row (target {TARGET_BYTES})"
    )
    print(
        f"a columnar bundle of as many: {figures['columnar_rows_per_s']:,.0f} activation rows a second (target "
        f"{TARGET_ROWS:,}); peak {figures['columnar_peak_rss_mb']:.0f} MB"
    )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
