"""Load on a service over loopback: requests of several connections from this process, and the service's memory."""

from __future__ import annotations

import functools
import http.client
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

CONNECTIONS = 4
SAMPLES = 12  # of memory
MIX = ("feature", "feature", "vector", "nearest", "dictionaries", "sql")  # endpoints of mixed load, one connection each


def put_load(
    port: int, paths: Iterator[str], seconds: float, connections: int = CONNECTIONS, rate: float | None = None
) -> dict[str, float]:
    """Send requests over several connections, as fast as answers come or at `rate` a second: throughput and latency."""
    lock = threading.Lock()
    latencies: list[float] = []
    errors = 0
    ends = time.perf_counter() + seconds

    def send_requests() -> None:
        """Send requests over one connection until the time is over."""
        nonlocal errors
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        due = time.perf_counter()
        while (now := time.perf_counter()) < ends:
            if rate is not None:
                due += connections / rate
                time.sleep(max(0.0, due - now))
            with lock:
                path = next(paths)
            began = time.perf_counter()
            status = get_status(connection, path)
            with lock:
                latencies.append(1000 * (time.perf_counter() - began))
                errors += status != 200
        connection.close()

    began = time.perf_counter()
    _run_threads([send_requests] * connections)
    spent = time.perf_counter() - began
    return {
        "rps": round(len(latencies) / spent, 1),
        "p50_ms": round(statistics.median(latencies), 2),
        "p99_ms": round(statistics.quantiles(latencies, n=100)[98], 2),
        "errors": errors,
    }


def put_mixed_load(
    process: subprocess.Popen[str],
    port: int,
    writer_command: list[str],
    paths: dict[str, Iterator[str]],
    seconds: float,
) -> tuple[int, list[dict[str, float]]]:
    """Ask all endpoints while another process writes, and the workers are replaced half-way.

    Returns the number of failed requests, and the service's memory at SAMPLES times, evenly spaced. A refusal with
    Retry-After is no failure: a client asks again.
    """
    ends = time.monotonic() + seconds
    failures: list[tuple[str, int | str]] = []
    memory: list[dict[str, float]] = []

    def reload_workers() -> None:
        """Replace the workers half-way."""
        time.sleep(seconds / 2)
        process.send_signal(signal.SIGHUP)

    def watch_memory() -> None:
        """Read the memory SAMPLES times."""
        for samples_left in reversed(range(SAMPLES)):
            time.sleep(max(0.0, ends - time.monotonic() - 0.5 - samples_left * seconds / SAMPLES))
            memory.append(read_memory(process.pid))

    lock = threading.Lock()
    clients: list[Callable[[], None]] = [
        functools.partial(_ask_until, port, paths[name], lock, ends, failures) for name in MIX
    ]
    with subprocess.Popen(writer_command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "wrote\n"
        _run_threads([*clients, reload_workers, watch_memory])
        writer.kill()
    for path, status in failures[:5]:
        print(f"{status} at {path}", file=sys.stderr)
    return len(failures), memory


def _ask_until(
    port: int, paths: Iterator[str], lock: threading.Lock, ends: float, failures: list[tuple[str, int | str]]
) -> None:
    """Send requests over one connection until a time; add failures to the list."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < ends:
        with lock:
            path = next(paths)
        status = get_status(connection, path)
        if status not in (200, 429):
            failures.append((path, status))
    connection.close()


def get_status(connection: http.client.HTTPConnection, path: str) -> int | str:
    """Status of a request, or the text of its error. Sends again when the service had closed an idle connection."""
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


def read_memory(process: int) -> dict[str, float]:
    """Memory of a process and its descendants, in MB, without mapped files (Linux): of the whole `service`, and of its
    processes that run `sql`."""
    memory = {"service": 0.0, "sql": 0.0}
    for id in [process, *find_descendants(process)]:
        with suppress(OSError):  # it ended meanwhile
            resident, shared = map(int, Path(f"/proc/{id}/statm").read_text().split()[1:3])
            own = (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6
            memory["service"] += own
            # Workers of the service are forked, and have its command line.
            memory["sql"] += own * (b"featurestore.cli" not in Path(f"/proc/{id}/cmdline").read_bytes())
    return memory


def find_descendants(process: int) -> list[int]:
    """Ids of all descendants of a process, started by any of its threads."""
    children: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            children += map(int, (thread / "children").read_text().split())
    return children + [descendant for child in children for descendant in find_descendants(child)]


def _run_threads(calls: Sequence[Callable[[], None]]) -> None:
    """Run each call in a thread and wait for all."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
