"""python -m bench.labels: labelling through a language model, beside the endpoint's own limit, and in flat memory.

Throughput: an endpoint in a process of its own answers after a fixed time; no client with so many requests at once can
get more answers a second out of it than their number divided by that time. Memory: features are labelled by a judge in
the same process, which is quicker, with journal and commits as ever; the resident memory is noted on the way.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import featurestore
from bench import synthetic
from bench.apart import PROCESSES, apart
from labeler.llm.asker import Asker
from labeler.llm.completions import Answer
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.llm.rate_limit import RateLimit
from labeler.runs import label_run
from tests.support import fake_llm

TARGET = 0.95


class Judge:
    """Answers at once, without a network."""

    model = "judge-in-process"

    def __init__(self, concurrency: int):
        self.rate_limit = RateLimit(concurrency)

    def ask(self, messages: Any, **settings: Any) -> Answer:
        with self.rate_limit.turn():
            size = len(messages[1]["content"])
            return Answer(json.dumps({"label": f"texts of {size} characters"}), size // 4, 12)

    def stop(self) -> None:
        self.rate_limit.stop()


class Noting:
    """A progress bar that notes the memory, in MB, by how many are done: at a hundredth and at each tenth."""

    def __init__(self, total: int):
        self.done = 0
        self.noted = {0: rss_mb()}
        self._next = [max(1, total // 100), *(total * tenth // 10 for tenth in range(1, 11))]

    def __call__(self, steps: int, state: str | None = None, /) -> None:
        self.done += steps
        while self._next and self.done >= self._next[0]:
            self.noted[self._next.pop(0)] = rss_mb()


def rss_mb() -> float:
    """Resident memory of this process now, without the files it has mapped: those belong to the system's cache."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def build(path: str, features: int, examples: bool) -> None:
    """Write a store, in a process of its own: what that takes is not labelling's."""
    synthetic.build(Path(path), features, 0, lambda n: None, examples=examples).close()


def throughput(path: str, folder: str, requests: int, concurrency: int, latency: float, found: Any) -> None:
    """Puts into `found` the requests answered a second, and the processor's share."""
    with (
        fake_llm.in_a_process("--latency", str(latency)) as url,
        featurestore.connect(path) as store,
        Journal(Path(folder) / "throughput.jsonl") as kept,
    ):
        endpoint = Endpoint("judge", url, concurrency=concurrency)
        job = label_run.LabelJob.of("judge", order="density DESC", limit=requests)
        choice = job.choose(store)
        began, worked = time.perf_counter(), time.process_time()
        report = label_run.label_with_model(
            store, Asker([endpoint], kept), job, choice=choice, progress=lambda description, total: Noting(total or 1)
        )
        took = time.perf_counter() - began
        answered = fake_llm.account(url)
    if report.labelled != requests or answered["completed"] != requests:
        sys.exit(f"{requests} were wanted, {report.labelled} labelled, {answered['completed']} answered")
    found["requests_per_s"] = requests / took
    found["cpu_ms_per_request"] = 1000 * (time.process_time() - worked) / requests


def memory(path: str, folder: str, prompt: str, found: Any) -> None:
    """Puts into `found` the peak of resident memory over all features of the store, and how it went."""
    noting: list[Noting] = []

    def progress(description: str, total: int | None, /) -> Noting:
        noting.append(Noting(total or 1))
        return noting[0]

    with featurestore.connect(path) as store, Journal(Path(folder) / "memory.jsonl") as kept:
        began = time.perf_counter()
        job = label_run.LabelJob.of(Judge.model, prompt, redo=True)
        report = label_run.label_with_model(store, Asker([Judge(8)], kept), job, progress=progress)  # type: ignore[list-item]
        found["memory_features"] = report.labelled
        found["memory_features_per_s"] = report.labelled / (time.perf_counter() - began)
    found["anonymous_mb"] = {str(done): round(one, 1) for done, one in noting[0].noted.items()}
    found["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="of the measurement of throughput")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds the endpoint takes for an answer")
    parser.add_argument("--features", type=int, default=50_000, help="of the measurement of memory")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="the features of the measurement of memory have no examples, and are labelled by their logits: quick enough "
        "for a million, and all that grows with their number is the same",
    )
    parser.add_argument("--keep", type=Path, help="build its store here, use the one that is there, and leave it")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PROCESSES.Manager() as manager:
        served, many = str(Path(folder) / "served"), str(asked.keep or Path(folder) / "many")
        found = manager.dict()
        apart(build, served, asked.requests + asked.requests // 10, True)  # some are dead
        apart(throughput, served, folder, asked.requests, asked.concurrency, asked.latency, found)
        if not Path(many).exists():
            apart(build, many, asked.features, not asked.plain)
        apart(memory, many, folder, "outputs" if asked.plain else "pairs", found)
        figures = dict(found)
    figures["limit_requests_per_s"] = asked.concurrency / asked.latency
    figures["ratio"] = figures["requests_per_s"] / figures["limit_requests_per_s"]
    print(
        f"{asked.concurrency} requests at once, answered in {asked.latency:g} s: {figures['requests_per_s']:.1f} a "
        "second, "
        f"limit {figures['limit_requests_per_s']:.1f}, ratio {figures['ratio']:.3f} (target {TARGET}); "
        f"{figures['cpu_ms_per_request']:.1f} ms of processor each"
    )
    print(
        f"{figures['memory_features']:,} features by a judge in the process: {figures['memory_features_per_s']:.0f} "
        "a second, "
        f"peak {figures['peak_rss_mb']:.0f} MB; without mapped files: "
        + ", ".join(f"{mb:.0f} after {int(done):,}" for done, mb in figures["anonymous_mb"].items())
    )
    if asked.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
