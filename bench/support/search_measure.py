"""How bench.search measures an engine: build and search in new processes, with filters and without."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy

from bench.support.engines import Engine
from bench.support.search_task import SELECTIVITIES, STREAM, K, Task, compute_cosines
from featurestore.search import vectors

REMOVED = (1_000, 10_000)  # nearest rows that the hardest filters forbid, a filter for each query
HARDEST = 8  # queries that are asked with them
RANDOM = 32  # directions that are near to no row


def measure(engine: type[Engine], task: Task) -> dict[str, Any]:
    """Build and search in new processes: figures of an engine; empty when it is skipped or fails, which is printed."""
    skipped = find_reason_to_skip(engine, task)
    if skipped:
        print(f"{engine.name:10} skipped: {skipped}", flush=True)
        return {}
    with tempfile.TemporaryDirectory(dir=task.files[0].parent) as folder:
        answers = run_in_process(build_and_search, engine, task, Path(folder))
        if answers and isinstance(answers[-1], Engine):
            answers = answers[:1] + run_in_process(open_and_search, answers[-1], task)
    if len(answers) < 2:
        print(f"{engine.name:10} failed: its process ended early", flush=True)
        return {}
    return {**answers[0], **answers[1]}


def find_reason_to_skip(engine: type[Engine], task: Task) -> str:
    """Reason why an engine cannot run here, empty if it can."""
    if engine.module and importlib.util.find_spec(engine.module) is None:
        return f"{engine.module} is not installed (pip install 'featurestore[bench]')"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = engine.needs_bytes(task.rows, task.queries.shape[1])
    if needed > 0.8 * memory:
        return f"it holds some {needed / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f}"
    return ""


def build_and_search(engine_class: type[Engine], task: Task, folder: Path, answer: Connection) -> None:
    """Build in this new process, and search. An index on disk is sent instead, to be opened by another process."""
    before = read_anonymous_bytes()
    began = time.perf_counter()
    engine = engine_class(task.files, folder, task.recall)
    answer.send({"build_s": time.perf_counter() - began})
    if engine.on_disk:
        answer.send(engine)
        return
    used = read_anonymous_bytes() - before
    answer.send({"bytes_per_feature": used / task.rows, **measure_searches(engine, task)})


def open_and_search(engine: Engine, task: Task, answer: Connection) -> None:
    """Open in this new process an index that another has built, and search."""
    before = read_anonymous_bytes()
    engine.open()
    used = read_anonymous_bytes() - before
    answer.send({"bytes_per_feature": used / task.rows, **measure_searches(engine, task)})


def run_in_process(work: Any, *arguments: Any) -> list[Any]:
    """Returns what `work` sends from a new process, so that the memory of one engine is not counted as another's."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(*arguments, sender))
    process.start()
    sender.close()
    answers = []
    with contextlib.suppress(EOFError):
        while True:
            answers.append(receiver.recv())
    process.join()
    return answers


def measure_searches(engine: Engine, task: Task) -> dict[str, Any]:
    """Latency and recall at the least effort that reaches the task's recall, or at the greatest."""
    for effort in engine.efforts:
        latencies, recall, _ = ask_queries(lambda query: engine.search(query, K, effort), task, 1.0)  # noqa: B023
        if recall >= task.recall:
            break
    figures: dict[str, Any] = {"effort": effort or "", "recall_at_10": recall, **_quantiles(latencies)}
    figures["filtered"] = []
    for share in SELECTIVITIES if engine.filters else ():
        allowed = task.select_rows(share)
        latencies, recall, returned = ask_queries(
            lambda query: engine.search_filtered(query, K, effort, allowed, share),  # noqa: B023
            task,
            share,
        )
        row = {"selectivity": share, "recall_at_10": recall, "returned": returned}
        figures["filtered"].append(row | _quantiles(latencies))
    if engine.hardest:
        figures |= {"nearest_removed": measure_hardest(engine, task), "random_directions": measure_random(engine, task)}
    return figures


def measure_hardest(engine: Engine, task: Task) -> list[dict[str, Any]]:
    """Latency and recall under filters that forbid exactly the rows nearest to the query and no other."""
    queries = task.queries[:HARDEST]
    cosines = compute_cosines(task, queries)
    figures = []
    for removed in (count for count in REMOVED if count + K <= task.rows):
        latencies, recalls = [], []
        for query, near in zip(queries, cosines, strict=True):
            order = numpy.argpartition(-near, (removed - 1, removed + K - 1))[: removed + K]
            allowed = numpy.ones(len(near), bool)
            allowed[order[:removed]] = False
            began = time.perf_counter()
            rows = engine.search_filtered(query, K, 0, allowed, 1.0)
            latencies.append(1000 * (time.perf_counter() - began))
            recalls.append(float(numpy.isin(order[removed:], rows).mean()))
        figures.append({"removed": removed, "recall_at_10": float(numpy.mean(recalls)), **_quantiles(latencies)})
    return figures


def measure_random(engine: Engine, task: Task) -> dict[str, float]:
    """Latency and recall of directions that no row is near to, as a steering vector may be."""
    directions = numpy.random.default_rng(STREAM).standard_normal((RANDOM, task.queries.shape[1]), dtype=numpy.float32)
    queries = vectors.unit(directions)
    truth = numpy.argpartition(-compute_cosines(task, queries), K - 1, axis=1)[:, :K]
    latencies, recall, _ = ask_queries(
        lambda query: engine.search(query, K, 0), dataclasses.replace(task, queries=queries, truth={1.0: truth}), 1.0
    )
    return {"recall_at_10": recall, **_quantiles(latencies)}


def ask_queries(
    search: Callable[[numpy.ndarray], numpy.ndarray], task: Task, share: float
) -> tuple[list[float], float, float]:
    """Latency of each query in ms, mean recall, and mean number of rows returned."""
    latencies, recalls, returned = [], [], []
    for query in task.queries:
        search(query)
    for query, truth in zip(task.queries, task.truth[share], strict=True):
        began = time.perf_counter()
        rows = search(query)
        latencies.append(1000 * (time.perf_counter() - began))
        truth = truth[truth >= 0]
        if len(truth):
            recalls.append(numpy.isin(truth, rows).mean())
        returned.append(len(rows))
    return latencies, float(numpy.mean(recalls or [1.0])), float(numpy.mean(returned))


def _quantiles(latencies: list[float]) -> dict[str, float]:
    return {"p50_ms": float(numpy.quantile(latencies, 0.5)), "p95_ms": float(numpy.quantile(latencies, 0.95))}


def read_anonymous_bytes() -> int:
    """Memory of this process without mapped files, in bytes; 0 where the system has no /proc."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return 1024 * int(status.split("RssAnon:")[1].split()[0])
