"""What a command costs from a cold start: `python -m bench.start [--store PATH] [--runs N] [--json]`.

Prints the processor time (user and system, all threads and child processes) and the wall time of --help, info, sql,
search, nearest and feature, each in a process of its own, beside `python -c "import duckdb, faiss, numpy"`, which is
run in turn with them. The smallest of N runs counts: what other programs do on the machine only adds. The store has
labels and is indexed; without one the demo store is built. With --json the last line is one object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import featurestore

BASE = "import duckdb, faiss, numpy"
# Seconds of processor time that a command may take.
TARGETS = {"--help": 0.4, "info": 1.0, "sql": 1.0, "search": 1.2, "nearest": 1.0, "feature": 1.0}


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a store that is indexed; without, the demo store is built")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        store = options.store or Path(temporary) / "demo.features"
        if options.store is None:
            subprocess.run([*command(), "demo", "--store", str(store), "--no-serve"], check=True)
        figures = measure(commands(store), options.runs)
    base = figures[BASE]["processor_s"]
    print(f"{'':32} processor s   target   times the imports   wall s")
    for name, figure in figures.items():
        target = f"{TARGETS[name]:.1f}" if name in TARGETS else ""
        ratio = figure["processor_s"] / base
        print(f"{name:32} {figure['processor_s']:11.2f} {target:>8} {ratio:19.2f} {figure['wall_s']:8.2f}")
    if options.json:
        print(json.dumps({"runs": options.runs, "load": os.getloadavg()[0], "commands": figures}))


def command() -> list[str]:
    """The command line of this checkout."""
    return [sys.executable, "-m", "featurestore.cli"]


def commands(store: Path) -> dict[str, list[str]]:
    """The arguments of each process by its name."""
    with featurestore.connect(store) as opened:
        id = opened.sql("SELECT dictionary || '/' || feature AS id FROM best_labels ORDER BY ALL LIMIT 1")["id"][
            0
        ].as_py()
    asked = {
        "info": ["info"],
        "sql": ["sql", "SELECT count(*) AS features FROM features"],
        "search": ["search", "exception handling"],
        "nearest": ["nearest", id],
        "feature": ["feature", id],
    }
    return {
        BASE: [sys.executable, "-c", BASE],
        "--help": [*command(), "--help"],
        **{name: [*command(), *arguments, "--store", str(store)] for name, arguments in asked.items()},
    }


def measure(asked: dict[str, list[str]], runs: int) -> dict[str, dict[str, float]]:
    """The smallest processor and wall time of each process, in seconds; the runs of all are taken in turn."""
    figures: dict[str, dict[str, float]] = {}
    for turn in range(runs + 1):  # the first reads the files, and does not count
        for name, arguments in asked.items():
            figure = run(arguments)
            if turn:
                known = figures.setdefault(name, figure)
                figures[name] = {key: min(value, known[key]) for key, value in figure.items()}
    return figures


def run(arguments: list[str]) -> dict[str, float]:
    """Seconds of one process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"processor_s": round(used, 3), "wall_s": round(ended - began, 3)}


if __name__ == "__main__":
    main()
