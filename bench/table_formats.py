"""Our log beside table formats that could stand in for it: `python -m bench.table_formats [--commits N] [--json]`.

Makes N small commits of the same rows with a store's writer, with Delta Lake (deltalake) and with Lance (pylance), then
opens each afresh and counts its rows. Prints milliseconds a commit and to open, as ratios to ours. A format whose
package is not installed is left out, and the output says so: pip install deltalake pylance.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import pyarrow

import featurestore
from bench.support import synthetic

ROWS = 50  # labels in each commit, as a labeller writes them


def main() -> None:
    """Print the figures of every format that is installed."""
    parser = argparse.ArgumentParser(prog="python -m bench.table_formats", description=__doc__)
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="end with one JSON object")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (package, measure) in FORMATS.items():
            if importlib.util.find_spec(package) is None:
                print(f"{name}: the package {package} is not installed; left out")
                continue
            figures[name] = measure(Path(folder) / name.replace(" ", "-"), options.commits)
            ours = figures["featurestore"]
            cells = "".join(
                f"   {key} {value:8.2f} (ratio {value / ours[key]:.2f})" for key, value in figures[name].items()
            )
            print(f"{name:14}{cells}")
    if options.json:
        print(json.dumps(figures))


def measure_store(path: Path, commits: int) -> dict[str, float]:
    """Milliseconds a commit (median) and to open, of a store."""
    with synthetic.build(path, 1000, 8, lambda done: None) as store:
        name = store.dictionaries()[0].dictionary
        rows = _make_rows(name)

        def commit() -> None:
            with store.writer("bench.table_formats") as writer:
                writer.add("labels", rows, key=name)

        committed = _time_each(commit, commits)
    return {"commit_ms": committed, "open_ms": _time_once(lambda: _count_labels(path))}


def measure_delta(path: Path, commits: int) -> dict[str, float]:
    """Milliseconds a commit (median) and to open, of a Delta Lake table."""
    import deltalake

    rows = _make_rows("synthetic/0-res")
    committed = _time_each(lambda: deltalake.write_deltalake(str(path), rows, mode="append"), commits)
    return {
        "commit_ms": committed,
        "open_ms": _time_once(lambda: deltalake.DeltaTable(str(path)).to_pyarrow_dataset().count_rows()),
    }


def measure_lance(path: Path, commits: int) -> dict[str, float]:
    """Milliseconds a commit (median) and to open, of a Lance data set."""
    import lance

    rows = _make_rows("synthetic/0-res")
    committed = _time_each(lambda: lance.write_dataset(rows, str(path), mode="append"), commits)
    return {"commit_ms": committed, "open_ms": _time_once(lambda: lance.dataset(str(path)).count_rows())}


FORMATS: dict[str, tuple[str, Callable[[Path, int], dict[str, float]]]] = {
    "featurestore": ("featurestore", measure_store),
    "Delta Lake": ("deltalake", measure_delta),
    "Lance": ("lance", measure_lance),
}


def _make_rows(name: str) -> pyarrow.Table:
    return synthetic.draw_labels(numpy.random.default_rng(0), name, numpy.arange(ROWS, dtype=numpy.int32))


def _count_labels(path: Path) -> int:
    with featurestore.connect(path) as store:
        return store.info().rows["labels"]


def _time_each(call: Callable[[], object], times: int) -> float:
    """Median milliseconds of a call."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e3


def _time_once(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main()
