"""Searching labels over HTTP, end to end: `python -m bench.meaning [--features N] [--data PATH] [--json]`.

Builds a store of that many labelled features (bench/synthetic.py; no examples), serves it on a loopback port, and
asks by text, each time another one: parsing, embedding the query on the CPU, both label indexes, fusion, labels of
the hits, JSON. Printed beside it is the time of embedding the query alone, and the processor time that the service
takes for a query, which other work on the machine adds little to. The service has answered other texts before, as
one that has run for a while; how long the first of them took is printed too. The labels' own vectors are drawn, in
clusters, instead of embedded, which would take hours for millions; what is asked of the index is the same. With
--data the store is kept there; one whose making was interrupted is gone on with. With --json the last line is one
object.
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
from pathlib import Path
from typing import Any

import faiss
import numpy
from faiss.contrib import exhaustive_search

import featurestore
from bench import synthetic
from bench.basics import free_port, wait_for
from featurestore.client import Client
from featurestore.search import embedders, vectors

FAMILIES, QUERIES = 512, 60
BEFORE = 4  # times as many texts were asked before
DECODER_DIM = 8
BLOCK = 100_000  # labels that are compared with the queries at once
MODES = ("hybrid", "semantic", "keyword")
# In the order of the index's rows.
SHOWN = """
SELECT state NOT IN ('dead', 'always-on') AS shown FROM labels JOIN features USING (dictionary, feature)
ORDER BY dictionary, feature, labels.explainer
"""


class Drawn:
    """An embedder's name, with vectors drawn around those that it gives some texts, so that queries lie as they
    would."""

    def __init__(self, real: embedders.Embedder):
        self.setting, self.id = real.setting, real.id
        self._rng = numpy.random.default_rng(0)
        words = [synthetic._word(n) for n in range(FAMILIES)]
        self._families = real([f"{word} {words[3 * n % FAMILIES]} errors" for n, word in enumerate(words)])

    def __call__(self, texts: Any, stage: Any = None) -> numpy.ndarray:
        """Unit vectors, (n, d) float32."""
        dim = self._families.shape[1]
        own = self._rng.standard_normal((len(texts), dim), dtype=numpy.float32) / numpy.float32(dim**0.5)
        vectors = self._families[self._rng.integers(0, FAMILIES, len(texts))] + own
        if stage:
            stage(len(texts))
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, help="keep the store here; made where it is missing")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    real = embedders.open_embedder()
    found: dict[str, Any] = {"features": given.features}
    found["embedding_ms"] = float(numpy.median(times(lambda query: real([query]), questions("alone"))))
    with tempfile.TemporaryDirectory() as temporary:
        path = given.data or Path(temporary) / "synthetic.features"
        began = time.perf_counter()
        with synthetic.build(path, given.features, DECODER_DIM, lambda done: None, examples=False) as store:
            found["store_s"] = time.perf_counter() - began
            began = time.perf_counter()
            store.compact()  # type: ignore[attr-defined]
            found["compact_s"] = time.perf_counter() - began
            began = time.perf_counter()
            with unittest.mock.patch.object(embedders, "open_embedder", return_value=Drawn(real)):
                store.index()
            found["index_s"] = time.perf_counter() - began
        found["recall_at_10"] = recall(path, real(questions("semantic")))
        port = free_port()
        command = [sys.executable, "-m", "featurestore.cli", "serve", "--store", str(path), "--port", str(port)]
        service = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", service)
            with Client(f"http://127.0.0.1:{port}") as client:
                found["started"] = asked(client, "hybrid", service.pid, "started")
                for turn in range(1, BEFORE):
                    asked(client, "hybrid", service.pid, f"turn {turn}")
                for mode in MODES:
                    found[mode] = asked(client, mode, service.pid)
        finally:
            service.terminate()
            service.wait()
    print(
        f"{given.features:,} labels: written in {found['store_s']:.0f} s, compacted in {found['compact_s']:.0f} s, "
        f"indexed in {found['index_s']:.0f} s"
    )
    print(f"embedding the query alone: p50 {found['embedding_ms']:.1f} ms (load {os.getloadavg()[0]:.1f})")
    print(f"nearest labels of {QUERIES} texts: recall@10 {found['recall_at_10']:.3f}")
    for mode in ("started", *MODES):
        one = found[mode]
        print(
            f"{'hybrid, just started' if mode == 'started' else mode:20} over HTTP: p50 {one['p50_ms']:.1f} ms, p95 "
            f"{one['p95_ms']:.1f} ms, "
            f"of the service's processor {one['processor_ms']:.1f} ms"
        )
    if given.json:
        print(json.dumps(found))


def recall(path: Path, queries: numpy.ndarray) -> float:
    """Recall at 10 of the labels' index for queries, (q, d), under the filter that a search has unless it is told
    otherwise, against a comparison with all labels."""
    (file,) = path.glob("label_index/*/*/vectors.npy")
    labels = numpy.load(file, mmap_mode="r")
    index = vectors.VectorIndex(file.parent / "index.faiss", [labels])
    shown = featurestore.connect(path).sql(SHOWN, max_rows=None)["shown"].to_numpy()
    blocks = (
        vectors.unit(labels[first : first + BLOCK]) * shown[first : first + BLOCK, None]
        for first in range(0, len(labels), BLOCK)
    )
    _, nearest = exhaustive_search.knn_ground_truth(queries, blocks, 10, faiss.METRIC_INNER_PRODUCT)
    allowed = index.filter(shown)
    found = [index.search(query, 10, allowed)[0] for query in queries]
    return float(numpy.mean([numpy.isin(*both).mean() for both in zip(nearest, found, strict=True)]))


def asked(client: Client, mode: str, service: int, about: str | None = None) -> dict[str, float]:
    """Latency of searches in a mode, and the processor time of the service with this process id."""
    client.search("the first search opens the index", mode=mode)
    before = processor_ms(service)
    taken = sorted(times(lambda query: client.search(query, mode=mode), questions(about or mode)))
    used = (processor_ms(service) - before) / len(taken)
    return {"p50_ms": taken[len(taken) // 2], "p95_ms": taken[int(0.95 * len(taken))], "processor_ms": used}


def questions(about: str) -> list[str]:
    """Texts that nobody asked before."""
    return [f"{synthetic._word(n)} {synthetic._word(7 * n)} and {about} errors number {n}" for n in range(QUERIES)]


def processor_ms(process: int) -> float:
    """Processor time that a process has used; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def times(ask: Any, queries: list[str]) -> list[float]:
    """Milliseconds of each, after one that does not count."""
    ask("the first one")
    taken = []
    for query in queries:
        began = time.perf_counter()
        ask(query)
        taken.append(1000 * (time.perf_counter() - began))
    return taken


if __name__ == "__main__":
    main()
