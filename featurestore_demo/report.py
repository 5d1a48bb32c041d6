"""Quality of the demo's model and dictionaries, measured on documents kept from training."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import torch

from featurestore_demo import language_model
from featurestore_demo.corpus import documents, is_held_out
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
    corpus = tokenise(model.tokenizer, (d for d in documents() if is_held_out(d.name)))
    # In the order of a hash, since the first documents by name are of a few packages only.
    mixed = sorted(
        (d for d in documents() if not is_held_out(d.name)), key=lambda d: hashlib.sha256(d.name.encode()).digest()
    )
    training_corpus = tokenise(model.tokenizer, mixed, DEAD_TOKENS)
    report: dict[str, Any] = {
        "parameters": sum(p.numel() for p in plain.parameters()),
        "held_out": language_model.measure_loss(plain, model.tokenizer),
        "dictionaries": {},
    }
    for folder in sorted(path for path in dictionary_folder.iterdir() if path.is_dir()):
        sae = weights.read(folder)
        quality = selftest.measure(sae, model, corpus)
        activity = selftest.measure(sae, model, training_corpus)
        report["dictionaries"][folder.name] = {
            "hook_point": sae.hook_point,
            "d_sae": sae.d_sae,
            "l0": quality["l0"],
            "variance_explained": quality["variance_explained"],
            "dead_fraction": activity["never_fired_fraction"],
            "silent_on_held_out": quality["never_fired_fraction"],
            **measure_recovered_loss(model, sae, corpus),
        }
    return report


@torch.inference_mode()
def measure_recovered_loss(model: Model, sae: Sae, corpus: Corpus) -> dict[str, float]:
    """Increase of the loss, in nats per token, with the dictionary's output in place of the model's own, and the share
    of the loss with zeros in its place that this recovers."""
    contexts = corpus.contexts(language_model.CONTEXT - 1)[:SPLICED_CONTEXTS]
    runs = [corpus.run(c).astype(numpy.int64) for c in contexts]
    rows = torch.stack([torch.from_numpy(numpy.r_[0, run]) for run in runs if len(run) == len(runs[0])])
    losses = {}
    for how in ("as_is", "spliced", "zeroed"):
        with _replace_output(model, sae, how):
            losses[how] = float(language_model.loss_of(model.language_model, rows))
    return {
        "loss_increase": losses["spliced"] - losses["as_is"],
        "loss_recovered": (losses["zeroed"] - losses["spliced"]) / (losses["zeroed"] - losses["as_is"]),
    }


@contextlib.contextmanager
def _replace_output(model: Model, sae: Sae, how: str) -> Iterator[None]:
    """While this is open, the model runs with the dictionary's output (`spliced`), with zeros, or as it is."""
    reads = model.hook_point(sae.hook_point)
    writes = model.hook_point(sae.hook_point_out) if sae.hook_point_out else reads
    seen: dict[str, torch.Tensor] = {}

    def remember(module: torch.nn.Module, arguments: tuple[Any, ...], output: Any = None) -> None:
        """Keep the dictionary's input."""
        value = arguments[0] if reads.side == "input" else output
        seen["x"] = value[0] if isinstance(value, tuple) else value

    def replace(module: torch.nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Return the replaced output, in the form of the module's own."""
        value = output[0] if isinstance(output, tuple) else output
        x = seen["x"].reshape(-1, sae.d_in)
        new = sae.decode(sae.encode(x), x).reshape(value.shape) if how == "spliced" else torch.zeros_like(value)
        new = torch.cat([value[:, :1], new[:, 1:]], dim=1)  # a dictionary does not replace BOS
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
    for name, row in report["dictionaries"].items():
        lines.append(
            f"| `{name}` | `{row['hook_point']}` | {row['d_sae']:,} | {row['l0']:.1f} | "
            f"{row['variance_explained']:.3f} "
            f"| {100 * row['dead_fraction']:.2f} % | {100 * row['silent_on_held_out']:.2f} % | "
            f"{row['loss_increase']:.3f} | {100 * row['loss_recovered']:.1f} % |"
        )
    return "\n".join(lines)
