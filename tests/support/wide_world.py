"""The demo's real model, texts of the Python library, and its dictionaries made four times as wide."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from featurestore_demo import corpus
from tests.support import ROOT

DEMO = ROOT / "featurestore_demo"
MODEL = DEMO / "model"
SOURCES = ("2-res-2k", "4-res-2k")
COPIES = 4


def write_world(folder: Path, characters: int) -> None:
    """Write `texts/` with so many characters, and a folder for each dictionary, of 8,192 features."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    written = 0
    for number, document in enumerate(corpus.documents()):
        if written >= characters:
            break
        (texts / f"{number:05d}.txt").write_text(document.text, "utf-8")
        written += len(document.text)
    for source in SOURCES:
        widen(DEMO / "dictionaries" / source, folder / source)


def widen(source: Path, target: Path) -> None:
    """Copy a JumpReLU dictionary with each feature four times: other directions nearby, and thresholds that rise."""
    weights = {name: tensor.float() for name, tensor in load_file(source / "sae_weights.safetensors").items()}
    generator = torch.Generator().manual_seed(0)
    W_dec = weights["W_dec"].repeat(COPIES, 1)
    noise = torch.randn(W_dec.shape, generator=generator) * W_dec.norm(dim=1, keepdim=True) / W_dec.shape[1] ** 0.5
    steps = torch.arange(COPIES).repeat_interleave(weights["threshold"].shape[0])
    wide = {
        "W_enc": weights["W_enc"].repeat(1, COPIES),
        "b_enc": weights["b_enc"].repeat(COPIES),
        "W_dec": W_dec + 0.3 * noise,
        "b_dec": weights["b_dec"],
        "threshold": weights["threshold"].repeat(COPIES) * (1 + 0.2 * steps),
    }
    target.mkdir(parents=True)
    save_file({name: tensor.half().contiguous() for name, tensor in wide.items()}, target / "sae_weights.safetensors")
    config = json.loads((source / "cfg.json").read_text())
    (target / "cfg.json").write_text(json.dumps(config | {"d_sae": len(steps)}))
    for other in source.iterdir():
        if not (target / other.name).exists():
            shutil.copy(other, target / other.name)
