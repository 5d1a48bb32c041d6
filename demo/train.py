"""Train the demo's tokenizer, language model and dictionaries again: `python -m demo.train all`.

Every stage is reproducible by its seed and continues from its last checkpoint in demo/work/.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from demo import dictionaries, language_model, report
from demo.corpus import documents, held_out
from ingest.corpus import tokenise
from ingest.model import Model

HERE = Path(__file__).parent
MODEL = HERE / "model"
WORK = HERE / "work"
MODEL_STEPS = 1700
DICTIONARIES = HERE / "dictionaries"
DICTIONARY_STEPS = 1500


def train_model(seed: int, steps: int) -> None:
    """Tokenizer, then language model, into demo/model/."""
    tokenizer = language_model.train_tokenizer(MODEL)
    rows = language_model.contexts(tokenizer, (d.text for d in documents() if not held_out(d.name)))
    print(f"{len(rows):,} contexts, {(rows > 0).sum():,} tokens to train on", flush=True)
    language_model.train(
        rows, steps=steps, work=WORK, seed=seed, on_save=lambda model: language_model.save(model, MODEL)
    )


def train_dictionaries(seed: int, steps: int) -> None:
    """Every planned dictionary, on the training documents, into demo/dictionaries/."""
    model = Model(str(MODEL))
    corpus = tokenise(model.tokenizer, (d for d in documents() if not held_out(d.name)))
    for plan in dictionaries.PLANS:
        names = [plan.hook_point, plan.hook_point_out or plan.hook_point]
        read = dictionaries.read_activations(model, corpus, sorted(set(names)))
        x, y = (read[name] for name in names)
        tensors = dictionaries.train(plan, x, y, steps=steps, seed=seed, work=WORK)
        dictionaries.save(plan, tensors, DICTIONARIES / plan.source, "pystdlib")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("stage", choices=["model", "dictionaries", "report", "all"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=MODEL_STEPS, help="training steps of the language model")
    parser.add_argument("--dictionary-steps", type=int, default=DICTIONARY_STEPS, help="of each dictionary")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--fresh", action="store_true", help="forget the checkpoints and begin again")
    arguments = parser.parse_args()
    if arguments.fresh:
        shutil.rmtree(WORK, ignore_errors=True)
    if arguments.stage in ("model", "all"):
        train_model(arguments.seed, arguments.steps)
    if arguments.stage in ("dictionaries", "all"):
        train_dictionaries(arguments.seed, arguments.dictionary_steps)
    if arguments.stage in ("report", "all"):
        measured = report.measure(MODEL, DICTIONARIES)
        print(json.dumps(measured) if arguments.json else report.show(measured))


if __name__ == "__main__":
    main()
