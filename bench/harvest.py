"""python -m bench.harvest: the harvest of a whole dictionary beside the model and encoder alone, and beside its
peers.

A random model of GPT-2 small's shape and a JumpReLU dictionary whose thresholds make some 60 features fire on a
token, over tokens drawn by Zipf's law. (a) is the bare loop: forward to the hook, encode, nothing kept; timed before
and after the rest. (b) is our harvest with every statistic, example, logit effect and the writing of the store, of
few tokens and of many: what both have in common does not depend on the corpus. All see the same tokens, each in a
process of its own. SAEDashboard is run on the few tokens by --peer-python, a Python that has it, on two numbers of
features; what the whole dictionary takes it is their line prolonged.
docs/harvest.md says how to set its environment up.

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
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import featurestore
from bench.apart import PROCESSES, apart
from ingest import weights
from ingest.corpus.corpus import Corpus
from ingest.harvest.forward_pass import TILE_TOKENS, ForwardPass
from ingest.harvest.harvest import harvest
from ingest.model.model import Model
from ingest.model.vocabulary import token_bytes
from ingest.statistics import encode

DOCUMENT = 1000  # tokens
FLAT = (100_000, 1_000_000, 10_000_000)  # tokens
# Shapes of --flat: features enough that what is kept of them is seen, and of all else little.
SMALL = {"layers": 1, "layer": 0, "width": 32, "d_sae": 2048, "active": 8, "vocabulary": 2000}
PEER = Path(__file__).parent / "peers" / "dashboard.py"


def make(work: Path, asked: argparse.Namespace) -> None:
    """Write model, tokenizer, dictionary and tokens."""
    torch.manual_seed(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<bos>", *alphabet, *(f"word{n}" for n in range(asked.vocabulary - 1 - len(alphabet)))]
    made = Tokenizer(models.BPE(vocab={name: n for n, name in enumerate(names)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.save(str(work / "tokenizer.json"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<bos>")
    config = GPT2Config(
        vocab_size=asked.vocabulary,
        n_positions=asked.context,
        n_embd=asked.width,
        n_layer=asked.layers,
        n_head=heads(asked),
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")
    rng = numpy.random.default_rng(0)
    ids = rng.zipf(1.2, size=2 * asked.tokens)
    numpy.save(work / "ids.npy", ids[ids < asked.vocabulary][: asked.tokens].astype(numpy.int32))
    model = Model(str(work / "model"))
    hook = f"blocks.{asked.layer}.hook_resid_pre"
    some = torch.from_numpy(rng.integers(1, asked.vocabulary, (32, asked.context)))
    x = model.read(some, [model.hook_point(hook)])[hook][:, 1:].flatten(0, 1)
    W_enc = torch.randn(asked.width, asked.d_sae) / asked.width**0.5
    pre = x @ W_enc
    # Each feature's own threshold, above the share of tokens on which it fires.
    rank = max(1, len(x) * asked.active // asked.d_sae)
    threshold = torch.cat([part.topk(rank + 1, dim=0).values[-1] for part in pre.split(4096, dim=1)])
    tensors = {
        "W_enc": W_enc,
        "b_enc": torch.zeros(asked.d_sae),
        "W_dec": torch.nn.functional.normalize(W_enc.T, dim=1),
        "b_dec": torch.zeros(asked.width),
        "threshold": threshold.clamp(min=1e-3),
    }
    (work / "sae").mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "sae" / "sae_weights.safetensors")
    metadata = {"hook_name": hook, "prepend_bos": True, "context_size": asked.context, "model_name": "random"}
    plain = {"dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False, "normalize_activations": "none"}
    config_of_sae = {"architecture": "jumprelu", "d_in": asked.width, "d_sae": asked.d_sae, "metadata": metadata}
    (work / "sae" / "cfg.json").write_text(json.dumps(plain | config_of_sae))


def corpus_of(work: Path, model: Model, tokens: int) -> Corpus:
    """The tokens as documents."""
    ids = numpy.load(work / "ids.npy", mmap_mode="r")[:tokens]
    offsets = numpy.append(numpy.arange(0, len(ids), DOCUMENT), len(ids))
    return Corpus(token_bytes(model.tokenizer), [f"{n}" for n in range(len(offsets) - 1)], ids, offsets)


def alone(work: Path, asked: argparse.Namespace, found: Any) -> None:
    """(a): forward and encode, on a part of the tokens long enough to be sure of."""
    model, sae = Model(str(work / "model")), weights.read(work / "sae")
    corpus = corpus_of(work, model, asked.alone_tokens)
    point = model.hook_point(sae.hook_point)
    forward_pass = ForwardPass(
        model, {"x": sae}, {"x": point}, corpus, corpus.contexts(asked.context - 1), [0], max_norm=0
    )
    inputs = [forward_pass.contexts[unit] for unit in forward_pass.units]
    step = encode.TILE_ELEMENTS // TILE_TOKENS  # as quick as it goes: slices stay in the cache
    with torch.inference_mode():
        for n, batch in enumerate([inputs[0], *inputs]):
            if n == 1:  # the first one warms up
                began = time.perf_counter()
            ids = torch.tensor(
                numpy.stack([numpy.append(0, corpus.run(one)) for one in batch if one.length == batch[0].length])
            )
            x = model.read(ids, [point])[point.name][:, 1:].flatten(0, 1)
            for part in x.split(TILE_TOKENS):
                for start in range(0, sae.d_sae, step):
                    sae.encode(part, start, min(start + step, sae.d_sae))
    found["alone"] = [*found.get("alone", []), (corpus.size, time.perf_counter() - began)]
    found["alone_rss_mb"] = _peak()


def ours(work: Path, asked: argparse.Namespace, found: Any, tokens: int, name: str) -> None:
    """(b): the harvest."""
    model, sae = Model(str(work / "model")), weights.read(work / "sae")
    corpus = corpus_of(work, model, tokens)
    with featurestore.create(work / f"store-{name}") as store:
        report = harvest(store, model, {"x": sae}, corpus, model_id="random")
    shutil.rmtree(work / f"store-{name}")
    found[name] = {"tokens": tokens, "seconds": report.seconds, "peak_rss_mb": _peak(), "l0": report.l0["random/x"]}


def theirs(work: Path, asked: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """SAEDashboard's time for the whole dictionary over the few tokens, prolonged from two numbers of features,
    beside ours."""
    text = asked.context - 1
    ids = numpy.load(work / "ids.npy")[: asked.few_tokens // text * text].reshape(-1, text)
    numpy.save(work / "tokens.npy", numpy.pad(ids, ((0, 0), (1, 0))).astype(numpy.int64))
    shape = {name: getattr(asked, name) for name in ("layers", "width", "context", "vocabulary")}
    shape |= {"heads": heads(asked), "hook": f"blocks.{asked.layer}.hook_resid_pre", "features": asked.peer_features}
    (work / "shape.json").write_text(json.dumps(shape))
    done = subprocess.run([asked.peer_python, "-W", "ignore", str(PEER), str(work)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the peer ended with {done.returncode}: {done.stderr[-600:]}")
    said = json.loads(done.stdout.strip().splitlines()[-1])
    (few, less), (many, more) = ((one["features"], one["seconds"]) for one in said["runs"])
    each = (more - less) / (many - few)
    whole = said["with_model"]["seconds"] + each * (asked.d_sae - few)
    return {
        **said,
        "tokens": ids.size,
        "seconds_a_feature": each,
        "whole_dictionary_s": whole,
        "whole_dictionary_ratio": whole / seconds,
    }


def heads(asked: argparse.Namespace) -> int:
    """Attention heads of the model."""
    return max(1, asked.width // 64)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
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
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    asked = parser.parse_args()
    if asked.few_tokens >= asked.tokens:
        parser.error(f"--few-tokens {asked.few_tokens} must be less than --tokens {asked.tokens}")
    with tempfile.TemporaryDirectory() as folder, PROCESSES.Manager() as manager:
        work, found = Path(folder), manager.dict()
        figures = _compared(work, asked, found) if asked.flat is None else _flat(work, asked, found)
    if asked.json:
        print(json.dumps(figures))


def _compared(work: Path, asked: argparse.Namespace, found: Any) -> dict[str, Any]:
    make(work, asked)
    apart(alone, work, asked, found)
    apart(ours, work, asked, found, asked.few_tokens, "few")
    apart(ours, work, asked, found, asked.tokens, "many")
    apart(alone, work, asked, found)
    tokens, seconds = map(sum, zip(*found["alone"], strict=True))
    bare, few, many = tokens / seconds, found["few"], found["many"]
    speed = many["tokens"] / many["seconds"]
    further = (many["tokens"] - few["tokens"]) / (many["seconds"] - few["seconds"])
    fixed = few["seconds"] - few["tokens"] / further
    figures = {
        "d_sae": asked.d_sae,
        "tokens": asked.tokens,
        "l0": many["l0"],
        "forward_encode_tokens_per_s": bare,
        "forward_encode_rss_mb": found["alone_rss_mb"],
        "harvest_tokens_per_s": speed,
        "ratio": speed / bare,
        "peak_rss_mb": many["peak_rss_mb"],
        "fixed_s": fixed,
        "further_tokens_per_s": further,
        "further_ratio": further / bare,
        "few": dict(few),
        "alone": [list(one) for one in found["alone"]],
        "peers": {},
    }
    each = " and ".join(f"{n / s:.0f}" for n, s in found["alone"])
    print(
        f"d_sae {asked.d_sae:,}, {many['l0']:.0f} features active on a token\n"
        f"forward and encode alone: {bare:8.0f} tokens/s ({each} before and after), "
        f"peak {figures['forward_encode_rss_mb']:.0f} MB\n"
        f"harvest of {asked.tokens:,} tokens: {speed:8.0f} tokens/s, peak {figures['peak_rss_mb']:.0f} MB, "
        f"ratio {figures['ratio']:.2f} (target 0.8)\n"
        f"harvest of {few['tokens']:,} tokens: {few['seconds']:.0f} s, so {fixed:.0f} s whatever the corpus, "
        f"and {further:.0f} tokens/s for what is longer: {figures['further_ratio']:.2f} of the bare loop"
    )
    if asked.peer_python:
        peer = theirs(work, asked, few["seconds"])
        figures["peers"] = {"sae-dashboard": peer}
        runs = ", ".join(f"{one['seconds']:.0f} s for {one['features']} features" for one in peer["runs"])
        print(
            f"sae-dashboard over {peer['tokens']:,} tokens: {peer['with_model']['seconds']:.0f} s with the model; "
            f"without it {runs}; "
            f"so {peer['whole_dictionary_s']:,.0f} s for the whole dictionary: {peer['whole_dictionary_ratio']:.0f} "
            "times ours "
            f"(target 50); peak {peer['peak_rss_mb']:.0f} MB"
        )
    return figures


def _flat(work: Path, asked: argparse.Namespace, found: Any) -> dict[str, Any]:
    sizes = asked.flat or FLAT
    for name, value in {**SMALL, "tokens": max(sizes)}.items():
        setattr(asked, name, value)
    make(work, asked)
    runs = []
    for tokens in sizes:
        apart(ours, work, asked, found, tokens, "flat")
        runs.append(dict(found["flat"]))
        print(f"{tokens:>12,} tokens: peak {runs[-1]['peak_rss_mb']:.0f} MB, {runs[-1]['seconds']:.0f} s", flush=True)
    growth = runs[-1]["peak_rss_mb"] / runs[0]["peak_rss_mb"]
    print(f"{sizes[-1] / sizes[0]:.0f} times the tokens, {growth:.2f} times the memory")
    return {"d_sae": asked.d_sae, "flat": runs, "growth": growth}


if __name__ == "__main__":
    main()
