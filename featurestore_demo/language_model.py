"""The demo's tokenizer and language model: how they are trained, and how their loss is measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from featurestore import Conflict
from featurestore_demo.corpus import documents, is_held_out

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
    tokenizer.train_from_iterator((d.text for d in documents() if not is_held_out(d.name)), trainer)
    fast = PreTrainedTokenizerFast(  # transformers leaves it untyped
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


def _make_optimiser(model: GPT2LMHeadModel, rate: float) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices only."""
    decay = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))


def _take_batch(rows: numpy.ndarray, step: int, size: int, seed: int) -> torch.Tensor:
    """The batch of a step, in the order that the seed gives to the epoch."""
    epoch, at = divmod(step, len(rows) // size)
    order = numpy.random.default_rng([seed, epoch]).permutation(len(rows))
    return torch.from_numpy(rows[order[at * size : (at + 1) * size]])


def _step(
    model: GPT2LMHeadModel, optimiser: torch.optim.Optimizer, batch: torch.Tensor, rate: float, bf16: bool
) -> float:
    """Take one step of training at a learning rate; returns the loss of the batch."""
    model.train()
    for group in optimiser.param_groups:
        group["lr"] = rate
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = loss_of(model, batch)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # torch leaves it untyped
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.item()


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
    on_save: Callable[[GPT2LMHeadModel], None] | None = None,
) -> GPT2LMHeadModel:
    """Train for `steps` steps; continue from the checkpoint in `work` if there is one.

    The data order depends on seed and step only, so a run that was stopped and resumed equals one that was not.
    Raises Conflict when the checkpoint is of a run with another seed, other settings or other text.
    """
    model = model or new_model(seed)
    optimiser = _make_optimiser(model, peak)
    run = {"seed": seed, "steps": steps, "batch_size": batch_size, "peak": peak, "warmup": warmup, "bf16": bf16}
    run["contexts"] = len(rows)
    checkpoint = work / "model.pt"
    first = resume(checkpoint, run, model, optimiser).get("step", 0)
    began, recent = time.time(), []
    for step in range(first, stop_at or steps):
        batch = _take_batch(rows, step, batch_size, seed)
        rate = peak * min((step + 1) / warmup, 0.02 + 0.98 * (1 - step / steps))
        recent.append(_step(model, optimiser, batch, rate, bf16))
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


def resume(
    checkpoint: Path, run: dict[str, Any], model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Load the checkpoint into model and optimiser; returns its content, empty without a checkpoint.

    Raises Conflict when it belongs to another run.
    """
    if not checkpoint.exists():
        return {}
    saved = read_checkpoint(checkpoint, run)
    model.load_state_dict(saved["model"])
    optimiser.load_state_dict(saved["optimiser"])
    return saved


def read_checkpoint(path: Path, run: dict[str, Any]) -> dict[str, Any]:
    """Returns the checkpoint of a run. Raises Conflict when it belongs to another run."""
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    saved_run = saved.get("run")
    if saved_run != run:
        raise Conflict(f"{path} is of a run with {saved_run}, this one has {run}; --fresh begins again")
    return saved


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the last checkpoint atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


@torch.inference_mode()
def measure_loss(model: GPT2LMHeadModel, tokenizer: Any, batch_size: int = 32) -> dict[str, float]:
    """Loss on the held-out documents: nats per token, nats and bits per byte, and the number of tokens and bytes."""
    texts = [d.text for d in documents() if is_held_out(d.name)]
    rows = contexts(tokenizer, texts)
    total, tokens = 0.0, 0
    model.eval()  # transformers leaves it untyped
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
    half.half().save_pretrained(folder)  # transformers leaves it untyped
