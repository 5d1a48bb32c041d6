"""The service under load, beside a bare Flask route in the same run: `python -m bench.serve [--json] [--features
N]`.

Builds a synthetic store, serves it with `featurestore serve --workers 1` and a bare Flask route with waitress, and
asks both over loopback from one process of several connections. Prints each endpoint's throughput and times at
saturation, the page's p99 at half of it, and the errors of mixed load during which another process writes labels and
the workers are replaced.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench import synthetic

DIM = 64
CONNECTIONS = 4
SAMPLES = 12  # of memory
TURNS = 8  # in which the bare route and the page are asked: a machine's speed changes from one second to the next
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
from bench import synthetic
store, rng = featurestore.connect(sys.argv[1]), numpy.random.default_rng()
name = store.dictionaries()[0].dictionary
while True:
    with store.writer("bench.serve") as writer:
        writer.add("labels", synthetic._labels(rng, name, numpy.arange(50, dtype=numpy.int32)), key=name)
    print("wrote", flush=True)
    time.sleep(1)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--mixed", type=float, default=60.0, help="seconds of mixed load; the target says 600")
    parser.add_argument("--minutes", type=float, help="minutes of mixed load, in place of --mixed")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder) / "bench.features",
            asked.features,
            asked.seconds,
            asked.minutes * 60 if asked.minutes else asked.mixed,
        )
    print(json.dumps(found) if asked.json else told(found))


def measure(path: Path, features: int, seconds: float, mixed: float) -> dict[str, Any]:
    """All figures, over a store of so many features."""
    with synthetic.build(path, features, DIM, lambda done: None) as store:
        store.compact()  # type: ignore[attr-defined]
        store.index()  # type: ignore[attr-defined]
    command = [
        sys.executable,
        "-u",
        "-m",
        "featurestore.cli",
        "serve",
        "--workers",
        "1",
        "--port",
        "0",
        "--store",
        str(path),
    ]
    with served(command) as (process, port), served([sys.executable, "-c", BARE]) as (_, bare_port):
        wait_ready(port)
        ids = itertools.cycle(list(synthetic.feature_ids(features, 2000)))
        asked = paths(ids)
        bare, page = beside(bare_port, port, asked["feature"], seconds / 2)
        # More SQL at once than its lane takes would be refused.
        endpoints = {
            name: load(port, some, seconds, 2 if name == "sql" else CONNECTIONS) for name, some in asked.items()
        }
        half = load(port, asked["feature"], seconds, CONNECTIONS, statistics.median(page) / 2)
        errors, memory = mixed_load(process, port, path, asked, mixed)
    ratios = [one / other for one, other in zip(page, bare, strict=True)]
    return {
        "bare_rps": round(statistics.median(bare), 1),
        "page_rps": round(statistics.median(page), 1),
        "page_ratio": round(statistics.median(ratios), 3),
        "page_ratios": [round(one, 3) for one in ratios],
        "page_half_p99_ms": half["p99_ms"],
        "errors": errors + sum(one.pop("errors") for one in endpoints.values()) + half["errors"],
        "endpoints": endpoints,
        "rss_growth_mb": round(grown(memory), 1),
        "memory_mb": [{name: round(value, 1) for name, value in one.items()} for one in memory],
    }


def beside(bare: int, port: int, pages: Iterator[str], seconds: float) -> tuple[list[float], list[float]]:
    """Throughput of the bare route and of pages, asked in turns."""
    load(port, pages, seconds)  # what is opened with the first pages is no page's work
    turns = [
        (load(bare, itertools.repeat("/a/b/c"), seconds)["rps"], load(port, pages, seconds)["rps"])
        for _ in range(TURNS)
    ]
    return [one for one, _ in turns], [one for _, one in turns]


def grown(memory: list[dict[str, float]]) -> float:
    """By how much the last quarter's median is above that of the quarter before, in which the new workers warmed up:
    how many of the processes for SQL there are at a moment is chance."""
    last, before = memory[-SAMPLES // 4 :], memory[-SAMPLES // 2 : -SAMPLES // 4]
    return statistics.median(one["service"] for one in last) - statistics.median(one["service"] for one in before)


def paths(ids: Iterator[str]) -> dict[str, Iterator[str]]:
    """What each endpoint is asked, for ever."""
    sql = quote("SELECT count(*) FROM features WHERE density > 0.01")
    return {
        "feature": (f"/v1/features/{id}?examples={n}" for n, id in enumerate(ids, 100)),  # no answer is asked for twice
        "feature again": (f"/v1/features/{id}" for id in itertools.cycle(list(itertools.islice(ids, 100)))),
        "vector": (f"/v1/vectors/{id}" for id in ids),
        "dictionaries": itertools.repeat("/v1/dictionaries"),
        "nearest": (f"/v1/nearest?near={id}" for id in ids),
        "sql": itertools.repeat(f"/v1/sql?sql={sql}"),
    }


def load(
    port: int, asked: Iterator[str], seconds: float, connections: int = CONNECTIONS, rate: float | None = None
) -> dict[str, float]:
    """Ask from several connections at once, as fast as answers come or at `rate` a second: throughput and times."""
    lock = threading.Lock()
    took: list[float] = []
    errors = [0]
    ends = time.perf_counter() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        due = time.perf_counter()
        while (now := time.perf_counter()) < ends:
            if rate is not None:
                due += connections / rate
                time.sleep(max(0.0, due - now))
            with lock:
                path = next(asked)
            began = time.perf_counter()
            status = _got(connection, path)
            with lock:
                took.append(1000 * (time.perf_counter() - began))
                errors[0] += status != 200
        connection.close()

    began = time.perf_counter()
    _together([ask] * connections)
    spent = time.perf_counter() - began
    return {
        "rps": round(len(took) / spent, 1),
        "p50_ms": round(statistics.median(took), 2),
        "p99_ms": round(statistics.quantiles(took, n=100)[98], 2),
        "errors": errors[0],
    }


def mixed_load(
    process: subprocess.Popen[str], port: int, store: Path, asked: dict[str, Iterator[str]], seconds: float
) -> tuple[int, list[dict[str, float]]]:
    """Requests that fail while all endpoints are asked, another process writes, and the workers are replaced
    half-way.

    A refusal with Retry-After is no error; a client asks again. And the service's memory at SAMPLES times, evenly
    spaced.
    """
    each = [asked[name] for name in ("feature", "feature", "vector", "nearest", "dictionaries", "sql")]
    lock = threading.Lock()
    strange: list[Any] = []
    ends = time.monotonic() + seconds

    def ask(some: Iterator[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < ends:
            with lock:
                path = next(some)
            status = _got(connection, path)
            if status not in (200, 429):
                strange.append((path, status))
        connection.close()

    memory: list[dict[str, float]] = []

    def reload() -> None:
        time.sleep(seconds / 2)
        process.send_signal(signal.SIGHUP)

    def watch() -> None:
        for left in reversed(range(SAMPLES)):
            time.sleep(max(0.0, ends - time.monotonic() - 0.5 - left * seconds / SAMPLES))
            memory.append(memory_of(process.pid))

    with subprocess.Popen([sys.executable, "-c", WRITER, str(store)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "wrote\n"
        _together([*(lambda some=some: ask(some) for some in each), reload, watch])  # type: ignore[misc]
        writer.kill()
    for path, status in strange[:5]:
        print(f"{status} at {path}", file=sys.stderr)
    return len(strange), memory


def _got(connection: http.client.HTTPConnection, path: str) -> int | str:
    """The status of a request, or what broke it; asked once more where the service had closed an idle connection."""
    for again in (True, False):
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (http.client.HTTPException, OSError) as exc:
            connection.close()
            if not again or not isinstance(
                exc, http.client.RemoteDisconnected | BrokenPipeError | ConnectionResetError
            ):
                return repr(exc)
    raise AssertionError("the second try returns")


@contextmanager
def served(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service, and its port."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield process, int(line.split(" at ")[1].split()[0].rpartition(":")[2])
        process.terminate()


def wait_ready(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while _got(connection, "/readyz") != 200:
        time.sleep(0.1)
    # What is warmed up, is warmed up beside the first requests: a search waits for the last of it.
    assert _got(connection, "/v1/search?text=anything") == 200
    connection.close()
    time.sleep(1)


def memory_of(process: int) -> dict[str, float]:
    """Memory of a process and all below it, in MB, without files they have mapped, which is the system's (Linux): of
    the whole `service`, and of it what runs strangers' `sql`."""
    found = {"service": 0.0, "sql": 0.0}
    for one in [process, *_descendants(process)]:
        with suppress(OSError):  # it ended meanwhile
            resident, shared = map(int, Path(f"/proc/{one}/statm").read_text().split()[1:3])
            own = (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6
            found["service"] += own
            # Workers of the service are forked, and have its command line.
            found["sql"] += own * (b"featurestore.cli" not in Path(f"/proc/{one}/cmdline").read_bytes())
    return found


def _descendants(process: int) -> list[int]:
    """All processes below one, by whichever of its threads they were started."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found + [more for one in found for more in _descendants(one)]


def _together(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def told(found: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [
        f"bare Flask route     {found['bare_rps']:10,.0f} requests a second",
        f"feature page         {found['page_rps']:10,.0f} ({found['page_ratio']:.0%} of it, "
        f"{min(found['page_ratios']):.0%} to {max(found['page_ratios']):.0%} in {TURNS} turns; target 25 %)",
        f"  at half of that    {found['page_half_p99_ms']:10.1f} ms p99 (target 50)",
    ]
    for name, one in found["endpoints"].items():
        lines.append(f"{name:20} {one['rps']:10,.0f} a second, p50 {one['p50_ms']:.1f} ms, p99 {one['p99_ms']:.1f} ms")
    return "\n".join(
        [
            *lines,
            f"errors               {found['errors']:10,}",
            f"memory grown by      {found['rss_growth_mb']:10,.1f} MB in the last quarter, SQL's processes among it",
            "memory, MB           " + " ".join(f"{one['service']:,.0f}" for one in found["memory_mb"]),
        ]
    )


if __name__ == "__main__":
    main()
