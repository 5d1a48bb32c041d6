"""Label sets from files, and the queries that are held out of them.

A file is an object {"index": "label"} (.json), or has one object a line with "Annotation" and "Notes" (.jsonl). The
rule by which queries are held out is the same for every label, and looks at no ranking:

* of a label with two clauses or more, what follows the clause border nearest its middle is the query, and what comes
  before it stands in the store;
* an annotator's notes of two words or more are the query, and the annotation stands in the store.

Only the feature itself counts as an answer, although others of much the same label may be as good: the figures are for
comparing ways to search, not for saying how often a person is content.
"""

from __future__ import annotations

import datetime
import json
import random
import re
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow

import featurestore

DICTIONARY = "labels/0-res"
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
BORDERS = re.compile(r"[,;:.] ")


class LabelSet(NamedTuple):
    """The labels that stand in the store, by feature, and the queries with the number of the feature that answers."""

    name: str
    labels: list[str]
    queries: list[tuple[str, int]]


def read(path: Path, most: int, queries: int) -> LabelSet:
    """At most `most` labels of a file, and at most `queries` of what is held out, chosen by a fixed seed."""
    labels: list[str] = []
    held_out: list[tuple[str, int]] = []
    for label, query in _entries(path)[:most]:
        if query:
            held_out.append((query, len(labels)))
        labels.append(label)
    random.Random(0).shuffle(held_out)
    return LabelSet(path.stem if path.suffix == ".jsonl" else path.parent.name, labels, held_out[:queries])


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
