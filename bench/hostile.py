"""A feature page under a flood of hostile requests: conditions that take long, half-sent requests, SQL bombs."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from bench.load import put_load

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


def measure_flood(port: int, pages: Iterator[str], seconds: float) -> dict[str, Any]:
    """Latency of feature pages at a steady rate, alone and then under the flood."""
    put_load(port, pages, 1.0)
    alone = put_load(port, pages, seconds, 1, RATE)
    ended = threading.Event()
    paths = [f"/v1/search?text=x&where={quote(where)}" for where in CONDITIONS] * 2
    paths += [f"/v1/sql?sql={quote(statement)}" for statement in STATEMENTS] * 2
    answers: dict[str, int] = {}
    senders = [threading.Thread(target=_repeat, args=(port, path, ended, answers)) for path in paths]
    senders.append(threading.Thread(target=_send_halves, args=(port, ended)))
    for sender in senders:
        sender.start()
    time.sleep(1.0)
    flooded = put_load(port, pages, seconds, 1, RATE)
    ended.set()
    for sender in senders:
        sender.join()
    return {"alone": alone, "flooded": flooded, "hostile_answers": dict(sorted(answers.items()))}


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
        f"{figures[name]['errors']} errors"
        for name in ("alone", "flooded")
    ]
    answers = json.dumps(figures["hostile_answers"])
    return "\n".join([*lines, f"answers to hostile requests by status: {answers} (target: p99 under 100 ms)"])
