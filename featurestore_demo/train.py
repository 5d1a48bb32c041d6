"""Train the demo's tokenizer, language model and dictionaries again: `python -m featurestore_demo.train all`.

Every stage is reproducible by its seed. A run that was stopped continues from its last checkpoint in
featurestore_demo/work/ when it is started again; a checkpoint of other settings is refused.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from featurestore import FeatureStoreError
from featurestore_demo import dictionaries, language_model, report
from featurestore_demo.corpus import documents, is_held_out
from ingest.corpus.corpus import tokenise
from ingest.model.model import Model

HERE = Path(__file__).parent
MODEL = HERE / "model"
WORK = HERE / "work"
MODEL_STEPS = 1700
DICTIONARIES = HERE / "dictionaries"
DICTIONARY_STEPS = 1500
MODEL_NAME = "pystdlib"


def train_model(seed: int, steps: int, fresh: bool) -> None:
    """Train the tokenizer, then the language model, into featurestore_demo/model/."""
    if fresh:
        (WORK / "model.pt").unlink(missing_ok=True)
    tokenizer = language_model.train_tokenizer(MODEL)
    rows = language_model.contexts(tokenizer, (d.text for d in documents() if not is_held_out(d.name)))
    print(f"{len(rows):,} contexts, {(rows > 0).sum():,} tokens to train on", flush=True)
    language_model.train(
        rows, steps=steps, work=WORK, seed=seed, on_save=lambda model: language_model.save(model, MODEL)
    )


def train_dictionaries(seed: int, steps: int, fresh: bool, only: str | None = None) -> None:
    """Train every planned dictionary, or `only` one, on training documents, into featurestore_demo/dictionaries/."""
    model = Model(str(MODEL))
    corpus = tokenise(model.tokenizer, (d for d in documents() if not is_held_out(d.name)))
    for plan in dictionaries.PLANS:
        if only not in (None, plan.source):
            continue
        if fresh:
            (WORK / f"{plan.source}.pt").unlink(missing_ok=True)
        names = [plan.hook_point, plan.hook_point_out or plan.hook_point]
        activations = dictionaries.read_activations(model, corpus, sorted(set(names)))
        x, y = (activations[name] for name in names)
        tensors = dictionaries.train(plan, x, y, steps=steps, seed=seed, work=WORK)
        dictionaries.save(plan, tensors, DICTIONARIES / plan.source, MODEL_NAME)


def main() -> None:
    """Train or measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m featurestore_demo.train", description=__doc__)
    parser.add_argument("stage", choices=["model", "dictionaries", "report", "all"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=MODEL_STEPS, help="training steps of the language model")
    parser.add_argument("--dictionary-steps", type=int, default=DICTIONARY_STEPS, help="of each dictionary")
    parser.add_argument("--only", choices=[plan.source for plan in dictionaries.PLANS], help="train one dictionary")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    parser.add_argument("--fresh", action="store_true", help="forget the stage's checkpoints and begin again")
    arguments = parser.parse_args()
    try:
        if arguments.stage in ("model", "all"):
            train_model(arguments.seed, arguments.steps, arguments.fresh)
        if arguments.stage in ("dictionaries", "all"):
            train_dictionaries(arguments.seed, arguments.dictionary_steps, arguments.fresh, arguments.only)
    except FeatureStoreError as exc:
        parser.exit(exc.exit_code, f"{exc}\n")
    if arguments.stage in ("report", "all"):
        figures = report.measure(MODEL, DICTIONARIES)
        print(json.dumps(figures) if arguments.json else report.show(figures))


if __name__ == "__main__":
    main()
