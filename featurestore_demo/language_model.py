"""The demo's tokenizer and language model: how they are trained, and how their loss is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from featurestore import Conflict
from featurestore_demo.corpus import documents, held_out

VOCABULARY = 4096
CONTEXT = 256  # tokens the model sees at once: BOS and up to 255 of one document
BOS = "<|endoftext|>"
BOS_ID = 0


def train_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the training documents and save it to `folder`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((d.text for d in documents() if not held_out(d.name)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=BOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return fast


def contexts(tokenizer: Any, texts: Iterable[str]) -> numpy.ndarray:
    """Documents cut into contexts: (n, CONTEXT) int64, each BOS and up to 255 tokens, padded with -1."""
    rows = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False, verbose=False)
        for start in range(0, len(ids), CONTEXT - 1):
            chunk = ids[start : start + CONTEXT - 1]
            rows.append([BOS_ID, *chunk] + [-1] * (CONTEXT - 1 - len(chunk)))
    return numpy.array(rows, dtype=numpy.int64)


def new_model(seed: int, d_model: int = 192, layers: int = 6, heads: int = 6) -> GPT2LMHeadModel:
    """An untrained GPT-2 of the demo's shape."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=CONTEXT,
        n_embd=d_model,
        n_layer=layers,
        n_head=heads,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, in the form that torch computes in one step
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=BOS_ID,
        eos_token_id=BOS_ID,
    )
    return GPT2LMHeadModel(config)


def loss_of(model: GPT2LMHeadModel, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy (nats) of predicting every token but BOS; `batch` is (b, t) with -1 as padding."""
    targets = batch[:, 1:]
    logits = model(batch.clamp(min=0)[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(
        logits.float().reshape(-1, logits.shape[-1]), targets.reshape(-1), ignore_index=-1
    )


def train(
    rows: numpy.ndarray,
    *,
    steps: int,
    work: Path,
    seed: int = 0,
    batch_size: int = 32,
    peak: float = 3e-3,
    warmup: int = 100,
    save_every: int = 250,
    stop_at: int | None = None,
    model: GPT2LMHeadModel | None = None,
    bf16: bool = True,
    on_save=None,
) -> GPT2LMHeadModel:
    """Train for `steps` steps; continue from the checkpoint in `work` if there is one.

    The data order depends on seed and step only, so a run that was stopped and resumed equals one that was not.
    Raises Conflict when the checkpoint is of a run with another seed, other settings or other text.
    """
    model = model or new_model(seed)
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.95))
    run = {"seed": seed, "steps": steps, "batch_size": batch_size, "peak": peak, "warmup": warmup, "bf16": bf16}
    run["contexts"] = len(rows)
    checkpoint, first = work / "model.pt", 0
    if checkpoint.exists():
        saved = read_checkpoint(checkpoint, run)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    per_epoch = len(rows) // batch_size
    model.train()
    began, recent = time.time(), []
    for step in range(first, stop_at or steps):
        epoch, at = divmod(step, per_epoch)
        order = numpy.random.default_rng([seed, epoch]).permutation(len(rows))
        batch = torch.from_numpy(rows[order[at * batch_size : (at + 1) * batch_size]])
        rate = peak * min((step + 1) / warmup, 0.02 + 0.98 * (1 - step / steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of(model, batch)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        recent.append(loss.item())
        if (step + 1) % 50 == 0:
            speed = (step + 1 - first) * batch_size * CONTEXT / (time.time() - began)
            print(f"step {step + 1}/{steps}  loss {sum(recent) / len(recent):.3f}  {speed:,.0f} tokens/s", flush=True)
            recent = []
        if (step + 1) % save_every == 0 or step + 1 == (stop_at or steps):
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            write_checkpoint(checkpoint, state | {"run": run})
            if on_save:
                on_save(model)
    return model


def read_checkpoint(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The checkpoint of a run. Raises Conflict when it is another run's: its weights would pass for this one's."""
    saved = torch.load(path, weights_only=True)
    found = saved.get("run")
    if found != run:
        raise Conflict(f"{path} is of a run with {found}, this one has {run}; --fresh begins again")
    return saved


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Put a checkpoint in the place of the last one, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@torch.inference_mode()
def held_out_loss(model: GPT2LMHeadModel, tokenizer: Any, batch_size: int = 32) -> dict[str, float]:
    """Loss on the held-out documents: nats per token, nats and bits per byte, and how many of each."""
    texts = [d.text for d in documents() if held_out(d.name)]
    rows = contexts(tokenizer, texts)
    total, tokens = 0.0, 0
    model.eval()
    for start in range(0, len(rows), batch_size):
        batch = torch.from_numpy(rows[start : start + batch_size])
        count = int((batch[:, 1:] >= 0).sum())
        total += float(loss_of(model, batch)) * count
        tokens += count
    size = sum(len(text.encode()) for text in texts)
    return {
        "nats_per_token": total / tokens,
        "nats_per_byte": total / size,
        "bits_per_byte": total / size / math.log(2),
        "tokens": tokens,
        "bytes": size,
    }


def save(model: GPT2LMHeadModel, folder: Path) -> None:
    """Save the model to `folder` in the Hugging Face layout, in half precision."""
    half = GPT2LMHeadModel(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
