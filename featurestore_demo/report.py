"""How good the demo's model and dictionaries are, measured on documents kept from training."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from featurestore_demo import language_model
from featurestore_demo.corpus import documents, held_out
from ingest import weights
from ingest.corpus.corpus import Corpus, tokenise
from ingest.inspection import selftest
from ingest.model.model import Model
from ingest.sae import Sae

SPLICED_CONTEXTS = 120  # contexts on which the loss with a dictionary spliced in is measured
DEAD_TOKENS = 300_000  # tokens of training documents on which a feature that never fires counts as dead


def measure(model_folder: Path, dictionary_folder: Path) -> dict[str, Any]:
    """Held-out loss of the model; L0, variance explained, dead fraction and loss recovered of each dictionary."""
    model = Model(str(model_folder))
    plain = model.language_model
    kept = tokenise(model.tokenizer, (d for d in documents() if held_out(d.name)))
    # In the order of a hash, since the first documents by name are of a few packages only.
    mixed = sorted(
        (d for d in documents() if not held_out(d.name)), key=lambda d: hashlib.sha256(d.name.encode()).digest()
    )
    trained = tokenise(model.tokenizer, mixed, DEAD_TOKENS)
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in plain.parameters()),
        "held_out": language_model.held_out_loss(plain, model.tokenizer),
        "dictionaries": {},
    }
    for folder in sorted(path for path in dictionary_folder.iterdir() if path.is_dir()):
        sae = weights.read(folder)
        quality = selftest.measure(sae, model, kept)
        fired = selftest.measure(sae, model, trained)
        report["dictionaries"][folder.name] = {
            "hook_point": sae.hook_point,
            "d_sae": sae.d_sae,
            "l0": quality["l0"],
            "variance_explained": quality["variance_explained"],
            "dead_fraction": fired["never_fired_fraction"],
            "silent_on_held_out": quality["never_fired_fraction"],
            **loss_recovered(model, sae, kept),
        }
    return report


@torch.inference_mode()
def loss_recovered(model: Model, sae: Sae, corpus: Corpus) -> dict[str, float]:
    """Nats per token as it is, with the dictionary's output put in place of what it stands for, and with zeros
    there."""
    contexts = corpus.contexts(language_model.CONTEXT - 1)[:SPLICED_CONTEXTS]
    runs = [corpus.run(c).astype(numpy.int64) for c in contexts]
    rows = torch.stack([torch.from_numpy(numpy.r_[0, run]) for run in runs if len(run) == len(runs[0])])
    losses = {}
    for how in ("as_is", "spliced", "zeroed"):
        with _spliced(model, sae, how):
            losses[how] = float(language_model.loss_of(model.language_model, rows))
    return {
        "loss_increase": losses["spliced"] - losses["as_is"],
        "loss_recovered": (losses["zeroed"] - losses["spliced"]) / (losses["zeroed"] - losses["as_is"]),
    }


@contextlib.contextmanager
def _spliced(model: Model, sae: Sae, how: str) -> Iterator[None]:
    reads = model.hook_point(sae.hook_point)
    writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else reads
    seen: dict[str, torch.Tensor] = {}

    def remember(module: torch.nn.Module, arguments: tuple, output: Any = None) -> None:
        value = arguments[0] if reads.side == "input" else output
        seen["x"] = value[0] if isinstance(value, tuple) else value

    def replace(module: torch.nn.Module, arguments: tuple, output: Any) -> Any:
        value = output[0] if isinstance(output, tuple) else output
        x = seen["x"].reshape(-1, sae.d_in)
        new = sae.decode(sae.encode(x), x).reshape(value.shape) if how == "spliced" else torch.zeros_like(value)
        new = torch.cat([value[:, :1], new[:, 1:]], dim=1)  # BOS is not the dictionary's business
        return (new, *output[1:]) if isinstance(output, tuple) else new

    if how == "as_is":
        yield
        return
    hook = reads.module.register_forward_pre_hook if reads.side == "input" else reads.module.register_forward_hook
    handles = [hook(remember), writes.module.register_forward_hook(replace)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def show(report: dict[str, Any]) -> str:
    """The report as Markdown tables."""
    loss = report["held_out"]
    lines = [
        f"{report['parameters']:,} parameters; on {loss['tokens']:,} held-out tokens "
        f"**{loss['nats_per_token']:.3f} nats per token**, **{loss['nats_per_byte']:.3f} nats per byte** "
        f"({loss['bits_per_byte']:.3f} bits).",
        "",
        "| dictionary | reads | features | L0 | variance explained | dead | silent on held-out "
        "| loss increase (nats) | loss recovered |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in report["dictionaries"].items():
        lines.append(
            f"| `{name}` | `{one['hook_point']}` | {one['d_sae']:,} | {one['l0']:.1f} | "
            f"{one['variance_explained']:.3f} "
            f"| {100 * one['dead_fraction']:.2f} % | {100 * one['silent_on_held_out']:.2f} % | "
            f"{one['loss_increase']:.3f} | {100 * one['loss_recovered']:.1f} % |"
        )
    return "\n".join(lines)
