"""Times SAEDashboard on some features of a dictionary: run by bench.harvest with a Python that has sae-dashboard.

`python dashboard.py WORK`: WORK holds model/ and sae/ (SAELens's format), tokens.npy (contexts, length) and
shape.json. Nothing is fetched: the model's weights are converted here. It keeps what the model gives on disk, so the
model runs in the first of the runs alone, which is over the fewest features; then come all numbers of features.
Prints one JSON object of the runs.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import SAE, HookedSAETransformer
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

work = Path(sys.argv[1])
shape = json.loads((work / "shape.json").read_text())
# TransformerLens reads a tokenizer again from where it came.
PreTrainedTokenizerFast(
    tokenizer_file=str(work / "tokenizer.json"), bos_token="<bos>", eos_token="<bos>"
).save_pretrained(work / "tokenizer")
model = HookedSAETransformer(
    HookedTransformerConfig(
        n_layers=shape["layers"],
        d_model=shape["width"],
        n_ctx=shape["context"],
        d_head=shape["width"] // shape["heads"],
        n_heads=shape["heads"],
        d_vocab=shape["vocabulary"],
        act_fn="gelu_new",
        normalization_type="LN",
        seed=0,
    ),
    tokenizer=PreTrainedTokenizerFast.from_pretrained(work / "tokenizer"),
)
weights = convert_gpt2_weights(GPT2LMHeadModel.from_pretrained(work / "model"), model.cfg)
model.load_and_process_state_dict(weights, fold_ln=False, center_writing_weights=False, center_unembed=False)
sae = SAE.load_from_disk(str(work / "sae"), device="cpu")
tokens = torch.from_numpy(numpy.load(work / "tokens.npy"))


def run(count: int, cache: str) -> dict[str, float]:
    """Make the dashboards of the first features: how long it took, and how many of them are active on a token."""
    config = SaeVisConfig(
        hook_point=shape["hook"],
        features=list(range(count)),
        minibatch_size_features=256,
        minibatch_size_tokens=64,
        cache_dir=Path(cache),
    )
    began, used = time.perf_counter(), time.process_time()
    dashboards = SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
    return {
        "features": count,
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - used,
        "active": sum(dashboards.feature_stats.frac_nonzero),
    }


with tempfile.TemporaryDirectory(dir=work) as cache:
    with_model = run(shape["features"][0], cache)
    runs = [run(count, cache) for count in shape["features"]]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"with_model": with_model, "runs": runs, "peak_rss_mb": peak}))
