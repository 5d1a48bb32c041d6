"""Delphi's results: caches of sparse activations, explanations and scores, below one directory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from featurestore import BadRequest
from ingest.formats import files
from ingest.formats.batches import Batch
from ingest.formats.readers.labels import clean, parse_label
from ingest.formats.records import delphi_cache
from ingest.formats.rejects import Rejects

FORMAT = "delphi"
NAMED = re.compile(r"(?P<hook>.+)_latent(?P<feature>\d{1,9})\.(?:txt|json)")
SPLIT = re.compile(r"\d+_\d+\.safetensors")
# Delphi draws test examples from those that prompts are made of, so its scores are kept apart from ours.
JUDGE = "delphi (its test examples may have been in the prompts)"
METHODS = {"detection": 0.5, "fuzz": 0.5, "fuzzing": 0.5, "recall": 0.5, "intruder": 0.2}


def recognises(path: Path) -> bool:
    """Return whether a directory has explanations, scores or caches of Delphi."""
    if not path.is_dir():
        return False
    if any(NAMED.fullmatch(file.name) for file in path.rglob("*_latent*.txt")):
        return True
    return any(SPLIT.fullmatch(file.name) for file in path.rglob("*.safetensors"))


def find(path: str) -> list[Path]:
    """Return the splits of caches, and the directories of explanations and of scores."""
    place = Path(path)
    if place.is_file():
        return [place]
    splits = [file for file in files.find_files(path, "*.safetensors") if SPLIT.fullmatch(file.name)]
    texts = [file for file in files.find_files(path, "*_latent*.txt") if NAMED.fullmatch(file.name)]
    folders = sorted({file.parent for file in texts}, key=lambda folder: ("scores" in folder.parts, str(folder)))
    return [*splits, *folders]


def describe(path: str, options: Mapping[str, Any]) -> str:
    """Return what a file or directory holds, as one line."""
    place = Path(path)
    if place.suffix == ".safetensors":
        return f"{place.parent.name}/{place.name}: activations of {_dictionary(place, place.parent.name, options)}"
    count = sum(1 for file in place.glob("*_latent*.txt"))
    return f"{place.name}: {count:,} {'scores' if 'scores' in place.parts else 'explanations'}"


def read(path: str, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    """Yield the batches of a split, or of a directory of explanations or scores."""
    place = Path(path)
    if place.suffix == ".safetensors":
        dictionary = _dictionary(place, place.parent.name, options)
        yield from delphi_cache.read_split(place, dictionary, options.get("tokenizer"), rejects)
    elif place.is_dir() and "scores" in place.parts:
        yield from _read_scores(place, rejects, options)
    else:
        yield from _read_explanations(place, rejects, options)


def _dictionary(place: Path, hook: str, options: Mapping[str, Any]) -> str:
    """Return model/source: the model of the cache's config, or the run's directory; the source is the hook point."""
    if options.get("dictionary"):
        return str(options["dictionary"])
    above = place.resolve().parents
    root = next(
        (folder for folder in above if any((folder / name).exists() for name in ("run_config.json", "latents"))), None
    )
    config: dict[str, Any] = {}
    for name in (root / "run_config.json", root / "latents" / hook / "config.json") if root else ():
        if name.is_file():
            content = files.read_json(name)
            config |= content if isinstance(content, dict) else {}
    run = place.resolve().parents[1].name if root is None else root.name
    model = options.get("model") or config.get("model") or config.get("model_name") or run
    return f"{clean(str(model).split('/')[-1])}/{clean(options.get('source') or hook)}"


def _texts(place: Path) -> Iterator[tuple[Path, str, int]]:
    found = [place] if place.is_file() else files.find_files(place, "*_latent*.txt")
    for file in found:
        match = NAMED.fullmatch(file.name)
        if match:
            yield file, match["hook"], int(match["feature"])


def _read_explanations(place: Path, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    labels: dict[str, list[dict[str, Any]]] = {}
    explainer = options.get("explainer") or "delphi"
    for file, hook, feature in _texts(place):
        label, problem = _read_explanation(file)
        if problem:
            rejects.add(str(place), file.name, problem)
            continue
        row = {"feature": feature, "label": label, "explainer": explainer}
        labels.setdefault(_dictionary(file, hook, options), []).append(row)
    for dictionary, rows in labels.items():
        yield Batch(dictionary, labels=rows)


def _read_explanation(file: Path) -> tuple[str, str]:
    """Return a label, and "" or why there is none. A failure that Delphi stored as a label is none."""
    try:
        content = files.read_json(file)
    except BadRequest:
        return "", "it is not JSON, or damaged"
    label, problem = parse_label(content)
    if not problem and label == "Explanation could not be parsed.":
        return "", "the explainer's reply could not be parsed"
    return label, problem


def _read_scores(place: Path, rejects: Rejects, options: Mapping[str, Any]) -> Iterator[Batch]:
    scores: dict[str, list[dict[str, Any]]] = {}
    for file, hook, feature in _texts(place):
        explanations = _beside(file)
        label, problem = _read_explanation(explanations) if explanations else ("", "its explanation is missing")
        try:
            record = files.read_json(file)
        except BadRequest:
            record, problem = None, "it is not JSON, or damaged"
        if not problem and not isinstance(record, list):
            problem = "it is no list of judgements"
        if problem:
            rejects.add(str(place), file.name, problem)
            continue
        row = {"feature": feature, "label": label, "explainer": options.get("explainer") or "delphi"}
        row |= summarise(record, place.name)
        scores.setdefault(_dictionary(file, hook, options), []).append(row)
    for dictionary, rows in scores.items():
        yield Batch(dictionary, scores=rows)


def _beside(file: Path) -> Path | None:
    """Return the file of the explanation that a score is of."""
    for folder in file.parents:
        place = folder / "explanations" / file.name
        if place.is_file():
            return place
    return None


def summarise(judgements: list[Any], method: str) -> dict[str, Any]:
    """Return the columns of stored.scores for a list of judgements: balanced accuracy with its 95 % interval."""
    counts = {True: [0, 0], False: [0, 0]}  # by whether it is active: right ones, all
    failures = 0
    for judgement in judgements:
        active = judgement.get("activating") if isinstance(judgement, dict) else None
        predicted = judgement.get("prediction") if isinstance(judgement, dict) else None
        if not isinstance(active, bool) or predicted is None:
            failures += 1
            continue
        counts[active][0] += bool(predicted) == active
        counts[active][1] += 1
    row: dict[str, Any] = {"method": f"delphi:{method}", "judge": JUDGE, "failures": failures, "examples": "unknown"}
    row |= {"n": counts[True][1] + counts[False][1], "value": None, "low": None, "high": None}
    row["baseline"] = METHODS.get(method)
    if counts[True][1] and counts[False][1]:
        rates = [right / total for right, total in counts.values()]
        spread = math.sqrt(sum(p * (1 - p) / total for p, (_, total) in zip(rates, counts.values(), strict=True))) / 2
        value = sum(rates) / 2
        row |= {"value": value, "low": max(0.0, value - 1.96 * spread), "high": min(1.0, value + 1.96 * spread)}
    return row
