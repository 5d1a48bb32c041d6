"""Label sets from files, and the queries that are held out of them.

A file is an object {"index": "label"} (.json), or has one object a line with "Annotation" and "Notes" (.jsonl). The
rule by which queries are held out is the same for every label, and looks at no ranking:

* of a label with two clauses or more, what follows the clause border nearest its middle is held out, and what comes
  before it stands in the store;
* an annotator's notes of two words or more are held out, and the annotation stands in the store.

What is held out is asked in three ways: as it is written (`text`), as a question, of which there are six forms in turn
(`question`), and as its three rarest words (`words`). Beside a .json file, a table of paraphrases may be given, a line
each of an index, a tab and a text: labels stand in the store whole then, and the paraphrases are asked (`paraphrase`).

A query is `chosen on` or `kept aside` by the parity of the SHA-256 of its text: weights and thresholds of a search may
be chosen by the former alone.

Every feature with the label counts as an answer, and no other, although others of much the same label may be as good:
the figures are for comparing ways to search, not for saying how often a person is content.
"""

from __future__ import annotations

import collections
import datetime
import hashlib
import json
import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow

import featurestore

DICTIONARY = "labels/0-res"
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
BORDERS = re.compile(r"[,;:.] ")
QUESTIONS = (
    "which feature is about {}?",
    "what fires on {}",
    "features for {}",
    "where does the model represent {}?",
    "find the feature that detects {}",
    "is there a feature for {}?",
)
PARTS = ("chosen on", "kept aside")


class Asked(NamedTuple):
    """A query, the way it is asked, and the ids of the features that answer it."""

    kind: str
    text: str
    answers: frozenset[str]


class LabelSet(NamedTuple):
    """The labels that stand in the store, by feature, and the queries."""

    name: str
    labels: list[str]
    queries: list[Asked]


def part_of(text: str) -> str:
    """The part of the queries that a text is in, see PARTS."""
    return PARTS[hashlib.sha256(text.encode()).digest()[-1] % 2]


def read(path: Path, most: int, queries: int, paraphrases: Path | None = None) -> LabelSet:
    """At most `most` labels of a file, and at most `queries` of what is held out, chosen by a fixed seed."""
    name = path.stem if path.suffix == ".jsonl" else path.parent.name
    if paraphrases is not None:
        labels, asked = _read_whole(path, paraphrases, most)
        return LabelSet(f"{name}, whole", labels, asked)
    entries = _entries(path)[:most]
    labels = [label for label, _ in entries]
    held_out = [(number, text) for number, (_, text) in enumerate(entries) if text]
    random.Random(0).shuffle(held_out)
    words_of = collections.Counter(word for _, text in entries for word in set(_words(text or "")))
    answers = _answers(labels)
    ways = [
        Asked(kind, query, answers[labels[number]])
        for number, text in held_out[:queries]
        for kind, query in _ask(text, number, words_of)
    ]
    return LabelSet(name, labels, ways)


def _ask(text: str, number: int, words_of: collections.Counter[str]) -> Iterator[tuple[str, str]]:
    """Yield the ways in which a text is asked, with the query of each."""
    yield "text", text
    yield "question", QUESTIONS[number % len(QUESTIONS)].format(text.rstrip(".").lower())
    words = sorted(set(_words(text)), key=lambda word: (words_of[word], word))
    if len(words) > 3:
        yield "words", " ".join(words[:3])


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{4,}", text.lower())


def _answers(labels: Iterable[str]) -> dict[str, frozenset[str]]:
    by_label: dict[str, set[str]] = {}
    for number, label in enumerate(labels):
        by_label.setdefault(label, set()).add(f"{DICTIONARY}/{number}")
    return {label: frozenset(ids) for label, ids in by_label.items()}


def _read_whole(path: Path, paraphrases: Path, most: int) -> tuple[list[str], list[Asked]]:
    """At most `most` whole labels, among them all that are paraphrased, and the paraphrases."""
    labels: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    lines = paraphrases.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    kept = list(dict.fromkeys([index for index, _ in pairs] + list(labels)))[:most]
    answers = _answers(labels[index] for index in kept)
    asked = [Asked("paraphrase", query, answers[labels[index]]) for index, query in pairs]
    return [labels[index] for index in kept], asked


def _entries(path: Path) -> list[tuple[str, str | None]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return [_cut(label) for label in json.loads(text).values() if label.strip()]
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    entries = []
    for row in rows:
        notes = (row.get("Notes") or row.get("notes") or "").strip()
        if (row.get("Annotation") or "").strip():
            entries.append((row["Annotation"].strip(), notes if len(notes.split()) > 1 else None))
    return entries


def _cut(label: str) -> tuple[str, str | None]:
    """A label's beginning and, where it has a border of clauses in its middle, the rest."""
    borders = [border for border in BORDERS.finditer(label) if 0.3 < border.start() / len(label) < 0.7]
    if not borders:
        return label, None
    border = min(borders, key=lambda border: abs(border.start() - len(label) / 2))
    return label[: border.start()], label[border.end() :].strip() or None


def write(path: Path, labels: list[str]) -> featurestore.Store:
    """Write a store of these labels, a feature each, and index it."""
    store = featurestore.create(path)
    dictionary: dict[str, Any] = {
        "dictionary": DICTIONARY,
        "model": "labels",
        "source": "0-res",
        "kind": "sae",
        "hook_point": "blocks.0.hook_resid_post",
        "layer": 0,
        "site": "resid_post",
        "d_in": 1,
        "d_out": 1,
        "d_sae": len(labels),
        "space": "labels",
        "tool": "bench",
        "created_at": NOW,
    }
    row = {"dictionary": DICTIONARY, "explainer": "a-model", "prompt": "set", "tool": "bench", "created_at": NOW}
    with store.writer("bench") as writer:
        writer.add("dictionaries", pyarrow.Table.from_pylist([dictionary]), key=DICTIONARY)
        features = [{"dictionary": DICTIONARY, "feature": n, "density": 0.01} for n in range(len(labels))]
        writer.add("features", pyarrow.Table.from_pylist(features), key=DICTIONARY, shard=0)
        rows = [row | {"feature": feature, "label": label} for feature, label in enumerate(labels)]
        writer.add("labels", pyarrow.Table.from_pylist(rows), key=DICTIONARY)
    store.compact()
    store.index()
    return store
