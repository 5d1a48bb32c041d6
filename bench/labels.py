"""python -m bench.labels: labelling through a language model, beside the endpoint's own limit, and in flat memory.

Throughput: an endpoint in another process answers after a fixed time. A client cannot get more answers a second from
it than its number of concurrent requests divided by that time. Memory: features are labelled by a judge in the same
process, which is quicker, with the usual journal and commits; the resident memory is recorded on the way.
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
from bench.support import synthetic
from bench.support.apart import PROCESSES, apart
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
        """An answer whose label is the size of the prompt."""
        with self.rate_limit.turn():
            size = len(messages[1]["content"])
            return Answer(json.dumps({"label": f"texts of {size} characters"}), size // 4, 12)

    def stop(self) -> None:
        """Wake callers that wait for their turn."""
        self.rate_limit.stop()


class MemoryProgress:
    """A progress bar that records the resident memory, in MB, at a hundredth of the work and at each tenth."""

    def __init__(self, total: int):
        self.done = 0
        self.recorded = {0: rss_mb()}
        self._next = [max(1, total // 100), *(total * tenth // 10 for tenth in range(1, 11))]

    def __call__(self, steps: int, state: str | None = None, /) -> None:
        self.done += steps
        while self._next and self.done >= self._next[0]:
            self.recorded[self._next.pop(0)] = rss_mb()


def rss_mb() -> float:
    """Resident memory of this process in MB, without mapped files, which belong to the system's cache."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 / 1e6


def build(path: str, features: int, examples: bool) -> None:
    """Write a store. Run in another process, so that its memory is not counted as labelling's."""
    synthetic.build(Path(path), features, 0, lambda n: None, examples=examples).close()


def throughput(path: str, folder: str, requests: int, concurrency: int, latency: float, figures: Any) -> None:
    """Add requests answered a second, and processor time of each, to `figures`."""
    with (
        fake_llm.in_a_process("--latency", str(latency)) as url,
        featurestore.Store(path) as store,
        Journal(Path(folder) / "throughput.jsonl") as journal,
    ):
        endpoint = Endpoint("judge", url, concurrency=concurrency)
        job = label_run.LabelJob.of("judge", order="density DESC", limit=requests)
        choice = job.choose(store)
        began, worked = time.perf_counter(), time.process_time()
        report = label_run.label_with_model(
            store,
            Asker([endpoint], journal),
            job,
            choice=choice,
            progress=lambda description, total: MemoryProgress(total or 1),
        )
        took = time.perf_counter() - began
        answered = fake_llm.account(url)
    if report.labelled != requests or answered["completed"] != requests:
        sys.exit(f"{requests} were wanted, {report.labelled} labelled, {answered['completed']} answered")
    figures["requests_per_s"] = requests / took
    figures["cpu_ms_per_request"] = 1000 * (time.process_time() - worked) / requests


def memory(path: str, folder: str, prompt: str, figures: Any) -> None:
    """Add the peak of resident memory over all features of the store, and its course, to `figures`."""
    bars: list[MemoryProgress] = []

    def progress(description: str, total: int | None, /) -> MemoryProgress:
        """Keep the bar, to read its records afterwards."""
        bars.append(MemoryProgress(total or 1))
        return bars[0]

    with featurestore.Store(path) as store, Journal(Path(folder) / "memory.jsonl") as journal:
        began = time.perf_counter()
        job = label_run.LabelJob.of(Judge.model, prompt, redo=True)
        judge: Any = Judge(8)  # has of an endpoint only what the asker uses
        report = label_run.label_with_model(store, Asker([judge], journal), job, progress=progress)
        figures["memory_features"] = report.labelled
        figures["memory_features_per_s"] = report.labelled / (time.perf_counter() - began)
    figures["anonymous_mb"] = {str(count): round(mb, 1) for count, mb in bars[0].recorded.items()}
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure both, print the figures, and JSON if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000, help="of the measurement of throughput")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=1.0, help="seconds the endpoint takes for an answer")
    parser.add_argument("--features", type=int, default=50_000, help="of the measurement of memory")
    parser.add_argument(
        "--plain",
        action="store_true",
        help="the features of the measurement of memory have no examples, and are labelled by their logits: quick "
        "enough for a million, and everything that grows with their number is the same",
    )
    parser.add_argument("--keep", type=Path, help="build its store here, use the one that is there, and leave it")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PROCESSES.Manager() as manager:
        served, many = str(Path(folder) / "served"), str(options.keep or Path(folder) / "many")
        results = manager.dict()
        apart(build, served, options.requests + options.requests // 10, True)  # some are dead
        apart(throughput, served, folder, options.requests, options.concurrency, options.latency, results)
        if not Path(many).exists():
            apart(build, many, options.features, not options.plain)
        apart(memory, many, folder, "outputs" if options.plain else "pairs", results)
        figures = dict(results)
    figures["limit_requests_per_s"] = options.concurrency / options.latency
    figures["ratio"] = figures["requests_per_s"] / figures["limit_requests_per_s"]
    show(figures, options)
    if options.json:
        print(json.dumps(figures))


def show(figures: dict[str, Any], options: argparse.Namespace) -> None:
    """Print both measurements."""
    print(
        f"{options.concurrency} requests at once, answered in {options.latency:g} s: {figures['requests_per_s']:.1f} a "
        f"second, limit {figures['limit_requests_per_s']:.1f}, ratio {figures['ratio']:.3f} (target {TARGET}); "
        f"{figures['cpu_ms_per_request']:.1f} ms of processor each"
    )
    print(
        f"{figures['memory_features']:,} features by a judge in the process: {figures['memory_features_per_s']:.0f} "
        f"a second, peak {figures['peak_rss_mb']:.0f} MB; without mapped files: "
        + ", ".join(f"{mb:.0f} after {int(done):,}" for done, mb in figures["anonymous_mb"].items())
    )


if __name__ == "__main__":
    main()
