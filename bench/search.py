"""Nearest vectors side by side: `python -m bench.search [--features N] [--dim D] [--json]`.

Builds clustered vectors shaped like decoder directions (bench/decoders.py), then runs our index and each peer that
is installed on the same files and queries, each in a process of its own, peers at the least effort that reaches our
recall. Prints build time, memory, latency and recall, without filters and with random ones. `--sizes 100000,1000000`
runs ours at several sizes and says what the growth means for larger ones. With --json the last line is one object.

Queries are new draws from the families the vectors are of. All are asked once untimed and once timed, one at a time,
so the vectors that are compared exactly are in the system's memory, as they are in a service that has run for a
while.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import json
import multiprocessing
import os
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import faiss
import numpy

from bench import decoders
from bench.engines import ENGINES, Engine, Ours, draws, unit_blocks
from featurestore.search import vectors

K = 10
SELECTIVITIES = (1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
REMOVED = (1_000, 10_000)  # nearest rows that the hardest filters forbid, a filter for each query
HARDEST = 8  # queries that are asked with them
RANDOM = 32  # directions that are near to no row
STREAM = 2**31  # of the queries' draws; no file's


@dataclasses.dataclass
class Task:
    """What every engine is asked."""

    files: list[Path]
    queries: numpy.ndarray  # (q, d) float32 of length 1
    truth: dict[float, numpy.ndarray]  # selectivity -> (q, K) rows, -1 where there are fewer
    recall: float

    @property
    def rows(self) -> int:
        """Vectors in all files."""
        return sum(len(numpy.load(file, mmap_mode="r")) for file in self.files)

    def allowed(self, share: float) -> numpy.ndarray:
        """The filter of a selectivity."""
        found, first = [], 0
        for file in self.files:
            count = len(numpy.load(file, mmap_mode="r"))
            found.append(draws(first, count) < share)
            first += count
        return numpy.concatenate(found)


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
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = given.data or Path(temporary)
        sizes = sorted({int(size) for size in given.sizes.split(",") if size} | {given.features})
        ours: dict[int, dict[str, Any]] = {}
        peers: dict[str, dict[str, Any]] = {}
        for size in sizes:
            task = make_task(data / f"{size}x{given.dim}", size, given)
            ours[size] = measured(Ours, task)
            task.recall = max(task.recall, ours[size]["recall_at_10"])  # peers are compared at equal recall
            if size == given.features:
                wanted = [engine for engine in ENGINES if engine.name in given.peers.split(",")]
                peers = {engine.name: found for engine in wanted if (found := measured(engine, task))}
        if len(sizes) > 1:
            say_growth(ours, given.dim)
    if given.json:
        print(json.dumps(summary(given, ours[given.features], peers)))


def make_task(folder: Path, features: int, given: argparse.Namespace) -> Task:
    """The vectors on disk, the queries and their true neighbours."""
    began = time.perf_counter()
    files, source = decoders.write(folder, features, given.dim)
    queries = vectors.unit(source.draw(given.queries, STREAM))
    task = Task(files, queries, {}, given.recall)
    task.truth = true_neighbours(task)
    median = numpy.median(
        [_cosine(task, query, row) for query, row in zip(queries, task.truth[1.0][:, -1], strict=True)]
    )
    print(
        f"\n{features:,} x {given.dim}, {given.queries} queries, 10th neighbour at a median cosine of {median:.2f} "
        f"(made and compared in {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f})\n"
        f"{'engine':10} {'build s':>8} {'B/feature':>9} {'effort':>6} {'p50 ms':>8} {'p95 ms':>8} {'recall@10':>9}"
    )
    return task


def _cosine(task: Task, query: numpy.ndarray, row: int) -> float:
    file = numpy.load(task.files[row // decoders.SHARD], mmap_mode="r")
    return float(vectors.unit(file[row % decoders.SHARD][None])[0] @ query)


def true_neighbours(task: Task) -> dict[float, numpy.ndarray]:
    """By selectivity the exact nearest rows of each query, from one pass over the files."""
    count = len(task.queries)
    best = {share: (numpy.full((count, K), -2.0, numpy.float32), numpy.full((count, K), -1)) for share in SELECTIVITIES}
    for first, block in unit_blocks(task.files):
        draw = draws(first, len(block))
        for share, (cosines, rows) in best.items():
            some = numpy.flatnonzero(draw < share)
            if not len(some):
                continue
            near, found = faiss.knn(task.queries, block[some], min(K, len(some)), metric=faiss.METRIC_INNER_PRODUCT)
            all_cosines = numpy.concatenate([cosines, near], axis=1)
            all_rows = numpy.concatenate([rows, some[found] + first], axis=1)
            order = numpy.argsort(-all_cosines, axis=1, kind="stable")[:, :K]
            best[share] = numpy.take_along_axis(all_cosines, order, 1), numpy.take_along_axis(all_rows, order, 1)
    return {share: rows for share, (_, rows) in best.items()}


def measured(engine: type[Engine], task: Task) -> dict[str, Any]:
    """What an engine does with the task, and a line that says it; empty when it is skipped, which is said too."""
    skipped = reason_to_skip(engine, task)
    if skipped:
        print(f"{engine.name:10} skipped: {skipped}", flush=True)
        return {}
    with tempfile.TemporaryDirectory(dir=task.files[0].parent) as folder:
        answers = in_process(build, engine, task, Path(folder))
        if answers and isinstance(answers[-1], Engine):
            answers = answers[:1] + in_process(search, answers[-1], task)
    if len(answers) < 2:
        print(f"{engine.name:10} failed: its process ended early", flush=True)
        return {}
    found = answers[0] | answers[1]
    print(
        f"{engine.name:10} {found['build_s']:8.1f} {found['bytes_per_feature']:9.0f} {found['effort']:6} "
        f"{found['p50_ms']:8.2f} {found['p95_ms']:8.2f} {found['recall_at_10']:9.3f}"
    )
    for one in found["filtered"]:
        print(
            f"{'':10} filter {one['selectivity']:<8g} {'':19} {one['p50_ms']:8.2f} {one['p95_ms']:8.2f} "
            f"{one['recall_at_10']:9.3f}  {one['returned']:.1f} returned",
            flush=True,
        )
    for one in found.get("nearest_removed", []):
        print(
            f"{'':10} without the nearest {one['removed']:<12,} {one['p50_ms']:11.2f} {one['p95_ms']:8.2f} "
            f"{one['recall_at_10']:9.3f}",
            flush=True,
        )
    if one := found.get("random_directions"):
        print(
            f"{'':10} random directions {'':14} {one['p50_ms']:11.2f} {one['p95_ms']:8.2f} {one['recall_at_10']:9.3f}"
        )
    return found


def reason_to_skip(engine: type[Engine], task: Task) -> str:
    """Why an engine cannot run here, empty if it can."""
    if engine.module and importlib.util.find_spec(engine.module) is None:
        return f"{engine.module} is not installed (pip install 'featurestore[bench]')"
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = engine.needs_bytes(task.rows, task.queries.shape[1])
    if needed > 0.8 * there:
        return f"it holds some {needed / 1e9:.0f} GB, and this machine has {there / 1e9:.0f}"
    return ""


def build(engine_class: type[Engine], task: Task, folder: Path, answer: Connection) -> None:
    """In a process of its own: build, and search unless the index is on disk, to be opened where nothing was built."""
    before = anonymous_bytes()
    began = time.perf_counter()
    engine = engine_class(task.files, folder, task.recall)
    answer.send({"build_s": time.perf_counter() - began})
    if engine.on_disk:
        answer.send(engine)
        return
    held = anonymous_bytes() - before
    answer.send({"bytes_per_feature": held / task.rows, **timed(engine, task)})


def search(engine: Engine, task: Task, answer: Connection) -> None:
    """In a process of its own: open what another has built, and search."""
    before = anonymous_bytes()
    engine.open()
    held = anonymous_bytes() - before
    answer.send({"bytes_per_feature": held / task.rows, **timed(engine, task)})


def in_process(work: Any, *arguments: Any) -> list[Any]:
    """What `work` sends, run in a new process, so that memory one engine leaves behind is not another's."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, there))
    process.start()
    there.close()
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(here.recv())
    process.join()
    return found


def timed(engine: Engine, task: Task) -> dict[str, Any]:
    """Latency and recall at the least effort that reaches the task's recall, or else at the greatest."""
    for effort in engine.efforts:
        taken, recall, _ = ask(lambda query: engine.search(query, K, effort), task, 1.0)  # noqa: B023
        if recall >= task.recall:
            break
    found: dict[str, Any] = {"effort": effort or "", "recall_at_10": recall, **_quantiles(taken)}
    found["filtered"] = []
    for share in SELECTIVITIES if engine.filters else ():
        allowed = task.allowed(share)
        taken, recall, returned = ask(
            lambda query: engine.filtered(query, K, effort, allowed, share),  # noqa: B023
            task,
            share,
        )
        one = {"selectivity": share, "recall_at_10": recall, "returned": returned}
        found["filtered"].append(one | _quantiles(taken))
    if engine.hardest:
        found |= {"nearest_removed": hardest(engine, task), "random_directions": random_directions(engine, task)}
    return found


def hardest(engine: Engine, task: Task) -> list[dict[str, Any]]:
    """Latency and recall under filters that forbid exactly the rows nearest to the query and no other."""
    queries = task.queries[:HARDEST]
    cosines = all_cosines(task, queries)
    found = []
    for removed in (count for count in REMOVED if count + K <= task.rows):
        taken, recalls = [], []
        for query, near in zip(queries, cosines, strict=True):
            order = numpy.argpartition(-near, (removed - 1, removed + K - 1))[: removed + K]
            allowed = numpy.ones(len(near), bool)
            allowed[order[:removed]] = False
            began = time.perf_counter()
            rows = engine.filtered(query, K, 0, allowed, 1.0)
            taken.append(1000 * (time.perf_counter() - began))
            recalls.append(float(numpy.isin(order[removed:], rows).mean()))
        found.append({"removed": removed, "recall_at_10": float(numpy.mean(recalls)), **_quantiles(taken)})
    return found


def random_directions(engine: Engine, task: Task) -> dict[str, float]:
    """Latency and recall of directions that no row is like, as a steering vector may be."""
    drawn = numpy.random.default_rng(STREAM).standard_normal((RANDOM, task.queries.shape[1]), dtype=numpy.float32)
    queries = vectors.unit(drawn)
    truth = numpy.argpartition(-all_cosines(task, queries), K - 1, axis=1)[:, :K]
    taken, recall, _ = ask(
        lambda query: engine.search(query, K, 0), dataclasses.replace(task, queries=queries, truth={1.0: truth}), 1.0
    )
    return {"recall_at_10": recall, **_quantiles(taken)}


def all_cosines(task: Task, queries: numpy.ndarray) -> numpy.ndarray:
    """Of each query with every row, (q, rows) float32."""
    return numpy.concatenate([queries @ block.T for _, block in unit_blocks(task.files)], axis=1)


def ask(search: Any, task: Task, share: float) -> tuple[list[float], float, float]:
    """Milliseconds of each query, mean recall and mean number of rows found."""
    taken, recalls, returned = [], [], []
    for query in task.queries:
        search(query)
    for query, truth in zip(task.queries, task.truth[share], strict=True):
        began = time.perf_counter()
        found = search(query)
        taken.append(1000 * (time.perf_counter() - began))
        truth = truth[truth >= 0]
        if len(truth):
            recalls.append(numpy.isin(truth, found).mean())
        returned.append(len(found))
    return taken, float(numpy.mean(recalls or [1.0])), float(numpy.mean(returned))


def _quantiles(taken: list[float]) -> dict[str, float]:
    return {"p50_ms": float(numpy.quantile(taken, 0.5)), "p95_ms": float(numpy.quantile(taken, 0.95))}


def anonymous_bytes() -> int:
    """Memory of this process that is no file's; 0 where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def say_growth(ours: dict[int, dict[str, Any]], dim: int) -> None:
    """Fit a power of n to build time and latency, and say what larger spaces would need."""
    sizes = numpy.array(sorted(ours))
    print("\ngrowth, as powers of n:")
    for name, what in (("build_s", "build"), ("p50_ms", "p50"), ("p95_ms", "p95")):
        values = numpy.array([ours[size][name] for size in sizes])
        power, constant = numpy.polyfit(numpy.log(sizes), numpy.log(values), 1)
        guesses = ", ".join(f"{n:.3g}: {numpy.exp(constant) * n**power:,.3g}" for n in (34e6, 1.3e9))
        print(f"  {what:6} n^{power:.2f}   at {guesses} {name.rsplit('_', 1)[1]}")
    held = ours[int(sizes[-1])]["bytes_per_feature"]
    for n in (34e6, 1.3e9):
        print(f"  {n:.3g} features: {held * n / 1e9:,.0f} GB in memory, {2 * dim * n / 1e9:,.0f} GB of vectors on disk")


def summary(given: argparse.Namespace, ours: dict[str, Any], peers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The object of --json."""
    numbers = ("build_s", "bytes_per_feature", "p50_ms", "p95_ms", "recall_at_10")
    exact = peers.get("exact")
    return {
        "features": given.features,
        "dim": given.dim,
        **{name: ours[name] for name in numbers},
        "exact_ratio": exact["p50_ms"] / ours["p50_ms"] if exact else None,
        "filtered": ours["filtered"],
        "nearest_removed": ours["nearest_removed"],
        "random_directions": ours["random_directions"],
        "peers": {name: {number: found[number] for number in numbers} for name, found in peers.items()},
    }


if __name__ == "__main__":
    main()
