"""Times SAEDashboard on some features of a dictionary: run by bench.harvest with a Python that has sae-dashboard.

`python dashboard.py WORK`: WORK holds sae/ (SAELens's format), tokens.npy (contexts, length) and shape.json, from which a random
model of the same shape is made, since nothing is fetched. Prints one JSON object: seconds for each number of features.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy
import torch
from sae_dashboard.sae_vis_data import SaeVisConfig
from sae_dashboard.sae_vis_runner import SaeVisRunner
from sae_lens import SAE, HookedSAETransformer
from transformer_lens import HookedTransformerConfig
from transformers import PreTrainedTokenizerFast

work = Path(sys.argv[1])
shape = json.loads((work / "shape.json").read_text())
torch.manual_seed(0)
model = HookedSAETransformer(
    HookedTransformerConfig(
        n_layers=shape["layers"],
        d_model=shape["width"],
        n_ctx=shape["context"],
        d_head=64,
        n_heads=shape["width"] // 64,
        d_vocab=shape["vocabulary"],
        act_fn="gelu_new",
        seed=0,
    ),
    tokenizer=PreTrainedTokenizerFast(
        tokenizer_file=str(work / "tokenizer.json"), bos_token="<bos>", eos_token="<bos>"
    ),
)
sae = SAE.load_from_disk(str(work / "sae"), device="cpu")
tokens = torch.from_numpy(numpy.load(work / "tokens.npy"))
seconds = {}
for count in shape["features"]:
    config = SaeVisConfig(
        hook_point=shape["hook"], features=list(range(count)), minibatch_size_features=256, minibatch_size_tokens=64
    )
    began = time.perf_counter()
    SaeVisRunner(config).run(encoder=sae, model=model, tokens=tokens)
    seconds[count] = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
