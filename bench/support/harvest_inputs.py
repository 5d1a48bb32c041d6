"""Inputs of bench.harvest: a random model, its tokenizer, a JumpReLU dictionary, and tokens drawn by Zipf's law."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from ingest.corpus.corpus import Corpus
from ingest.model.model import Model
from ingest.model.vocabulary import token_bytes

DOCUMENT = 1000  # tokens


def write_inputs(work: Path, options: argparse.Namespace) -> None:
    """Write model, tokenizer, tokens and dictionary."""
    torch.manual_seed(0)
    _write_model(work, options)
    rng = numpy.random.default_rng(0)
    ids = rng.zipf(1.2, size=2 * options.tokens)
    numpy.save(work / "ids.npy", ids[ids < options.vocabulary][: options.tokens].astype(numpy.int32))
    _write_dictionary(work, options, rng)


def _write_model(work: Path, options: argparse.Namespace) -> None:
    """Write a random GPT-2 and a tokenizer of the bytes and made-up words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<bos>", *alphabet, *(f"word{n}" for n in range(options.vocabulary - 1 - len(alphabet)))]
    bpe = Tokenizer(models.BPE(vocab={name: n for n, name in enumerate(names)}, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.save(str(work / "tokenizer.json"))
    tokens = {"bos_token": "<bos>", "eos_token": "<bos>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **tokens)
    config = GPT2Config(
        vocab_size=options.vocabulary,
        n_positions=options.context,
        n_embd=options.width,
        n_layer=options.layers,
        n_head=count_heads(options),
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(work / "model")
    tokenizer.save_pretrained(work / "model")


def _write_dictionary(work: Path, options: argparse.Namespace, rng: numpy.random.Generator) -> None:
    """Write a JumpReLU dictionary whose thresholds make `options.active` features fire on a token."""
    model = Model(str(work / "model"))
    hook = f"blocks.{options.layer}.hook_resid_pre"
    batch = torch.from_numpy(rng.integers(1, options.vocabulary, (32, options.context)))
    x = model.read(batch, [model.hook_point(hook)])[hook][:, 1:].flatten(0, 1)
    W_enc = torch.randn(options.width, options.d_sae) / options.width**0.5
    pre = x @ W_enc
    # Each feature's own threshold, above the share of tokens on which it fires.
    rank = max(1, len(x) * options.active // options.d_sae)
    threshold = torch.cat([part.topk(rank + 1, dim=0).values[-1] for part in pre.split(4096, dim=1)])
    tensors = {
        "W_enc": W_enc,
        "b_enc": torch.zeros(options.d_sae),
        "W_dec": torch.nn.functional.normalize(W_enc.T, dim=1),
        "b_dec": torch.zeros(options.width),
        "threshold": threshold.clamp(min=1e-3),
    }
    (work / "sae").mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "sae" / "sae_weights.safetensors")
    metadata = {"hook_name": hook, "prepend_bos": True, "context_size": options.context, "model_name": "random"}
    plain = {"dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False, "normalize_activations": "none"}
    config_of_sae = {"architecture": "jumprelu", "d_in": options.width, "d_sae": options.d_sae, "metadata": metadata}
    (work / "sae" / "cfg.json").write_text(json.dumps(plain | config_of_sae))


def read_corpus(work: Path, model: Model, tokens: int) -> Corpus:
    """Read the first tokens as documents of 1,000."""
    ids = numpy.load(work / "ids.npy", mmap_mode="r")[:tokens]
    offsets = numpy.append(numpy.arange(0, len(ids), DOCUMENT), len(ids))
    return Corpus(token_bytes(model.tokenizer), [f"{n}" for n in range(len(offsets) - 1)], ids, offsets)


def count_heads(options: argparse.Namespace) -> int:
    """Number of attention heads of the model."""
    width: int = options.width
    return max(1, width // 64)
