"""Searching labels over HTTP, end to end: `python -m bench.meaning [--features N] [--data PATH] [--json]`.

Builds a store of N labelled features (bench/support/synthetic.py; no examples), serves it on a loopback port, and
searches by a different text each time: parsing, embedding the query on the CPU, both label indexes, fusion, labels of
the hits, JSON. Prints beside it the time of embedding the query alone, and the service's processor time per query, to
which other work on the machine adds little. The service has answered other texts before, like one that has run for a
while; the latency of the first of them is printed too. The labels' vectors are drawn, in clusters, instead of embedded,
which would take hours for millions; the work of the index is the same. With --data the store is kept there, and an
interrupted build is continued. With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest.mock
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy
from faiss.contrib import exhaustive_search

import featurestore
from bench.basics import free_port, wait_for
from bench.support import synthetic
from featurestore.client import Client
from featurestore.query import Mode
from featurestore.search import embedders, vectors

FAMILIES, QUERIES = 512, 60
ROUNDS_BEFORE = 4  # of other texts, before the measurement
DECODER_DIM = 8
BLOCK = 100_000  # labels compared with the queries at once
MODES: tuple[Mode, ...] = ("hybrid", "semantic", "keyword")
# In the order of the index's rows.
SHOWN = """
SELECT state NOT IN ('dead', 'always-on') AS shown FROM labels JOIN features USING (dictionary, feature)
ORDER BY dictionary, feature, labels.explainer
"""


class ClusteredEmbedder:
    """Stands in for an embedder: draws vectors around those of some texts, so that queries are near some labels."""

    def __init__(self, real: embedders.Embedder):
        self.setting, self.id = real.setting, real.id
        self._rng = numpy.random.default_rng(0)
        words = [synthetic.make_word(n) for n in range(FAMILIES)]
        self._families = real([f"{word} {words[3 * n % FAMILIES]} errors" for n, word in enumerate(words)])

    def __call__(self, texts: Any, stage: Any = None) -> numpy.ndarray:
        """Unit vectors, (n, d) float32."""
        dim = self._families.shape[1]
        own = self._rng.standard_normal((len(texts), dim), dtype=numpy.float32) / numpy.float32(dim**0.5)
        vectors = self._families[self._rng.integers(0, FAMILIES, len(texts))] + own
        if stage:
            stage(len(texts))
        unit: numpy.ndarray = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="keep the store here; made where it is missing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    embedder = embedders.open_embedder()
    figures: dict[str, Any] = {"features": options.features}
    figures["embedding_ms"] = float(numpy.median(times(lambda query: embedder([query]), questions("alone"))))
    with tempfile.TemporaryDirectory() as temporary:
        path = options.data or Path(temporary) / "synthetic.features"
        figures |= build_store(path, options.features, embedder)
        figures["recall_at_10"] = recall(path, embedder(questions("semantic")))
        figures |= measure_service(path)
    show(figures)
    if options.json:
        print(json.dumps(figures))


def build_store(path: Path, features: int, embedder: embedders.Embedder) -> dict[str, float]:
    """Build, compact and index the store: seconds of each."""
    seconds = {}
    began = time.perf_counter()
    with synthetic.build(path, features, DECODER_DIM, lambda done: None, examples=False) as store:
        seconds["store_s"] = time.perf_counter() - began
        began = time.perf_counter()
        store.compact()
        seconds["compact_s"] = time.perf_counter() - began
        began = time.perf_counter()
        with unittest.mock.patch.object(embedders, "open_embedder", return_value=ClusteredEmbedder(embedder)):
            store.index()
        seconds["index_s"] = time.perf_counter() - began
    return seconds


def measure_service(path: Path) -> dict[str, dict[str, float]]:
    """Serve the store and measure each mode, and the hybrid mode of a service that has just started."""
    port = free_port()
    command = [sys.executable, "-m", "featurestore.cli", "serve", "--store", str(path), "--port", str(port)]
    service = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    latencies = {}
    try:
        wait_for(f"http://127.0.0.1:{port}/healthz", service)
        with Client(f"http://127.0.0.1:{port}") as client:
            latencies["started"] = measure_mode(client, "hybrid", service.pid, "started")
            for turn in range(1, ROUNDS_BEFORE):
                measure_mode(client, "hybrid", service.pid, f"turn {turn}")
            for mode in MODES:
                latencies[mode] = measure_mode(client, mode, service.pid)
    finally:
        service.terminate()
        service.wait()
    return latencies


def show(figures: dict[str, Any]) -> None:
    """Print the figures."""
    print(
        f"{figures['features']:,} labels: written in {figures['store_s']:.0f} s, "
        f"compacted in {figures['compact_s']:.0f} s, indexed in {figures['index_s']:.0f} s"
    )
    print(f"embedding the query alone: p50 {figures['embedding_ms']:.1f} ms (load {os.getloadavg()[0]:.1f})")
    print(f"nearest labels of {QUERIES} texts: recall@10 {figures['recall_at_10']:.3f}")
    for mode in ("started", *MODES):
        latency = figures[mode]
        print(
            f"{'hybrid, just started' if mode == 'started' else mode:20} over HTTP: p50 {latency['p50_ms']:.1f} ms, "
            f"p95 {latency['p95_ms']:.1f} ms, of the service's processor {latency['processor_ms']:.1f} ms"
        )


def recall(path: Path, queries: numpy.ndarray) -> float:
    """Recall at 10 of the labels' index for queries (q, d), under a search's default filter, against exact search."""
    (file,) = path.glob("label_index/*/*/vectors.npy")
    labels = numpy.load(file, mmap_mode="r")
    index = vectors.VectorIndex(file.parent / "index.faiss", [labels])
    shown = featurestore.connect(path).sql(SHOWN, max_rows=None)["shown"].to_numpy()
    blocks = (
        vectors.unit(labels[first : first + BLOCK]) * shown[first : first + BLOCK, None]
        for first in range(0, len(labels), BLOCK)
    )
    _, nearest = exhaustive_search.knn_ground_truth(  # faiss leaves it untyped
        queries, blocks, 10, faiss.METRIC_INNER_PRODUCT
    )
    allowed = index.filter(shown)
    rows = [index.search(query, 10, allowed)[0] for query in queries]
    return float(numpy.mean([numpy.isin(*both).mean() for both in zip(nearest, rows, strict=True)]))


def measure_mode(client: Client, mode: Mode, service: int, topic: str | None = None) -> dict[str, float]:
    """Latency of searches in a mode, and processor time per query of the service with this process id, in ms."""
    client.search("the first search opens the index", mode=mode)
    before = processor_ms(service)
    latencies = sorted(times(lambda query: client.search(query, mode=mode), questions(topic or mode)))
    used = (processor_ms(service) - before) / len(latencies)
    p50, p95 = latencies[len(latencies) // 2], latencies[int(0.95 * len(latencies))]
    return {"p50_ms": p50, "p95_ms": p95, "processor_ms": used}


def questions(topic: str) -> list[str]:
    """Returns texts that contain the topic, so that no other topic's are the same."""
    return [
        f"{synthetic.make_word(n)} {synthetic.make_word(7 * n)} and {topic} errors number {n}" for n in range(QUERIES)
    ]


def processor_ms(process: int) -> float:
    """Processor time of a process in ms; 0 where the system has no /proc."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times(ask: Callable[[str], object], queries: list[str]) -> list[float]:
    """Latency of each query in ms, after one that does not count."""
    ask("the first one")
    taken = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    main()
