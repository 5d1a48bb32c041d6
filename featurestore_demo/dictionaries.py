"""The demo's dictionaries: trained with BatchTopK and an auxiliary loss, saved as JumpReLU in SAELens's format.

BatchTopK keeps the k x batch largest activations of a batch (Bussmann et al. 2024). At the end one threshold is set
that gives the same mean number of active features, so that tokens are encoded independently. Dead features learn to
explain the residue (AuxK, Gao et al. 2024), and those that stay dead are pointed at the inputs explained worst.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from safetensors.torch import save_file

from featurestore_demo.language_model import resume, write_checkpoint
from ingest.corpus.corpus import Corpus
from ingest.model.model import Model


class Plan(NamedTuple):
    """One dictionary to train."""

    source: str
    hook_point: str
    hook_point_out: str | None
    k: int  # mean features active on a token


D_SAE = 2048
PLANS = (
    Plan("2-res-2k", "blocks.2.hook_resid_post", None, 24),
    Plan("4-res-2k", "blocks.4.hook_resid_post", None, 32),
    Plan("3-tc-2k", "blocks.3.mlp.hook_in", "blocks.3.hook_mlp_out", 40),
)
CONTEXT = 256
BATCH = 4096
DEAD_AFTER = 200_000  # tokens without firing
REVIVE_EVERY = 150  # steps
AUX_K, AUX_WEIGHT = 64, 1 / 32
CALIBRATION = 65_536  # tokens the threshold is set on


class Dictionary(torch.nn.Module):
    """Encoder and decoder on inputs and outputs scaled to mean square 1."""

    def __init__(self, d_in: int, d_out: int, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        W_dec = torch.randn(D_SAE, d_out, generator=generator)
        W_dec /= W_dec.norm(dim=1, keepdim=True)
        W_enc = W_dec.T.clone() if d_in == d_out else torch.randn(d_in, D_SAE, generator=generator) / d_in**0.5
        self.W_enc = torch.nn.Parameter(W_enc.contiguous())  # (d_in, n)
        self.b_enc = torch.nn.Parameter(torch.zeros(D_SAE))
        self.W_dec = torch.nn.Parameter(W_dec)  # (n, d_out)
        self.b_dec = torch.nn.Parameter(torch.zeros(d_out))

    def pre(self, x: torch.Tensor, subtract: bool) -> torch.Tensor:
        """Activations (t, n) before the largest are chosen."""
        return ((x - self.b_dec if subtract else x) @ self.W_enc + self.b_enc).relu()


def read_activations(model: Model, corpus: Corpus, names: list[str], batch: int = 32) -> dict[str, torch.Tensor]:
    """Activations at each hook point on every token of a corpus but BOS: {name: (tokens, width)} float16."""
    points = [model.hook_point(name) for name in names]
    out: dict[str, torch.Tensor] = {}
    contexts = corpus.contexts(CONTEXT - 1)
    at = 0
    for first in range(0, len(contexts), batch):
        chunk = contexts[first : first + batch]
        ids = torch.zeros(len(chunk), 1 + chunk[0].length, dtype=torch.long)
        ids[:, 0] = model.bos or 0
        keep = torch.zeros(len(chunk), chunk[0].length, dtype=torch.bool)
        for row, context in enumerate(chunk):
            ids[row, 1 : 1 + context.length] = torch.from_numpy(corpus.run(context).astype(numpy.int64))
            keep[row, : context.length] = True
        activations = model.read(ids, points)
        for name in names:
            value = activations[name][:, 1:][keep].half()
            if name not in out:
                out[name] = torch.empty(corpus.size, value.shape[1], dtype=torch.float16)
            out[name][at : at + len(value)] = value
        at += int(keep.sum())
    return out


def train(
    plan: Plan, x: torch.Tensor, y: torch.Tensor, *, steps: int, seed: int, work: Path, stop_at: int | None = None
) -> dict[str, torch.Tensor]:
    """Train on inputs x (tokens, d_in) and targets y (tokens, d_out); returns the tensors to save.

    Continues from the checkpoint in `work`; batches depend on seed and step only. Raises Conflict when the
    checkpoint belongs to another run, or to the activations of another model.
    """
    subtract = plan.hook_point_out is None
    scale_x = float(x[:CALIBRATION].float().square().mean().sqrt())
    scale_y = float(y[:CALIBRATION].float().square().mean().sqrt())
    sae = Dictionary(x.shape[1], y.shape[1], seed)
    with torch.no_grad():
        sae.b_dec.add_(y[:CALIBRATION].float().mean(0) / scale_y)
    peak = 8e-4
    optimiser = torch.optim.Adam(sae.parameters(), lr=peak, betas=(0.9, 0.999))
    run = {"plan": list(plan), "seed": seed, "steps": steps, "tokens": len(x)}
    # The scales identify the activations: those of another model or corpus differ. Rounded, because the order of a sum,
    # and with it the last digits, depends on the number of threads.
    run["scales"] = [round(scale_x, 3), round(scale_y, 3)]
    checkpoint = work / f"{plan.source}.pt"
    saved = resume(checkpoint, run, sae, optimiser)
    silent = saved.get("silent", torch.zeros(D_SAE, dtype=torch.long))  # tokens since each feature fired
    first, began = saved.get("step", 0), time.time()
    for step in range(first, stop_at or steps):
        rows = torch.from_numpy(numpy.random.default_rng([seed, step]).integers(0, len(x), BATCH))
        inputs, wanted = x[rows].float() / scale_x, y[rows].float() / scale_y
        for group in optimiser.param_groups:
            group["lr"] = peak * min((step + 1) / 100, 1.0, max(0.02, 3 * (1 - step / steps)))
        residue, silent = _step(sae, optimiser, plan, inputs, wanted, silent)
        dead = int((silent > DEAD_AFTER).sum())
        if (step + 1) % REVIVE_EVERY == 0 and step < 0.7 * steps:
            _revive(sae, optimiser, silent, inputs, residue)
        with torch.no_grad():
            sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
        if (step + 1) % 100 == 0 or step + 1 == (stop_at or steps):
            explained = 1 - residue.square().sum() / (wanted - wanted.mean(0)).square().sum()
            speed = (step + 1 - first) / (time.time() - began)
            progress = f"explained {explained.item():.3f}  dead {dead}  {speed:.1f} steps/s"
            print(f"{plan.source} step {step + 1}/{steps}  {progress}", flush=True)
            state = {"model": sae.state_dict(), "optimiser": optimiser.state_dict(), "silent": silent, "step": step + 1}
            write_checkpoint(checkpoint, state | {"run": run})
    return _finish(sae, plan, x, scale_x, scale_y, subtract, seed)


def _step(
    sae: Dictionary,
    optimiser: torch.optim.Adam,
    plan: Plan,
    inputs: torch.Tensor,
    wanted: torch.Tensor,
    silent: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Take one step of training; returns what stays unexplained (BATCH, d_out), and tokens since each feature fired."""
    subtract = plan.hook_point_out is None
    pre = sae.pre(inputs, subtract)
    # The batch's k x BATCH-th largest activation, estimated from every eighth token.
    bar = pre.detach()[::8].flatten().topk(plan.k * BATCH // 8).values[-1]
    active = pre * (pre >= bar)
    residue = wanted - active @ sae.W_dec - sae.b_dec
    loss = residue.square().sum(1).mean()
    silent = torch.where((active.detach() > 0).any(0), 0, silent + BATCH)
    dead = silent > DEAD_AFTER
    if dead.any():
        loss = loss + AUX_WEIGHT * _compute_auxiliary_loss(sae, inputs, residue.detach(), dead, subtract)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # torch leaves it untyped
    torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
    optimiser.step()
    return residue.detach(), silent


def _compute_auxiliary_loss(
    sae: Dictionary, inputs: torch.Tensor, residue: torch.Tensor, dead: torch.Tensor, subtract: bool
) -> torch.Tensor:
    """Squared error of dead features' reconstruction of the residue, by the AUX_K largest of them on each token."""
    count = min(AUX_K, int(dead.sum()))
    activations = ((inputs - sae.b_dec if subtract else inputs) @ sae.W_enc[:, dead]) + sae.b_enc[dead]
    top = activations.relu().topk(count, dim=1)
    largest = torch.zeros_like(activations).scatter(1, top.indices, top.values)
    return (residue - largest @ sae.W_dec[dead]).square().sum(1).mean()


@torch.no_grad()
def _revive(
    sae: Dictionary, optimiser: torch.optim.Adam, silent: torch.Tensor, inputs: torch.Tensor, residue: torch.Tensor
) -> None:
    """Point dead features at the inputs that are explained worst (Bricken et al. 2023), with Adam's memory of them
    cleared."""
    dead = (silent > DEAD_AFTER).nonzero().squeeze(1)[: len(inputs)]
    if not len(dead):
        return
    worst = residue.square().sum(1).topk(len(dead)).indices
    x = inputs[worst]
    sae.W_dec[dead] = residue[worst] / residue[worst].norm(dim=1, keepdim=True)
    scale = sae.W_enc.norm(dim=0)[silent <= DEAD_AFTER].mean()
    sae.W_enc[:, dead] = (x / x.norm(dim=1, keepdim=True)).T * scale
    sae.b_enc[dead] = 0.0
    silent[dead] = 0
    for parameter, rows in ((sae.W_dec, (dead,)), (sae.W_enc, (slice(None), dead)), (sae.b_enc, (dead,))):
        for moment in ("exp_avg", "exp_avg_sq"):
            optimiser.state[parameter][moment][rows] = 0.0


@torch.no_grad()
def _finish(
    sae: Dictionary, plan: Plan, x: torch.Tensor, scale_x: float, scale_y: float, subtract: bool, seed: int
) -> dict[str, torch.Tensor]:
    """Returns the tensors to save: scales folded into the weights, unit decoder vectors, the threshold for L0 = k."""
    rows = torch.from_numpy(numpy.random.default_rng([seed, 1 << 30]).integers(0, len(x), CALIBRATION))
    parts = [sae.pre(x[chunk].float() / scale_x, subtract) for chunk in torch.split(rows, BATCH)]
    most = plan.k * BATCH
    bar = sum(float(part.flatten().topk(most).values[-1]) for part in parts) / len(parts)
    # An SAE subtracts its own output bias from its input, so both live on one scale: scale_x = scale_y.
    return {
        "W_enc": sae.W_enc * (scale_y / scale_x),
        "b_enc": sae.b_enc * scale_y,
        "W_dec": sae.W_dec.clone(),
        "b_dec": sae.b_dec * scale_y,
        "threshold": torch.full((D_SAE,), bar * scale_y),
    }


def config(plan: Plan, d_in: int, d_out: int, model_name: str) -> dict[str, Any]:
    """Returns the content of SAELens 6's cfg.json."""
    transcoder = plan.hook_point_out is not None
    names = {"hook_name": plan.hook_point, "hf_hook_name": _module(plan.hook_point)}
    if plan.hook_point_out is not None:
        names |= {"hook_name_out": plan.hook_point_out, "hf_hook_name_out": _module(plan.hook_point_out)}
    return {
        "architecture": "jumprelu_transcoder" if transcoder else "jumprelu",
        "d_in": d_in,
        "d_sae": D_SAE,
        **({"d_out": d_out} if transcoder else {}),
        "dtype": "float16",
        "device": "cpu",
        "apply_b_dec_to_input": not transcoder,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": model_name,
            **names,
            "prepend_bos": True,
            "context_size": CONTEXT,
            "dataset_path": "the Python standard library",
        },
    }


def _module(hook_point: str) -> str:
    """Name of a hook point's module in transformers.

    TransformerLens's names are ambiguous for a transcoder's input: here it is the MLP's true input, after the norm with
    its gain and bias.
    """
    _, layer, site = hook_point.split(".", 2)
    place = {"hook_resid_post": "output", "mlp.hook_in": "mlp.input", "hook_mlp_out": "mlp.output"}[site]
    return f"transformer.h.{layer}.{place}"


def save(plan: Plan, tensors: dict[str, torch.Tensor], folder: Path, model_name: str) -> None:
    """Save as SAELens 6 does: cfg.json and sae_weights.safetensors, in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    for name, tensor in half.items():
        assert torch.isfinite(tensor).all(), f"{plan.source}: {name} does not fit half precision"
    words = config(plan, half["W_enc"].shape[0], half["W_dec"].shape[1], model_name)
    save_file(half, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(words, indent=2) + "\n")
