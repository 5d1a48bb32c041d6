"""The service under load, beside a bare Flask route in the same run: `python -m bench.serve [--json] [--features N]`.

Builds a synthetic store, serves it with `featurestore serve --workers 1` and a bare Flask route with waitress, and
sends both requests over loopback from one process with several connections. Prints each endpoint's throughput and
latency at saturation, the page's p99 at half of it, and the errors of mixed load during which another process writes
labels and the workers are replaced. `--hostile` measures only a feature page, alone and under a flood of the worst
requests that strangers send.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.support import synthetic
from bench.support.hostile import format_flood, measure_flood
from bench.support.load import CONNECTIONS, SAMPLES, get_status, put_load, put_mixed_load

DIM = 64
TURNS = 8  # of the bare route and the page: a machine's speed changes from one second to the next
BARE = """
import sys, logging
from flask import Flask, Response
from waitress.server import create_server
logging.getLogger("waitress").setLevel(logging.ERROR)
app = Flask("bare")
@app.get("/<a>/<b>/<c>")
def bare(a, b, c):
    return Response(b'{"status":"ok"}', mimetype="application/json")
server = create_server(app, host="127.0.0.1", port=0, threads=8)
print(f"serving bare at http://127.0.0.1:{server.effective_port} now", flush=True)
server.run()
"""
WRITER = """
import sys, time, numpy, featurestore
from bench.support import synthetic
store, rng = featurestore.connect(sys.argv[1]), numpy.random.default_rng()
name = store.dictionaries()[0].dictionary
while True:
    with store.writer("bench.serve") as writer:
        writer.add("labels", synthetic.draw_labels(rng, name, numpy.arange(50, dtype=numpy.int32)), key=name)
    print("wrote", flush=True)
    time.sleep(1)
"""


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--mixed", type=float, default=60.0, help="seconds of mixed load; the target says 600")
    parser.add_argument("--minutes", type=float, help="minutes of mixed load, in place of --mixed")
    parser.add_argument("--hostile", action="store_true", help="only a feature page, alone and under hostile requests")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.hostile:
        flood = measure_hostile(options.features, options.seconds)
        print(json.dumps(flood) if options.json else format_flood(flood))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(
            Path(folder) / "bench.features",
            options.features,
            options.seconds,
            options.minutes * 60 if options.minutes else options.mixed,
        )
    print(json.dumps(figures) if options.json else format_figures(figures))


def measure_hostile(features: int, seconds: float) -> dict[str, Any]:
    """Measure a feature page alone and under a flood of hostile requests, over a store of so many features."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.features"
        with synthetic.build(path, features, DIM, lambda done: None) as store:
            store.compact()
            store.index()
        options = ["--workers", "1", "--port", "0", "--store", str(path)]
        with serve([sys.executable, "-u", "-m", "featurestore.cli", "serve", *options]) as (process, port):
            wait_ready(port)
            ids = itertools.cycle(list(synthetic.feature_ids(features, 2000)))
            return measure_flood(process.pid, port, make_paths(ids)["feature"], seconds)


def measure(path: Path, features: int, seconds: float, mixed: float) -> dict[str, Any]:
    """Measure all figures, over a store of so many features."""
    with synthetic.build(path, features, DIM, lambda done: None) as store:
        store.compact()
        store.index()
    options = ["--workers", "1", "--port", "0", "--store", str(path)]
    command = [sys.executable, "-u", "-m", "featurestore.cli", "serve", *options]
    with serve(command) as (process, port), serve([sys.executable, "-c", BARE]) as (_, bare_port):
        wait_ready(port)
        ids = itertools.cycle(list(synthetic.feature_ids(features, 2000)))
        paths = make_paths(ids)
        bare, page = compare_in_turns(bare_port, port, paths["feature"], seconds / 2)
        # More SQL at once than its lane takes would be refused.
        endpoints = {
            name: put_load(port, endpoint_paths, seconds, 2 if name == "sql" else CONNECTIONS)
            for name, endpoint_paths in paths.items()
        }
        half = put_load(port, paths["feature"], seconds, CONNECTIONS, statistics.median(page) / 2)
        writer = [sys.executable, "-c", WRITER, str(path)]
        errors, memory = put_mixed_load(process, port, writer, paths, mixed)
    ratios = [page_rps / bare_rps for page_rps, bare_rps in zip(page, bare, strict=True)]
    return {
        "bare_rps": round(statistics.median(bare), 1),
        "page_rps": round(statistics.median(page), 1),
        "page_ratio": round(statistics.median(ratios), 3),
        "page_ratios": [round(ratio, 3) for ratio in ratios],
        "page_half_p99_ms": half["p99_ms"],
        "errors": errors + sum(figures.pop("errors") for figures in endpoints.values()) + half["errors"],
        "endpoints": endpoints,
        "rss_growth_mb": round(compute_growth(memory), 1),
        "memory_mb": [{name: round(value, 1) for name, value in sample.items()} for sample in memory],
    }


def compare_in_turns(bare: int, port: int, pages: Iterator[str], seconds: float) -> tuple[list[float], list[float]]:
    """Throughput of the bare route and of pages, measured in turns."""
    put_load(port, pages, seconds)  # files opened with the first pages are not a page's work
    turns = [
        (put_load(bare, itertools.repeat("/a/b/c"), seconds)["rps"], put_load(port, pages, seconds)["rps"])
        for _ in range(TURNS)
    ]
    return [bare_rps for bare_rps, _ in turns], [page_rps for _, page_rps in turns]


def compute_growth(memory: list[dict[str, float]]) -> float:
    """Median memory of the last quarter minus that of the quarter before, in which the new workers warmed up, in MB.

    A median, because the number of processes for SQL at one moment is chance.
    """
    last, before = memory[-SAMPLES // 4 :], memory[-SAMPLES // 2 : -SAMPLES // 4]
    return statistics.median(sample["service"] for sample in last) - statistics.median(
        sample["service"] for sample in before
    )


def make_paths(ids: Iterator[str]) -> dict[str, Iterator[str]]:
    """Endless paths of requests to each endpoint."""
    sql = quote("SELECT count(*) FROM features WHERE density > 0.01")
    return {
        "feature": (f"/v1/features/{id}?examples={n}" for n, id in enumerate(ids, 100)),  # no answer comes from a cache
        "feature again": (f"/v1/features/{id}" for id in itertools.cycle(list(itertools.islice(ids, 100)))),
        "vector": (f"/v1/vectors/{id}" for id in ids),
        "dictionaries": itertools.repeat("/v1/dictionaries"),
        "nearest": (f"/v1/nearest?near={id}" for id in ids),
        "sql": itertools.repeat(f"/v1/sql?sql={sql}"),
    }


@contextmanager
def serve(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a service: its process and its port. Ends it afterwards."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line.split(" at ")[1].split()[0].rpartition(":")[2])
        process.terminate()


def wait_ready(port: int) -> None:
    """Wait until the service is ready and its search has warmed up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while get_status(connection, "/readyz") != 200:
        time.sleep(0.1)
    # The service warms up beside its first requests; a search waits for the last part of it.
    assert get_status(connection, "/v1/search?text=anything") == 200
    connection.close()
    time.sleep(1)


def format_figures(figures: dict[str, Any]) -> str:
    """Returns the figures as lines."""
    lines = [
        f"bare Flask route     {figures['bare_rps']:10,.0f} requests a second",
        f"feature page         {figures['page_rps']:10,.0f} ({figures['page_ratio']:.0%} of it, "
        f"{min(figures['page_ratios']):.0%} to {max(figures['page_ratios']):.0%} in {TURNS} turns; target 25 %)",
        f"  at half of that    {figures['page_half_p99_ms']:10.1f} ms p99 (target 50)",
    ]
    for name, endpoint in figures["endpoints"].items():
        lines.append(
            f"{name:20} {endpoint['rps']:10,.0f} a second, p50 {endpoint['p50_ms']:.1f} ms, "
            f"p99 {endpoint['p99_ms']:.1f} ms"
        )
    return "\n".join(
        [
            *lines,
            f"errors               {figures['errors']:10,}",
            f"memory grown by      {figures['rss_growth_mb']:10,.1f} MB in the last quarter, SQL's processes among it",
            "memory, MB           " + " ".join(f"{sample['service']:,.0f}" for sample in figures["memory_mb"]),
        ]
    )


if __name__ == "__main__":
    main()
