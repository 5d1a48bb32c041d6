"""python -m bench.store: costs of a store of millions of features, in milliseconds and bytes.

Builds a synthetic store (bench/support/synthetic.py) of --features and one of 100,000 features, and prints for both:
latency of one feature's whole page; aggregates over all features beside the same ones over a native DuckDB table; bytes
per feature; time from opening to the first answer, in a new process; and speed of writing. With --features 0 it
measures the view `examples` over a vocabulary of 262,144 alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow

import featurestore
from bench.support import synthetic
from featurestore.extension.progress import show_progress

AGGREGATES = {
    "dead fraction by layer": "SELECT layer, avg((state = 'dead')::INT) FROM {f} GROUP BY layer",
    "density outliers": "SELECT dictionary, feature, density FROM {f} ORDER BY density DESC LIMIT 20",
    "histogram of log density": "SELECT floor(log10(density) * 4), count(*) FROM {f} WHERE density > 0 GROUP BY 1",
    "labelled share by dictionary": "SELECT dictionary, avg(has_label::INT) FROM {f} GROUP BY dictionary",
    "quantiles of the maximum by layer": "SELECT layer, quantile_cont(max_activation, [0.1, 0.5, 0.9]) FROM {f} "
    "GROUP BY 1",
    "labels with a word": "SELECT count(*) FROM {f} WHERE label LIKE '%kato%' AND density < 0.001",
    "most frequent labels": "SELECT label, count(*) n FROM {f} GROUP BY label ORDER BY n DESC, label LIMIT 10",
    "rare and strong": "SELECT count(*) FROM {f} WHERE density < 1e-5 AND max_activation > 20",
}
COLUMNS = "dictionary, feature, layer, density, active_tokens, max_activation, label, has_label, state"
PAGES = 300
OPEN = """
import sys, time
began = time.perf_counter()
import featurestore
store = featurestore.connect(sys.argv[1])
page = store.feature(sys.argv[2])
first = time.perf_counter() - began
rows = store.sql("SELECT count(*) FROM features WHERE density > 0.001")
print(first, time.perf_counter() - began)
"""


def main() -> None:
    """Build the stores, measure, and print JSON if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64, help="width of decoder vectors; 0 leaves them out")
    parser.add_argument("--keep", type=Path, help="build the stores here, use those that are there, and leave them")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        figures = measure(folder, options.features, options.dim)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    if options.json:
        print(json.dumps(figures))


def measure(folder: Path, features: int, dim: int) -> dict[str, Any]:
    """Measure every figure and print it at once."""
    report(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, DuckDB {duckdb.__version__}"
    )
    wide = wide_vocabulary(folder)
    if not features:
        return wide
    small, _ = open_store(folder, 100_000, dim)
    store, rate = open_store(folder, features, dim)
    info = store.info()
    figures: dict[str, Any] = {"features": features, "dim": dim} | wide
    if rate:
        report(f"written at {rate:,.0f} features/s, checked against the schema, 20 examples each")
        figures["write_features_per_s"] = round(rate)
    figures |= sizes(info, features)
    figures |= opening(store, features)
    few = pages(small, 100_000)
    many = pages(store, features)
    peer = plain_page(store, features)
    report(
        f"page of a feature    p50 {many[0]:.1f} ms, p95 {many[1]:.1f} ms at {features:,} features; p50 {few[0]:.1f} "
        "ms at "
        f"100,000 ({many[0] / few[0]:.2f}x); plain DuckDB on the same files, statistics alone: {peer:.0f} ms"
    )
    figures |= {
        "page_p50_ms": round(many[0], 2),
        "page_p95_ms": round(many[1], 2),
        "page_p50_ms_100k": round(few[0], 2),
    }
    figures["sql_ratio_native"] = aggregates(store)
    return figures


def open_store(folder: Path, features: int, dim: int) -> tuple[featurestore.Store, float | None]:
    """Returns the store and the features written per second (None if it existed); builds and compacts it."""
    path = folder / f"{features}.features"
    if path.exists():
        return featurestore.Store(path), None
    began = time.perf_counter()
    with show_progress() as progress:
        store = synthetic.build(path, features, dim, progress(f"writing {features:,} features", features))
    took = time.perf_counter() - began
    began = time.perf_counter()
    store.compact()
    report(f"{features:,} features written in {took:.0f} s, compacted in {time.perf_counter() - began:.0f} s")
    return store, features / took


def wide_vocabulary(folder: Path) -> dict[str, Any]:
    """Time and memory of reading 20 and 2,000 rows of the view `examples` over a vocabulary of 262,144 tokens."""
    path = folder / "wide.features"
    store = featurestore.Store(path) if path.exists() else synthetic.build_wide(path)
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    few = best(lambda: store.sql("FROM examples WHERE feature = 3"))
    many = best(lambda: store.sql("FROM examples"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began) / 1024
    report(
        f"view examples        {1000 * few:.0f} ms for 20 rows, {1000 * many:.0f} ms for {synthetic.WIDE_EXAMPLES:,} "
        f"of a vocabulary of {synthetic.WIDE_VOCABULARY:,}; memory grew by {grown:.0f} MB"
    )
    return {"examples_20_ms": round(1000 * few, 1), "examples_2000_ms": round(1000 * many, 1)}


def sizes(info: featurestore.StoreInfo, features: int) -> dict[str, Any]:
    """Bytes per feature."""
    of = {table: size / features for table, size in info.bytes.items()}
    shared = sum(of.get(table, 0) for table in ("documents", "tokens", "token_stream", "tokenizers"))
    plain = of["features"] + of["feature_rows"] + of["labels"] + of["dictionaries"]
    report(
        f"bytes per feature    {plain:,.0f} (statistics {of['features']:,.0f}, the copy for pages "
        f"{of['feature_rows']:,.0f}, labels {of['labels']:,.0f}); "
        f"with 20 examples of 64 tokens {plain + of['examples'] + shared:,.0f}; vectors "
        f"{of.get('decoder_vectors', 0):,.0f}"
    )
    return {
        "bytes_per_feature": round(plain, 1),
        "bytes_per_feature_with_examples": round(plain + of["examples"] + shared, 1),
        "vector_bytes_per_feature": round(of.get("decoder_vectors", 0), 1),
    }


def opening(store: featurestore.FeatureStore, features: int) -> dict[str, Any]:
    """Seconds from the import to the first page, and to the first answer of SQL, in a new process."""
    id = next(synthetic.feature_ids(features, 1, seed=3))
    runs = []
    for _ in range(3):
        process = subprocess.run(
            [sys.executable, "-c", OPEN, store.location, id], capture_output=True, text=True, check=True
        )
        runs.append([float(x) for x in process.stdout.split()])
    page, sql = (statistics.median(column) for column in zip(*runs, strict=True))
    report(f"open to first answer {page:.2f} s for a page, {sql:.2f} s for a page and a count by SQL, imports included")
    return {"open_first_answer_s": round(page, 3), "open_page_and_sql_s": round(sql, 3)}


def pages(store: featurestore.FeatureStore, features: int) -> tuple[float, float]:
    """p50 and p95 of a feature's whole page with its 20 examples, in ms, features drawn at random."""
    for id in synthetic.feature_ids(features, 20, seed=2):
        store.feature(id)
    took = []
    for id in synthetic.feature_ids(features, PAGES):
        began = time.perf_counter()
        page = store.feature(id)
        took.append(1000 * (time.perf_counter() - began))
        assert len(page.examples) == synthetic.EXAMPLES and page.label
    return statistics.median(took), statistics.quantiles(took, n=20)[-1]


def plain_page(store: featurestore.FeatureStore, features: int) -> float:
    """p50 in ms of reading the row of one feature by plain DuckDB over all files."""
    con = duckdb.connect()
    con.execute("SET parquet_metadata_cache = true").fetchall()
    files = f"{store.location}/features/**/*.parquet"
    took = []
    for id in synthetic.feature_ids(features, 12):
        dictionary, _, feature = id.rpartition("/")
        began = time.perf_counter()
        con.execute(
            "FROM read_parquet(?) WHERE dictionary = ? AND feature = ?", [files, dictionary, int(feature)]
        ).fetchall()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took[2:])


def aggregates(store: featurestore.FeatureStore) -> float:
    """Ratio of the time of all aggregates over the store to that over a native DuckDB table of the same rows."""
    native = duckdb.connect()
    rows = store.stream(f"SELECT {COLUMNS} FROM features")
    native.register("rows", pyarrow.RecordBatchReader.from_stream(rows))
    native.execute("CREATE TABLE features AS FROM rows").fetchall()
    total, peer = 0.0, 0.0
    for name, statement in AGGREGATES.items():
        store_s = best(lambda: store.sql(statement.format(f="features")))  # noqa: B023 - called at once
        native_s = best(lambda: native.sql(statement.format(f="features")).to_arrow_table())  # noqa: B023
        total, peer = total + store_s, peer + native_s
        report(f"  {name:36} {1000 * store_s:8.1f} ms, native {1000 * native_s:8.1f} ms ({store_s / native_s:.2f}x)")
    report(f"aggregate SQL        {total / peer:.2f}x a native table, all together")
    return round(total / peer, 3)


def best(run: Callable[[], object]) -> float:
    """Shortest of three runs in seconds, after one that warms up."""
    run()
    took = []
    for _ in range(3):
        began = time.perf_counter()
        run()
        took.append(time.perf_counter() - began)
    return min(took)


def report(line: str) -> None:
    """Print at once, because a run takes minutes."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
