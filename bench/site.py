"""python -m bench.site: a static site of many features without examples, and its bytes a feature.

The store is bench.support.synthetic's. Its labels have no embedder here: vectors drawn at random stand for those of
labels and words, which are as large as real ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy

from bench.support import synthetic
from ingest.formats.site import write_site

TARGET_BYTES = 1500


def embed(texts: list[str]) -> numpy.ndarray:
    """Return unit vectors drawn at random, (n, 384) float32."""
    vectors = numpy.random.default_rng(len(texts)).standard_normal((len(texts), 384), dtype=numpy.float32)
    unit: numpy.ndarray = vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def main() -> None:
    """Write a site and print its size, and JSON if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = synthetic.build(Path(folder) / "bench.features", options.features, 0, lambda _: None, examples=False)
        store.embed = embed  # type: ignore[method-assign, assignment]
        names = [row.dictionary for row in store.dictionaries()]
        began = time.perf_counter()
        counts = write_site.write(store, names, "true", f"{folder}/site", {"examples": 0})
        seconds = time.perf_counter() - began
        sizes: dict[str, int] = {}
        for path in Path(folder, "site").rglob("*"):
            if path.is_file():
                kind = path.stem.split("-")[0]
                sizes[kind] = sizes.get(kind, 0) + path.stat().st_size
        store.close()
    figures = {
        "features": counts["features"],
        "labels": counts["labels"],
        "bytes_per_feature": sum(sizes.values()) / counts["features"],
        "features_per_s": counts["features"] / seconds,
        "bytes": sizes,
    }
    print(
        f"{figures['features']:,} features, {figures['labels']:,} labels: {figures['bytes_per_feature']:,.0f} bytes a "
        f"feature (target {TARGET_BYTES:,}), {figures['features_per_s']:,.0f} features a second; "
        + ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sorted(sizes.items()))
    )
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
