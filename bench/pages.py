"""Pages in Chromium: `python -m bench.pages [--json] [--features N] [--pages N]`.

Builds a synthetic store of one dictionary (bench/support/synthetic.py) with a map of its features, serves it with
`featurestore serve --workers 1`, and opens it in Chromium. Prints the first paint of feature pages drawn at random, and
in turn with them that of a page that asks the store nothing: the difference is what a feature costs on any machine. How
long a map takes until it is drawn; its frames while it is zoomed and moved, whole and near; and how long it takes to
find the feature under the pointer. Needs Chromium, and Playwright of the extra `test`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
from playwright.sync_api import Page, sync_playwright

from bench.serve import serve
from bench.support import synthetic
from featurestore.extension.progress import show_progress
from featurestore.search.decoder_index import build_decoder_index

DIM = 64
DICTIONARY = "synthetic/0-res"
CLUSTERS = 200
FRAMES = 90  # that are measured
SCALES = {"whole": 1, "near": 12}
# Zooms out and in a little and moves in every frame, as a wheel and a pointer do; gives the times of frames.
MOVE = """([scale, count]) => new Promise((done) => {
  view.scale = scale; view.x = view.y = 0;
  const times = [];
  const step = (now) => {
    times.push(now);
    if (times.length > count) return done(times);
    view.x = 0.02 / scale * Math.sin(times.length / 7);
    view.y = 0.02 / scale * Math.cos(times.length / 9);
    zoom(times.length % 2 ? 1.01 : 1 / 1.01);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""
PAINT = "([scale, count]) => { view = {x: 0, y: 0, scale}; return time(paint, count); }"
FIND = """([scale, count]) => {
  view = {x: 0, y: 0, scale};
  const bounds = canvas.getBoundingClientRect();
  return time((n) => nearest({clientX: bounds.left + 5 * n, clientY: bounds.top + 4 * n}), count);
}"""
TIME = """time = (call, count) => Array.from({length: count}, (_, n) => {
  const began = performance.now(); call(n); return performance.now() - began;
})"""
# Waits for the paint: `wait_for_function` polls with eval, which the policy of our pages forbids.
FIRST_PAINT = """new Promise((done) => new PerformanceObserver((list) => {
  const paint = list.getEntriesByName("first-contentful-paint")[0];
  if (paint) done(paint.startTime);
}).observe({type: "paint", buffered: true}))"""


def main() -> None:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--pages", type=int, default=40, help="feature pages that are opened")
    parser.add_argument("--keep", type=Path, help="build the store here, use it if it is there, and leave it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "bench.features"
        build(path, options.features)
        figures = measure(path, options.features, options.pages)
    print(json.dumps(figures) if options.json else format_figures(figures))


def build(path: Path, features: int) -> None:
    """Build the store at `path`, or finish it: its features, the index of their vectors, and a map."""
    with show_progress() as progress:
        written = progress(f"writing {features:,} features", features)
        with synthetic.build(path, features, DIM, written, of_dictionary=features) as store:
            if store.sql("FROM map_points LIMIT 1").to_pylist():
                return
            store.compact(progress)
            view = store._current_view  # Store.index would embed all labels too, which no page here needs
            with store.writer("bench") as writer:
                build_decoder_index(writer, view.directory, view.snapshot, view.catalog, "synthetic", progress)
                writer.add("map_points", draw_places(features), key=DICTIONARY)


def draw_places(features: int) -> pyarrow.Table:
    """Return a place for each feature, most of them in clusters, as maps have them."""
    rng = numpy.random.default_rng(0)
    centres = rng.uniform(-0.9, 0.9, (CLUSTERS, 2))
    places = centres[rng.integers(0, CLUSTERS, features)] + rng.normal(0, 0.05, (features, 2))
    places = places.clip(-1, 1).astype(numpy.float32)
    columns = {"dictionary": [DICTIONARY] * features, "feature": numpy.arange(features, dtype=numpy.int32)}
    return pyarrow.table(columns | {"x": places[:, 0], "y": places[:, 1]})


def measure(path: Path, features: int, count: int) -> dict[str, Any]:
    """Return the figures of a store in Chromium, times in milliseconds."""
    command = [sys.executable, "-u", "-m", "featurestore.cli", "serve", "--workers", "1", "--port", "0"]
    # The first pages, which open files and warm up, are not counted.
    with serve([*command, "--store", str(path)]) as (_, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}", viewport={"width": 1280, "height": 860})
        of_features, of_form = measure_first_paints(page, features, count)
        figures = {"features": features} | summarise("first_paint", of_features) | summarise("form_paint", of_form)
        ratios = [paint / empty for paint, empty in zip(of_features, of_form, strict=True)]
        figures["first_paint_ratio"] = round(statistics.median(ratios), 2)
        figures |= measure_map(page)
        browser.close()
    return figures


def measure_first_paints(page: Page, features: int, count: int) -> tuple[list[float], list[float]]:
    """Return the first contentful paints of pages of features drawn at random, and of an empty form in turn with them.

    What all pages share is cached.
    """
    rng = numpy.random.default_rng(0)
    paints: tuple[list[float], list[float]] = ([], [])
    for feature in rng.integers(0, features, count + 2).tolist():
        for kind, path in zip(paints, (f"/features/{DICTIONARY}/{feature}", "/text"), strict=True):
            page.goto(path)
            kind.append(page.evaluate(FIRST_PAINT))
    return paints[0][2:], paints[1][2:]


def measure_map(page: Page) -> dict[str, Any]:
    """Return the figures of the map: until it is drawn, its frames, the time of drawing one, and of finding a point."""
    began = time.perf_counter()
    page.goto(f"/map/{DICTIONARY}", timeout=120_000)
    page.locator(".map[data-ready]").wait_for(timeout=120_000)
    figures: dict[str, Any] = {"map_ready_ms": round(1000 * (time.perf_counter() - began))}
    page.evaluate(TIME)
    for name, scale in SCALES.items():
        times = page.evaluate(MOVE, [scale, FRAMES])
        figures |= summarise(f"frame_{name}", numpy.diff(times).tolist())
        figures |= summarise(f"draw_{name}", page.evaluate(PAINT, [scale, FRAMES // 3]))
    return figures | summarise("find", page.evaluate(FIND, [1, FRAMES // 3]))


def summarise(name: str, times: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile of times."""
    return {
        f"{name}_p50_ms": round(statistics.median(times), 1),
        f"{name}_p95_ms": round(float(numpy.percentile(times, 95)), 1),
    }


def format_figures(figures: dict[str, Any]) -> str:
    """Return the figures as lines."""

    def show(name: str) -> str:
        return f"{figures[f'{name}_p50_ms']:.1f} ms, p95 {figures[f'{name}_p95_ms']:.1f} ms"

    lines = [
        f"first paint of a feature's page, of {figures['features']:,}: {show('first_paint')} (target 150)",
        f"  of an empty form, in turn with them: {show('form_paint')}; "
        f"{figures['first_paint_ratio']:.2f} times that, the median of pairs",
        f"map drawn after {figures['map_ready_ms']:,} ms",
    ]
    for name in SCALES:
        lines.append(
            f"  moved and zoomed, {name}: a frame {show(f'frame_{name}')}; drawing alone {show(f'draw_{name}')}"
        )
    return "\n".join([*lines, f"  the feature under the pointer: {show('find')}"])


if __name__ == "__main__":
    main()
