"""Nearest vectors side by side: `python -m bench.search [--features N] [--dim D] [--json]`.

Builds clustered vectors shaped like decoder directions (bench/support/decoders.py), then runs our index and each peer
that is installed on the same files and queries, each in a new process, peers at the least effort that reaches our
recall. Prints build time, memory, latency and recall, without filters and with random ones. `--sizes 100000,1000000`
runs our index at several sizes and extrapolates the growth to larger ones. With --json the last line is one object.

Queries are new draws from the families the vectors are of. All are asked once untimed and once timed, one at a time,
so vectors that are compared exactly are in the system's cache, as in a service that has run for a while.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy

from bench.support.engines import ENGINES, Engine, StoreIndex
from bench.support.search_measure import measure
from bench.support.search_task import Task, make_task


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--recall", type=float, default=0.95, help="recall@10 to reach")
    parser.add_argument("--peers", default="exact,hnswlib,usearch,lancedb", help="names, separated by commas")
    parser.add_argument("--sizes", default="", help="also run ours at these numbers of features, and fit the growth")
    parser.add_argument("--data", type=Path, help="keep the vectors here; made where they are missing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = options.data or Path(temporary)
        sizes = sorted({int(size) for size in options.sizes.split(",") if size} | {options.features})
        results: dict[int, dict[str, Any]] = {}
        peers: dict[str, dict[str, Any]] = {}
        for size in sizes:
            task = make_task(data / f"{size}x{options.dim}", size, options)
            results[size] = measure_and_show(StoreIndex, task)
            task.recall = max(task.recall, results[size]["recall_at_10"])  # peers are compared at equal recall
            if size == options.features:
                wanted = [engine for engine in ENGINES if engine.name in options.peers.split(",")]
                peers = {engine.name: figures for engine in wanted if (figures := measure_and_show(engine, task))}
        if len(sizes) > 1:
            show_growth(results, options.dim)
    if options.json:
        print(json.dumps(summarise(options, results[options.features], peers)))


def measure_and_show(engine: type[Engine], task: Task) -> dict[str, Any]:
    """Figures of an engine, printed at once; empty when it is skipped or fails."""
    figures = measure(engine, task)
    if figures:
        show(engine, figures)
    return figures


def show(engine: type[Engine], figures: dict[str, Any]) -> None:
    """Print the lines of an engine."""
    print(
        f"{engine.name:10} {figures['build_s']:8.1f} {figures['bytes_per_feature']:9.0f} {figures['effort']:6} "
        f"{figures['p50_ms']:8.2f} {figures['p95_ms']:8.2f} {figures['recall_at_10']:9.3f}"
    )
    for row in figures["filtered"]:
        print(
            f"{'':10} filter {row['selectivity']:<8g} {'':19} {row['p50_ms']:8.2f} {row['p95_ms']:8.2f} "
            f"{row['recall_at_10']:9.3f}  {row['returned']:.1f} returned",
            flush=True,
        )
    for row in figures.get("nearest_removed", []):
        print(
            f"{'':10} without the nearest {row['removed']:<12,} {row['p50_ms']:11.2f} {row['p95_ms']:8.2f} "
            f"{row['recall_at_10']:9.3f}",
            flush=True,
        )
    if row := figures.get("random_directions"):
        print(
            f"{'':10} random directions {'':14} {row['p50_ms']:11.2f} {row['p95_ms']:8.2f} {row['recall_at_10']:9.3f}"
        )


def show_growth(results: dict[int, dict[str, Any]], dim: int) -> None:
    """Fit a power of n to build time and latency, and print what larger spaces would need."""
    sizes = numpy.array(sorted(results))
    print("\ngrowth, as powers of n:")
    for name, what in (("build_s", "build"), ("p50_ms", "p50"), ("p95_ms", "p95")):
        values = numpy.array([results[size][name] for size in sizes])
        power, constant = numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)
        guesses = ", ".join(f"{n:.3g}: {numpy.exp(constant) * n**power:,.3g}" for n in (34e6, 1.3e9))
        print(f"  {what:6} n^{power:.2f}   at {guesses} {name.rsplit('_', 1)[1]}")
    used = results[int(sizes[-1])]["bytes_per_feature"]
    for n in (34e6, 1.3e9):
        print(f"  {n:.3g} features: {used * n / 1e9:,.0f} GB in memory, {2 * dim * n / 1e9:,.0f} GB of vectors on disk")


def summarise(
    options: argparse.Namespace, store_index: dict[str, Any], peers: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The object of --json."""
    numbers = ("build_s", "bytes_per_feature", "p50_ms", "p95_ms", "recall_at_10")
    exact = peers.get("exact")
    return {
        "features": options.features,
        "dim": options.dim,
        **{name: store_index[name] for name in numbers},
        "exact_ratio": exact["p50_ms"] / store_index["p50_ms"] if exact else None,
        "filtered": store_index["filtered"],
        "nearest_removed": store_index["nearest_removed"],
        "random_directions": store_index["random_directions"],
        "peers": {name: {number: figures[number] for number in numbers} for name, figures in peers.items()},
    }


if __name__ == "__main__":
    main()
