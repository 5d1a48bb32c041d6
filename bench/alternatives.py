"""Libraries that could replace parts of the project, beside those parts: `python -m bench.alternatives [--json]`.

The journal of paid answers beside sqlite3 (in WAL mode, a commit for each answer), with the same guarantee: a stored
answer survives `kill -9`. And the service's worker processes beside gunicorn's, serving the same application: requests
a second, and requests lost while the workers are replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy

from bench.support import synthetic
from labeler.llm.journal import Journal, hash_request

ANSWER = {
    "reply": '{"label": "names of exceptions after raise"}' + " because they follow it" * 20,
    "in": 812,
    "out": 31,
}
CONNECTIONS = 4
SECONDS = 6.0  # of load, for each server and turn
TURNS = 3


def main() -> None:
    """Print the figures of both comparisons."""
    parser = argparse.ArgumentParser(prog="python -m bench.alternatives", description=__doc__)
    parser.add_argument("--answers", type=int, default=200_000, help="answers in the journal")
    parser.add_argument("--skip-servers", action="store_true", help="compare the journals alone")
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        figures["journal"] = compare_journals(Path(folder), options.answers)
        if not options.skip_servers:
            figures["workers"] = compare_workers(Path(folder))
    if options.json:
        print(json.dumps(figures))


def compare_journals(folder: Path, answers: int) -> dict[str, dict[str, float]]:
    """Return processor time to put, open and get `answers` answers, and bytes of the files, of journal and sqlite3."""
    keys = [hash_request({"prompt": n}) for n in range(answers)]
    wanted_keys = [keys[n] for n in numpy.random.default_rng(0).integers(0, answers, 5000)]
    figures = {
        "journal": _time_journal(folder / "journal.jsonl", keys, wanted_keys),
        "sqlite3": _time_sqlite(folder / "journal.sqlite", keys, wanted_keys),
    }
    print(f"journal of {answers:,} answers      ours   sqlite3   ours/sqlite3")
    for name in figures["journal"]:
        journal, database = figures["journal"][name], figures["sqlite3"][name]
        print(f"{name:28} {journal:10.4g} {database:10.4g}   {journal / database:.2f}")
    return figures


def _time_journal(path: Path, keys: list[str], wanted_keys: list[str]) -> dict[str, float]:
    began = time.process_time()
    with Journal(path) as journal:
        for key in keys:
            journal.put(key, ANSWER)
    put = time.process_time() - began
    began = time.process_time()
    journal = Journal(path)
    opened = time.process_time() - began
    began = time.process_time()
    assert all(journal.get(key) is not None for key in wanted_keys)
    got = time.process_time() - began
    journal.close()
    return _figures(put, opened, got, len(keys), len(wanted_keys), path)


def _time_sqlite(path: Path, keys: list[str], wanted_keys: list[str]) -> dict[str, float]:
    began = time.process_time()
    with contextlib.closing(_connect(path)) as database:
        database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answer TEXT) WITHOUT ROWID")
        for key in keys:
            database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(ANSWER)))
    put = time.process_time() - began
    began = time.process_time()
    database = _connect(path)
    database.execute("SELECT count(*) FROM (SELECT 1 FROM answers LIMIT 1)").fetchall()
    opened = time.process_time() - began
    began = time.process_time()
    for key in wanted_keys:
        assert json.loads(database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()[0])
    got = time.process_time() - began
    database.close()
    return _figures(put, opened, got, len(keys), len(wanted_keys), path)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a database that commits each statement and does not wait for the disk: as durable as a plain write."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    return database


def _figures(put: float, opened: float, got: float, puts: int, gets: int, path: Path) -> dict[str, float]:
    return {
        "put (us an answer)": put / puts * 1e6,
        "open (ms)": opened * 1e3,
        "get (us an answer)": got / gets * 1e6,
        "bytes an answer": path.stat().st_size / puts,
    }


def compare_workers(folder: Path) -> dict[str, dict[str, float]]:
    """Return requests a second, and requests lost per replacement of the workers, of our workers and of gunicorn's."""
    path = folder / "bench.features"
    with synthetic.build(path, 5000, 64, lambda done: None) as store:
        store.compact()
    pages = [f"/v1/features/{id}" for id in synthetic.feature_ids(5000, 500)]
    servers = {"workers": _our_command(path), "gunicorn": _gunicorn_command(path)}
    figures: dict[str, dict[str, float]] = {}
    for name, command in servers.items():
        with _serve(command) as (process, port):
            _ask(port, pages, SECONDS / 3)  # files opened by the first requests are not measured
            answered = [_ask(port, pages, SECONDS) for _ in range(TURNS)]
            replaced = _ask(port, pages, SECONDS * 2, process)
        figures[name] = {
            "requests a second": statistics.median(turn["answered"] / SECONDS for turn in answered),
            "requests lost of those asked while workers are replaced": replaced["lost"],
            "replacements": replaced["replacements"],
        }
    print("\nworkers                                                      ours   gunicorn")
    for name, value in figures["workers"].items():
        print(f"{name:56} {value:10,.0f} {figures['gunicorn'][name]:10,.0f}")
    return figures


def make_app() -> object:
    """Return the application over the store that $BENCH_STORE names, for gunicorn."""
    import featurestore
    from featurestore.web import create_app

    return create_app(featurestore.connect(os.environ["BENCH_STORE"]))


def _our_command(path: Path) -> list[str]:
    command = [sys.executable, "-u", "-m", "featurestore.cli", "serve", "--workers", "2"]
    return [*command, "--port", "{port}", "--store", str(path)]


def _gunicorn_command(path: Path) -> list[str]:
    os.environ["BENCH_STORE"] = str(path)
    command = [sys.executable, "-m", "gunicorn", "--workers", "2", "--worker-class", "gthread", "--threads", "8"]
    return [*command, "--log-level", "critical", "--bind", "127.0.0.1:{port}", "bench.alternatives:make_app()"]


@contextlib.contextmanager
def _serve(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    process = subprocess.Popen([word.replace("{port}", str(port)) for word in command], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request("GET", "/healthz")
                if connection.getresponse().status == 200:
                    break
            if time.monotonic() > deadline:
                raise SystemExit(f"no server answers: {' '.join(command)}")
            time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ask(
    port: int, pages: list[str], seconds: float, process: subprocess.Popen[bytes] | None = None
) -> dict[str, float]:
    """Ask for pages over kept connections; with a `process`, have it replace its workers every two seconds.

    A request is lost when its connection ends before the status line, also when it is asked again over a new one.
    """
    end, counts, lock = (
        time.monotonic() + seconds,
        {"answered": 0.0, "lost": 0.0, "replacements": 0.0},
        threading.Lock(),
    )

    def send_requests(first: int) -> None:
        """Ask for pages over one connection until the time is over."""
        connection, number = http.client.HTTPConnection("127.0.0.1", port, timeout=30), first
        while time.monotonic() < end:
            number += 1
            try:
                connection.request("GET", pages[number % len(pages)])
                answer = connection.getresponse()
                answer.read()
                outcome = "answered" if answer.status == 200 else "lost"
            except (OSError, http.client.HTTPException):
                connection.close()
                outcome = "lost"
            with lock:
                counts[outcome] += 1

    threads = [threading.Thread(target=send_requests, args=(100 * n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    while process is not None and time.monotonic() < end - 2:
        time.sleep(2)
        process.send_signal(signal.SIGHUP)
        counts["replacements"] += 1
    for thread in threads:
        thread.join()
    return counts


if __name__ == "__main__":
    main()
