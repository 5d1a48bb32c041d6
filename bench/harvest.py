"""python -m bench.harvest: harvest of a whole dictionary beside the model and encoder alone, and beside its peer.

A random model of GPT-2 small's shape and a JumpReLU dictionary whose thresholds make some 60 features fire on a
token, over tokens drawn by Zipf's law. (a) is the bare loop: forward to the hook, encode, keep nothing; timed before
and after the rest. (b) is the harvest with every statistic, example, logit effect and the writing of the store, of
few tokens and of many: the time both have in common does not depend on the corpus. All read the same tokens, each in
a new process. SAEDashboard is run on the few tokens by --peer-python, a Python that has it, on two numbers of
features; its time for the whole dictionary is extrapolated linearly from them. docs/harvest.md describes how to set
its environment up.

--ray harvests alone and on clusters of this machine of 1, 2 and 4 workers: the price of being distributed.

--flat measures peak memory on corpora of growing size, with a small model, since only the number of tokens matters
there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy
import torch

import featurestore
from bench.support.apart import PROCESSES, apart
from bench.support.harvest_inputs import count_heads, read_corpus, write_inputs
from bench.support.harvest_on_ray import compare_workers
from ingest import weights
from ingest.harvest.forward_pass import TILE_TOKENS, ForwardPass
from ingest.harvest.harvest import harvest
from ingest.model.model import Model
from ingest.statistics import encode

FLAT = (100_000, 1_000_000, 10_000_000)  # tokens
# Shape of --flat: enough features that their statistics show in the memory, and little of everything else.
SMALL = {"layers": 1, "layer": 0, "width": 32, "d_sae": 2048, "active": 8, "vocabulary": 2000}
PEER = Path(__file__).parent / "peers" / "dashboard.py"


def measure_bare_loop(work: Path, options: argparse.Namespace, results: Any) -> None:
    """(a): time of forward and encode alone, on a part of the tokens, added to results["alone"]."""
    model, sae = Model(str(work / "model")), weights.read(work / "sae")
    corpus = read_corpus(work, model, options.alone_tokens)
    point = model.hook_point(sae.hook_point)
    forward_pass = ForwardPass(
        model, {"x": sae}, {"x": point}, corpus, corpus.contexts(options.context - 1), [0], max_norm=0
    )
    inputs = [forward_pass.contexts[unit] for unit in forward_pass.units]
    step = encode.TILE_ELEMENTS // TILE_TOKENS  # as quick as it goes: slices stay in the cache
    with torch.inference_mode():
        for n, batch in enumerate([inputs[0], *inputs]):
            if n == 1:  # the first one warms up
                began = time.perf_counter()
            ids = torch.tensor(
                numpy.stack(
                    [numpy.append(0, corpus.run(context)) for context in batch if context.length == batch[0].length]
                )
            )
            x = model.read(ids, [point])[point.name][:, 1:].flatten(0, 1)
            for part in torch.split(x, TILE_TOKENS):
                for start in range(0, sae.d_sae, step):
                    sae.encode(part, start, min(start + step, sae.d_sae))
    results["alone"] = [*results.get("alone", []), (corpus.size, time.perf_counter() - began)]
    results["alone_rss_mb"] = _peak_rss_mb()


def measure_harvest(work: Path, options: argparse.Namespace, results: Any, tokens: int, name: str) -> None:
    """(b): time and peak memory of the harvest of so many tokens, as results[name]."""
    model, sae = Model(str(work / "model")), weights.read(work / "sae")
    corpus = read_corpus(work, model, tokens)
    with featurestore.create(work / f"store-{name}") as store:
        report = harvest(store, model, {"x": sae}, corpus, model_id="random")
    shutil.rmtree(work / f"store-{name}")
    results[name] = {
        "tokens": tokens,
        "seconds": report.seconds,
        "peak_rss_mb": _peak_rss_mb(),
        "l0": report.l0["random/x"],
    }


def measure_peer(work: Path, options: argparse.Namespace, harvest_seconds: float) -> dict[str, Any]:
    """Time SAEDashboard takes for the whole dictionary over the few tokens, extrapolated from two numbers of features,
    and its ratio to `harvest_seconds`."""
    text = options.context - 1
    ids = numpy.load(work / "ids.npy")[: options.few_tokens // text * text].reshape(-1, text)
    numpy.save(work / "tokens.npy", numpy.pad(ids, ((0, 0), (1, 0))).astype(numpy.int64))
    shape = {name: getattr(options, name) for name in ("layers", "width", "context", "vocabulary")}
    shape |= {"heads": count_heads(options), "hook": f"blocks.{options.layer}.hook_resid_pre"}
    shape["features"] = options.peer_features
    (work / "shape.json").write_text(json.dumps(shape))
    process = subprocess.run(
        [options.peer_python, "-W", "ignore", str(PEER), str(work)], capture_output=True, text=True
    )
    if process.returncode:
        sys.exit(f"the peer ended with {process.returncode}: {process.stderr[-600:]}")
    report = json.loads(process.stdout.strip().splitlines()[-1])
    (fewest, seconds_of_fewest), (most, seconds_of_most) = ((run["features"], run["seconds"]) for run in report["runs"])
    seconds_a_feature = (seconds_of_most - seconds_of_fewest) / (most - fewest)
    whole = report["with_model"]["seconds"] + seconds_a_feature * (options.d_sae - fewest)
    return {
        **report,
        "tokens": ids.size,
        "seconds_a_feature": seconds_a_feature,
        "whole_dictionary_s": whole,
        "whole_dictionary_ratio": whole / harvest_seconds,
    }


def _peak_rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run the comparison, or with --flat the measurement of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-sae", type=int, default=24_576)
    parser.add_argument("--active", type=int, default=60, help="features on a token")
    parser.add_argument("--tokens", type=int, default=196_608, help="of the harvest")
    parser.add_argument("--few-tokens", type=int, default=32_768, help="of the short harvest, and of the peer")
    parser.add_argument("--alone-tokens", type=int, default=16_384, help="of the bare loop, which runs twice")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--layer", type=int, default=8, help="whose input the dictionary reads")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=50_257)
    parser.add_argument(
        "--peer-python",
        default=os.environ.get("SAE_DASHBOARD_PYTHON"),
        help="a Python that has sae-dashboard; default: $SAE_DASHBOARD_PYTHON",
    )
    parser.add_argument("--peer-features", type=int, nargs=2, default=[256, 1024])
    parser.add_argument(
        "--flat", type=int, nargs="*", metavar="TOKENS", help=f"measure memory only, on so many tokens each; {FLAT}"
    )
    parser.add_argument(
        "--ray", type=int, nargs="*", metavar="WORKERS", help="compare with local clusters of so many workers; 1 2 4"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = parser.parse_args()
    if options.few_tokens >= options.tokens:
        parser.error(f"--few-tokens {options.few_tokens} must be less than --tokens {options.tokens}")
    with tempfile.TemporaryDirectory() as folder, PROCESSES.Manager() as manager:
        work, results = Path(folder), manager.dict()
        if options.ray is not None:
            options.ray = options.ray or [1, 2, 4]
            figures = compare_workers(work, options, results)
        elif options.flat is not None:
            figures = measure_memory(work, options, results)
        else:
            figures = compare(work, options, results)
    if options.json:
        print(json.dumps(figures))


def compare(work: Path, options: argparse.Namespace, results: Any) -> dict[str, Any]:
    """Figures of the harvest beside the bare loop, and beside the peer when its Python is given; prints them."""
    write_inputs(work, options)
    apart(measure_bare_loop, work, options, results)
    apart(measure_harvest, work, options, results, options.few_tokens, "few")
    apart(measure_harvest, work, options, results, options.tokens, "many")
    apart(measure_bare_loop, work, options, results)
    tokens, seconds = map(sum, zip(*results["alone"], strict=True))
    bare, few, many = tokens / seconds, results["few"], results["many"]
    speed = many["tokens"] / many["seconds"]
    further = (many["tokens"] - few["tokens"]) / (many["seconds"] - few["seconds"])
    fixed = few["seconds"] - few["tokens"] / further
    figures = {
        "d_sae": options.d_sae,
        "tokens": options.tokens,
        "l0": many["l0"],
        "forward_encode_tokens_per_s": bare,
        "forward_encode_rss_mb": results["alone_rss_mb"],
        "harvest_tokens_per_s": speed,
        "ratio": speed / bare,
        "peak_rss_mb": many["peak_rss_mb"],
        "fixed_s": fixed,
        "further_tokens_per_s": further,
        "further_ratio": further / bare,
        "few": dict(few),
        "alone": [list(timing) for timing in results["alone"]],
        "peers": {},
    }
    _print_harvest(figures, options)
    if options.peer_python:
        peer = measure_peer(work, options, few["seconds"])
        figures["peers"] = {"sae-dashboard": peer}
        _print_peer(peer)
    return figures


def _print_harvest(figures: dict[str, Any], options: argparse.Namespace) -> None:
    few = figures["few"]
    each = " and ".join(f"{n / s:.0f}" for n, s in figures["alone"])
    print(
        f"d_sae {options.d_sae:,}, {figures['l0']:.0f} features active on a token\n"
        f"forward and encode alone: {figures['forward_encode_tokens_per_s']:8.0f} tokens/s ({each} before and after), "
        f"peak {figures['forward_encode_rss_mb']:.0f} MB\n"
        f"harvest of {options.tokens:,} tokens: {figures['harvest_tokens_per_s']:8.0f} tokens/s, "
        f"peak {figures['peak_rss_mb']:.0f} MB, ratio {figures['ratio']:.2f} (target 0.85)\n"
        f"harvest of {few['tokens']:,} tokens: {few['seconds']:.0f} s, "
        f"so {figures['fixed_s']:.0f} s whatever the corpus, "
        f"and {figures['further_tokens_per_s']:.0f} tokens/s for what is longer: "
        f"{figures['further_ratio']:.2f} of the bare loop"
    )


def _print_peer(peer: dict[str, Any]) -> None:
    runs = ", ".join(f"{run['seconds']:.0f} s for {run['features']} features" for run in peer["runs"])
    print(
        f"sae-dashboard over {peer['tokens']:,} tokens: {peer['with_model']['seconds']:.0f} s with the model; "
        f"without it {runs}; "
        f"so {peer['whole_dictionary_s']:,.0f} s for the whole dictionary: {peer['whole_dictionary_ratio']:.0f} "
        "times ours "
        f"(target 50); peak {peer['peak_rss_mb']:.0f} MB"
    )


def measure_memory(work: Path, options: argparse.Namespace, results: Any) -> dict[str, Any]:
    """Peak memory of harvests of growing corpora; prints a line for each."""
    sizes = options.flat or FLAT
    for name, value in {**SMALL, "tokens": max(sizes)}.items():
        setattr(options, name, value)
    write_inputs(work, options)
    runs = []
    for tokens in sizes:
        apart(measure_harvest, work, options, results, tokens, "flat")
        runs.append(dict(results["flat"]))
        print(f"{tokens:>12,} tokens: peak {runs[-1]['peak_rss_mb']:.0f} MB, {runs[-1]['seconds']:.0f} s", flush=True)
    growth = runs[-1]["peak_rss_mb"] / runs[0]["peak_rss_mb"]
    print(f"{sizes[-1] / sizes[0]:.0f} times the tokens, {growth:.2f} times the memory")
    return {"d_sae": options.d_sae, "flat": runs, "growth": growth}


if __name__ == "__main__":
    main()
