"""What docs/design.md says of speed, each figure beside its peer in the same run: `python -m bench.basics [--json]`.

Builds the demo store in a temporary directory and serves it; then times a nearest-vector query against NumPy, a
feature's page, a row of it against pyarrow's reader, a search by meaning against embedding its text alone, and the
schema's gate against writing Parquet unchecked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

import featurestore
from featurestore.search import embedders
from featurestore.storage.directory import Directory
from featurestore.tables import feature_rows, grouped_rows
from featurestore.tables.schema import Gate


def milliseconds(action: Callable[[], Any], times: int = 50) -> float:
    """The median time of an action, after one run that does not count."""
    action()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def demo_seconds(path: Path) -> dict[str, float]:
    """Seconds from the command to the first answered request, and of a second start over the same store."""
    found = {}
    for name in ("demo_first_s", "demo_again_s"):
        port = free_port()
        command = [sys.executable, "-m", "featurestore.cli", "demo", "--store", str(path), "--port", str(port)]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(f"http://127.0.0.1:{port}/healthz", process)
            found[name] = time.perf_counter() - began
            process.terminate()
    return found


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen) -> None:
    """Until a service answers there, or has ended."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)


def measure(path: Path) -> dict[str, float]:
    """Every figure, on the store at `path`."""
    store: Any = featurestore.connect(path)
    one = store.sql("SELECT dictionary || '/' || feature AS id FROM features WHERE state = 'live' LIMIT 1")[
        "id"
    ].to_pylist()[0]
    ids = store.sql("SELECT dictionary || '/' || feature AS id FROM features")["id"].to_pylist()
    matrix = numpy.stack([store.vector(id) for id in ids])
    matrix /= numpy.linalg.norm(matrix, axis=1, keepdims=True)
    vector = store.vector(one)
    embedder = embedders.open_embedder()
    examples = store.sql("FROM stored.examples")
    gate = Gate()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "features": float(len(ids)),
            "nearest_ms": milliseconds(lambda: store.nearest(one, k=10)),
            "nearest_numpy_scan_ms": milliseconds(lambda: numpy.argsort(-(matrix @ vector))[:10]),
            "page_ms": milliseconds(lambda: store.feature(one)),
            "search_ms": milliseconds(lambda: store.search("exception handling")),
            "search_embedding_alone_ms": milliseconds(lambda: embedder(["exception handling"])),
            "gate_ms_per_100k_examples": milliseconds(lambda: gate.checked("examples", examples), 5)
            * 1e5
            / examples.num_rows,
            "parquet_ms_per_100k_examples": milliseconds(
                lambda: pyarrow.parquet.write_table(examples, Path(folder) / "x.parquet", compression="zstd"), 5
            )
            * 1e5
            / examples.num_rows,
        }
    store.close()
    return found


def page_examples(path: Path) -> dict[str, float]:
    """The examples of one feature read where they lie, beside pyarrow's reader, mapped too; ms for each."""
    directory = Directory(path)
    file = directory.local(directory.snapshot().parts("example_rows")[0])
    ours = grouped_rows.Gathered(file, 0)
    theirs = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))
    features = theirs.num_record_batches * grouped_rows.BATCH_FEATURES
    live = [number for number in range(0, features, 7) if ours.of_feature(number)]
    places = itertools.cycle(live)

    def read() -> None:
        cut = ours.of_feature(next(places))
        assert cut is not None
        for name in cut.names:
            if name in ("offsets", "activations"):
                cut.lists(name)
            else:
                cut.values(name)

    def peer() -> None:
        batch, row = divmod(next(places), grouped_rows.BATCH_FEATURES)
        rows = theirs.get_batch(batch).column(0).slice(row, 1).flatten()
        for column in rows.flatten():
            if pyarrow.types.is_list(column.type):
                column.value_lengths().to_numpy(zero_copy_only=False)
                column.flatten().to_numpy(zero_copy_only=False)
            else:
                column.to_pylist()

    return {"page_examples_ms": milliseconds(read, 200), "page_examples_pyarrow_ms": milliseconds(peer, 200)}


def page_rows(path: Path) -> dict[str, float]:
    """One row of features read where it lies, beside pyarrow's reader, mapped too; ms for each."""
    directory = Directory(path)
    file = directory.local(directory.snapshot().parts("feature_rows")[0])
    ours = feature_rows.FeatureRows(file)
    # Rows of one batch after another.
    places = itertools.cycle(range(0, ours.table().num_rows, feature_rows.BATCH_ROWS))
    theirs = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))

    def peer() -> dict[str, Any]:
        batch, row = divmod(next(places), feature_rows.BATCH_ROWS)
        return theirs.get_batch(batch).slice(row, 1).to_pylist()[0]

    first = next(places)
    batch, row = divmod(first, feature_rows.BATCH_ROWS)
    assert repr(ours.row(first)) == repr(theirs.get_batch(batch).slice(row, 1).to_pylist()[0])
    return {
        "page_row_ms": milliseconds(lambda: ours.row(next(places)), 200),
        "page_row_pyarrow_ms": milliseconds(peer, 200),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.basics", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.features"
        found = demo_seconds(path) | measure(path) | page_rows(path) | page_examples(path)
    rows = [
        ("demo: command to first answer", found["demo_first_s"], "s", "limit 90", 90.0),
        ("demo: second start", found["demo_again_s"], "s", "the first", found["demo_first_s"]),
        ("nearest, 10 of all features", found["nearest_ms"], "ms", "NumPy scan", found["nearest_numpy_scan_ms"]),
        (
            "search by meaning and words",
            found["search_ms"],
            "ms",
            "embedding alone",
            found["search_embedding_alone_ms"],
        ),
        ("a feature's page", found["page_ms"], "ms", "limit 10", 10.0),
        ("one row of a page", found["page_row_ms"], "ms", "pyarrow's reader", found["page_row_pyarrow_ms"]),
        (
            "the examples of a page",
            found["page_examples_ms"],
            "ms",
            "pyarrow's reader",
            found["page_examples_pyarrow_ms"],
        ),
        (
            "gate, 100,000 examples",
            found["gate_ms_per_100k_examples"],
            "ms",
            "unchecked Parquet",
            found["parquet_ms_per_100k_examples"],
        ),
    ]
    for what, ours, unit, peer, theirs in rows:
        print(f"{what:<32} {ours:9.2f} {unit:<3} {peer:<18} {theirs:9.2f} {unit:<3} ratio {ours / theirs:.2f}")
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
