"""The price of being distributed: one harvest alone, and on local clusters of some workers, over the same tokens."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import featurestore
from bench.support.apart import apart
from bench.support.harvest_inputs import read_corpus, write_inputs
from ingest import weights
from ingest.harvest.harvest import harvest
from ingest.harvest.plan import HarvestOptions
from ingest.model.model import Model


def compare_workers(work: Path, options: argparse.Namespace, results: Any) -> dict[str, Any]:
    """Return tokens a second alone and by number of workers, and the bytes moved for each token; prints a line each.

    The speed is that of counting; starting processes and writing the store are apart.
    """
    write_inputs(work, options)
    runs: list[dict[str, Any]] = []
    for workers in (0, *options.ray):
        apart(measure_workers, work, options, results, workers)
        run = dict(results["ray", workers])
        run["ratio"] = run["tokens_per_s"] / (runs[0]["tokens_per_s"] if runs else run["tokens_per_s"])
        runs.append(run)
        name = f"{workers} worker{'s' if workers > 1 else ''}" if workers else "alone"
        print(
            f"{name:>10}: {run['tokens_per_s']:8.0f} tokens/s, {run['ratio']:.2f} of alone; whole harvest "
            f"{run['seconds']:.0f} s, of it writing {run['writing_s']:.0f} s; "
            f"{run['bytes_per_token']:,.0f} bytes moved a token",
            flush=True,
        )
    return {"d_sae": options.d_sae, "tokens": options.tokens, "ray": runs}


def measure_workers(work: Path, options: argparse.Namespace, results: Any, workers: int) -> None:
    """Harvest on a local cluster of so many workers, or with 0 alone, as results["ray", workers]."""
    model, sae = Model(str(work / "model")), weights.read(work / "sae")
    corpus = read_corpus(work, model, options.tokens)
    place = work / f"store-{workers}"
    how = HarvestOptions(ray="local", workers=workers) if workers else HarvestOptions()
    with featurestore.create(place) as store:
        report = harvest(store, model, {"x": sae}, corpus, model_id="random", options=how)
    shutil.rmtree(place)
    results["ray", workers] = {
        "workers": workers,
        "seconds": report.seconds,
        "writing_s": report.stages["writing"],
        "tokens_per_s": report.tokens / report.stages["counting"],
        "bytes_per_token": report.moved / report.tokens,
    }
