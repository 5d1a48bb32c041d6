"""Small real things made on the spot: a byte-level tokenizer, a random GPT-2 in the Hugging Face layout,
dictionaries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

WIDTH, LAYERS, CONTEXT = 16, 3, 12
TEXTS = [
    ("one", "def f(x): return x + 1\nprint(f(2))"),
    ("two", "raise ValueError('no such name: café')"),
    ("three", "import os, sys\nfor name in os.listdir('.'):\n    print(name)"),
]


def tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token; id 0 is BOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<bos>": 0} | {character: n for n, character in enumerate(alphabet, 1)}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="<bos>")


def write_model(folder: Path, seed: int = 0) -> Path:
    """A random GPT-2 with the tokenizer, in `folder`."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=257, n_positions=32, n_embd=WIDTH, n_layer=LAYERS, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    with torch.no_grad():  # GPT-2 starts with tiny weights; larger ones make features fire
        for parameter in model.parameters():
            parameter.mul_(5) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def tensors(d_in: int, d_sae: int, d_out: int, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a JumpReLU dictionary of which the last feature never fires."""
    rng = numpy.random.default_rng(seed)
    W_dec = rng.normal(size=(d_sae, d_out))
    made = {
        "W_enc": 4 * rng.normal(size=(d_in, d_sae)) / d_in**0.5,
        "W_dec": W_dec / numpy.linalg.norm(W_dec, axis=1, keepdims=True),
        "b_enc": rng.normal(size=d_sae) * 0.1,
        "b_dec": rng.normal(size=d_out) * 0.1,
        "threshold": numpy.full(d_sae, 0.1),
    }
    made["b_enc"][-1] = -1e3
    return {name: torch.tensor(value, dtype=torch.float32) for name, value in made.items()}


def write_sae(
    folder: Path,
    *,
    hook: str,
    d_sae: int = 20,
    d_in: int = WIDTH,
    seed: int = 0,
    out: str | None = None,
    silent: slice = slice(0),
    **config,
) -> Path:
    """A JumpReLU dictionary in SAELens's layout; `out` makes it a transcoder that writes there, `silent` features never
    fire."""
    folder.mkdir(parents=True)
    metadata = {"hook_name": hook, "prepend_bos": True, "context_size": CONTEXT, "model_name": "small"}
    if out:
        metadata["hook_name_out"] = out
    base = {
        "architecture": "jumprelu_transcoder" if out else "jumprelu",
        "d_in": d_in,
        "d_sae": d_sae,
        "apply_b_dec_to_input": not out,
        "normalize_activations": "none",
        "metadata": metadata,
    }
    found = tensors(d_in, d_sae, d_in, seed)
    found["b_enc"][silent] = -1e3
    save_file(found, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(base | config))
    return folder
