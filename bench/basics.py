"""The figures of speed in docs/design.md, each beside its peer in the same run: `python -m bench.basics [--json]`.

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
from featurestore.display.float32 import round_column
from featurestore.search import embedders
from featurestore.storage.directory import Directory
from featurestore.tables import feature_rows, grouped_rows
from featurestore.tables.schema import Gate


def milliseconds(action: Callable[[], Any], times: int = 50) -> float:
    """Median time of an action in ms, after one run that does not count."""
    action()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        action()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def demo_seconds(path: Path) -> dict[str, float]:
    """Seconds from the command to the first answered request, on a first start and on a second over the same store."""
    seconds = {}
    for name in ("demo_first_s", "demo_again_s"):
        port = free_port()
        command = [sys.executable, "-m", "featurestore.cli", "demo", "--store", str(path), "--port", str(port)]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_for(f"http://127.0.0.1:{port}/healthz", process)
            seconds[name] = time.perf_counter() - began
            process.terminate()
    return seconds


def free_port() -> int:
    """Returns a port on which no process listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the service answers at `url` or its process has ended."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)


def measure(path: Path) -> dict[str, float]:
    """Measure every figure on the store at `path`; the demo's starts are measured elsewhere."""
    store = featurestore.connect(path)
    feature_id = store.sql("SELECT dictionary || '/' || feature AS id FROM features WHERE state = 'live' LIMIT 1")[
        "id"
    ].to_pylist()[0]
    ids = store.sql("SELECT dictionary || '/' || feature AS id FROM features")["id"].to_pylist()
    matrix = numpy.stack([store.vector(each) for each in ids])
    matrix /= numpy.linalg.norm(matrix, axis=1, keepdims=True)
    vector = store.vector(feature_id)
    embedder = embedders.open_embedder()
    examples = store.sql("FROM stored.examples").to_arrow()
    gate = Gate()
    with tempfile.TemporaryDirectory() as folder:
        figures = {
            "features": float(len(ids)),
            "nearest_ms": milliseconds(lambda: store.nearest(feature_id, k=10)),
            "nearest_numpy_scan_ms": milliseconds(lambda: numpy.argsort(-(matrix @ vector))[:10]),
            "page_ms": milliseconds(lambda: store.feature(feature_id)),
            "search_ms": milliseconds(lambda: store.search("exception handling")),
            "search_embedding_alone_ms": milliseconds(lambda: embedder(["exception handling"])),
            "gate_ms_per_100k_examples": milliseconds(lambda: gate.check("examples", examples), 5)
            * 1e5
            / examples.num_rows,
            "parquet_ms_per_100k_examples": milliseconds(
                lambda: pyarrow.parquet.write_table(examples, Path(folder) / "x.parquet", compression="zstd"), 5
            )
            * 1e5
            / examples.num_rows,
        }
    store.close()
    return figures


def measure_page_examples(path: Path) -> dict[str, float]:
    """Time of reading the examples of one feature from a mapped file, and by pyarrow's reader, mapped too; ms."""
    directory = Directory(path)
    file = directory.local(directory.snapshot().parts("example_rows")[0])
    reader = grouped_rows.GroupedRows(file, 0)
    peer_file = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))
    features = peer_file.num_record_batches * grouped_rows.BATCH_FEATURES
    live = [number for number in range(0, features, 7) if reader.of_feature(number)]
    places = itertools.cycle(live)

    def read() -> None:
        """Read all columns of the next feature."""
        example_rows = reader.of_feature(next(places))
        assert example_rows is not None
        for name in example_rows.names:
            if name in ("offsets", "activations"):
                example_rows.lists(name)
            else:
                example_rows.values(name)

    def read_by_pyarrow() -> None:
        """Read the same columns by pyarrow."""
        batch, row = divmod(next(places), grouped_rows.BATCH_FEATURES)
        rows = peer_file.get_batch(batch).column(0).slice(row, 1).flatten()
        for column in rows.flatten():
            if pyarrow.types.is_list(column.type):
                column.value_lengths().to_numpy(zero_copy_only=False)
                column.flatten().to_numpy(zero_copy_only=False)
            else:
                column.to_pylist()

    return {"page_examples_ms": milliseconds(read, 200), "page_examples_pyarrow_ms": milliseconds(read_by_pyarrow, 200)}


def measure_page_rows(path: Path) -> dict[str, float]:
    """Time of reading one row of features from a mapped file, and by pyarrow's reader, mapped too; ms."""
    directory = Directory(path)
    file = directory.local(directory.snapshot().parts("feature_rows")[0])
    reader = feature_rows.FeatureRows(file)
    # Rows of one batch after another.
    places = itertools.cycle(range(0, reader.table().num_rows, feature_rows.BATCH_ROWS))
    peer_file = pyarrow.ipc.open_file(pyarrow.memory_map(str(file)))

    def read_by_pyarrow() -> dict[str, Any]:
        """Read the next row by pyarrow."""
        batch, row = divmod(next(places), feature_rows.BATCH_ROWS)
        row_values: dict[str, Any] = peer_file.get_batch(batch).slice(row, 1).to_pylist()[0]
        return row_values

    first = next(places)
    batch, row = divmod(first, feature_rows.BATCH_ROWS)
    # The file leaves out what is one value for all its rows, and the reader gives it back.
    held_row = peer_file.get_batch(batch).slice(row, 1)
    held = {name: round_column(held_row[name]).to_pylist()[0] for name in held_row.schema.names}
    answered = reader.row(first)
    assert repr({name: answered[name] for name in held}) == repr(held)
    return {
        "page_row_ms": milliseconds(lambda: reader.row(next(places)), 200),
        "page_row_pyarrow_ms": milliseconds(read_by_pyarrow, 200),
    }


def main() -> None:
    """Build the demo store, or open one, measure, and print the table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.basics", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--store", type=Path, help="a demo store that is there, in place of building one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.store or Path(folder) / "demo.features"
        figures = {} if arguments.store else demo_seconds(path)
        figures |= measure(path) | measure_page_rows(path) | measure_page_examples(path)
    show(figures)
    if arguments.json:
        print(json.dumps(figures))


def show(figures: dict[str, float]) -> None:
    """Print each figure beside its peer."""
    rows = []
    if "demo_first_s" in figures:
        rows += [
            ("demo: command to first answer", figures["demo_first_s"], "s", "limit 90", 90.0),
            ("demo: second start", figures["demo_again_s"], "s", "the first", figures["demo_first_s"]),
        ]
    rows += [
        ("nearest, 10 of all features", figures["nearest_ms"], "ms", "NumPy scan", figures["nearest_numpy_scan_ms"]),
        (
            "search by meaning and words",
            figures["search_ms"],
            "ms",
            "embedding alone",
            figures["search_embedding_alone_ms"],
        ),
        ("a feature's page", figures["page_ms"], "ms", "limit 10", 10.0),
        ("one row of a page", figures["page_row_ms"], "ms", "pyarrow's reader", figures["page_row_pyarrow_ms"]),
        (
            "the examples of a page",
            figures["page_examples_ms"],
            "ms",
            "pyarrow's reader",
            figures["page_examples_pyarrow_ms"],
        ),
        (
            "gate, 100,000 examples",
            figures["gate_ms_per_100k_examples"],
            "ms",
            "unchecked Parquet",
            figures["parquet_ms_per_100k_examples"],
        ),
    ]
    for quantity, value, unit, peer, reference in rows:
        print(
            f"{quantity:<32} {value:9.2f} {unit:<3} {peer:<18} {reference:9.2f} {unit:<3} ratio {value / reference:.2f}"
        )


if __name__ == "__main__":
    main()
