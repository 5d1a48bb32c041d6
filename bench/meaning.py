"""Searching labels over HTTP, end to end: `python -m bench.meaning [--features N] [--json]`.

Builds a store of that many labelled features (bench/synthetic.py; no examples), serves it on a loopback port, and asks by text, each
time another one: parsing, embedding the query on the CPU, both label indexes, fusion, labels of the hits, JSON. Printed
beside it is the time of embedding the query alone. The labels' own vectors are drawn, in clusters, instead of embedded, which
would take hours for millions; what is asked of the index is the same.
With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import unittest.mock
from pathlib import Path
from typing import Any

import numpy

from bench import synthetic
from bench.basics import free_port, wait_for
from featurestore import embed
from featurestore.client import Client

DIM, FAMILIES, QUERIES = 384, 4096, 60


class Drawn:
    """An embedder's name and width, with vectors drawn around some thousand directions."""

    def __init__(self, real: embed.Embedder):
        self.setting, self.id = real.setting, real.id
        self._rng = numpy.random.default_rng(0)
        self._families = self._rng.standard_normal((FAMILIES, DIM)).astype(numpy.float32)

    def __call__(self, texts: Any, progress: Any = None) -> numpy.ndarray:
        """Unit vectors, (n, 384) float32."""
        own = self._rng.standard_normal((len(texts), DIM)).astype(numpy.float32)
        vectors = self._families[self._rng.integers(0, FAMILIES, len(texts))] + own
        if progress:
            progress(len(texts))
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    real = embed.open_embedder()
    queries = [f"{synthetic._word(n)} {synthetic._word(7 * n)} and errors number {n}" for n in range(QUERIES)]
    embedding = milliseconds(lambda query: real([query]), queries)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "synthetic.features"
        began = time.perf_counter()
        with synthetic.build(path, given.features, 8, lambda done: None, examples=False) as store:
            built = time.perf_counter() - began
            began = time.perf_counter()
            with unittest.mock.patch.object(embed, "open_embedder", return_value=Drawn(real)):
                store.index()
        indexed = time.perf_counter() - began
        port = free_port()
        command = [sys.executable, "-m", "featurestore.cli", "serve", "--store", str(path), "--port", str(port)]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", service)
            with Client(f"http://127.0.0.1:{port}") as client:
                found = {"features": given.features, "store_s": built, "index_s": indexed, "embedding_ms": embedding}
                for mode in ("hybrid", "semantic", "keyword"):
                    client.search("the first search opens the index", mode=mode)
                    taken = sorted(times(lambda query: client.search(query, mode=mode), queries))  # noqa: B023
                    found[mode] = {"p50_ms": taken[len(taken) // 2], "p95_ms": taken[int(0.95 * len(taken))]}
        finally:
            service.terminate()
            service.wait()
    print(f"{given.features:,} labels: written in {built:.0f} s, indexed in {indexed:.0f} s")
    print(f"embedding the query alone: p50 {embedding:.1f} ms")
    for mode in ("hybrid", "semantic", "keyword"):
        print(f"{mode:9} over HTTP: p50 {found[mode]['p50_ms']:.1f} ms, p95 {found[mode]['p95_ms']:.1f} ms")
    if given.json:
        print(json.dumps(found))


def milliseconds(ask: Any, queries: list[str]) -> float:
    """The median, after one that does not count."""
    ask(queries[0])
    return float(numpy.median(times(ask, queries)))


def times(ask: Any, queries: list[str]) -> list[float]:
    """Milliseconds of each."""
    taken = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    main()
