"""A feature page under a flood of hostile requests: conditions that take long, half-sent requests, SQL bombs.

The flood comes from a process of its own, `python -m bench.support.hostile PORT`: its threads must not delay the
requests whose time is taken. It prints the answers that it got when its standard input ends.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bench.support.load import find_descendants, put_load

HALF_SENT = 1010  # connections
RATE = 20.0  # feature pages a second
# The worst that was found of conditions, of texts for the parser, and of statements that take all they get.
CONDITIONS = (
    "error((select string_agg(label, '|') from labels))",
    "pg_sleep(25)",
    "(" * 3900,
    "density > (select max(density) from features a, features b, features c)",
    "regexp_matches(repeat('a', 100000) || 'b', '(a*)*(a*)*c')",
)
STATEMENTS = (
    "WITH a AS (" * 20,
    "SELECT count(*) FROM features a, features b, features c, features d",
    "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))",
    "SELECT repeat('x', 1000) FROM range(1000000000000)",
    "SELECT list_transform(range(100000), lambda x: range(100000))",
)


def measure_flood(process: int, port: int, pages: Iterator[str], seconds: float) -> dict[str, Any]:
    """Latency of feature pages at a steady rate, alone and then under the flood, and processor time spent for it.

    `process` is the service's first process.
    """
    put_load(port, pages, 1.0)
    before = read_processor_seconds(process)
    alone = put_load(port, pages, seconds, 1, RATE) | subtract(read_processor_seconds(process), before)
    command = [sys.executable, "-m", "bench.support.hostile", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
        time.sleep(2.0)
        before = read_processor_seconds(process)
        flooded = put_load(port, pages, seconds, 1, RATE) | subtract(read_processor_seconds(process), before)
        answers = json.loads(flood.communicate("")[0])
    return {"alone": alone, "flooded": flooded, "hostile_answers": answers}


def read_processor_seconds(process: int) -> dict[str, float]:
    """Processor seconds so far of a service's own processes, and of its processes for SQL (Linux)."""
    seconds = {"service_s": 0.0, "sql_s": 0.0}
    for id in [process, *find_descendants(process)]:
        with suppress(OSError):  # it ended meanwhile
            fields = Path(f"/proc/{id}/stat").read_text().rpartition(")")[2].split()
            is_sql = b"worker_process" in Path(f"/proc/{id}/cmdline").read_bytes()
            # Its own, and those of its children that have ended: workers for SQL.
            seconds["sql_s" if is_sql else "service_s"] += sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
            seconds["sql_s"] += sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")
    return seconds


def subtract(after: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Differences of figures by name."""
    return {name: round(after[name] - before[name], 2) for name in after}


def put_flood(port: int) -> dict[str, int]:
    """Send hostile requests until standard input ends; returns the number of answers by status."""
    os.nice(10)  # strangers have processors of their own; here they share ours
    ended = threading.Event()
    paths = [f"/v1/search?text=x&where={quote(where)}" for where in CONDITIONS] * 2
    paths += [f"/v1/sql?sql={quote(statement)}" for statement in STATEMENTS] * 2
    answers: dict[str, int] = {}
    senders = [threading.Thread(target=_repeat, args=(port, path, ended, answers)) for path in paths]
    senders.append(threading.Thread(target=_send_halves, args=(port, ended)))
    for sender in senders:
        sender.start()
    sys.stdin.read()
    ended.set()
    for sender in senders:
        sender.join()
    return dict(sorted(answers.items()))


def _repeat(port: int, path: str, ended: threading.Event, answers: dict[str, int]) -> None:
    """Send one request again and again."""
    while not ended.wait(0.02):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read(1_000_000)  # of an endless answer no more
            answers[str(answer.status)] = answers.get(str(answer.status), 0) + 1
        connection.close()


def _send_halves(port: int, ended: threading.Event) -> None:
    """Keep connections open with requests that never end, a byte each ten seconds; closed ones are opened again."""
    halves: list[socket.socket | None] = [None] * HALF_SENT
    for turn in itertools.count():
        for n, half in enumerate(halves):
            if ended.is_set():
                break
            with suppress(OSError):
                if half is None or turn % 10 == 0:
                    half = half or socket.create_connection(("127.0.0.1", port), timeout=1)
                    halves[n] = half
                    half.sendall(b"X" if turn else b"GET / HTTP/1.1\r\nX: ")
                    continue
                continue
            if half is not None:
                half.close()
            halves[n] = None
        if ended.wait(1.0):
            break
    for half in halves:
        if half is not None:
            half.close()


def format_flood(figures: dict[str, Any]) -> str:
    """Returns the figures as lines."""
    lines = [
        f"feature page {name:8} p50 {figures[name]['p50_ms']:7.1f} ms, p99 {figures[name]['p99_ms']:7.1f} ms, "
        f"{figures[name]['errors']} errors; processor seconds: service {figures[name]['service_s']:.2f}, "
        f"SQL {figures[name]['sql_s']:.2f}"
        for name in ("alone", "flooded")
    ]
    answers = json.dumps(figures["hostile_answers"])
    return "\n".join([*lines, f"answers to hostile requests by status: {answers} (target: p99 under 100 ms)"])


if __name__ == "__main__":
    print(json.dumps(put_flood(int(sys.argv[1]))))
