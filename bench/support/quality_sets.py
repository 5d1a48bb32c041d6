"""Label sets from files, and the queries that are held out of them.

A file is an object {"index": "label"} (.json), or has one object a line with "Annotation" and "Notes" (.jsonl). The
rule by which queries are held out is the same for every label, and looks at no ranking:

* of a label with two clauses or more, what follows the clause border nearest its middle is held out, and what comes
  before it stands in the store;
* an annotator's notes of two words or more are held out, and the annotation stands in the store.

What is held out is asked in three ways: as it is written (`text`), as a question, of which there are six forms in turn
(`question`), and as its three rarest words (`words`).

In a second set all labels stand in the store whole, and are asked for by two and by four of their words, which are no
stop words, and by six words in a row (`two words`, `four words`, `six in a row`; a fixed seed chooses). Beside a .json
file, a table of paraphrases may be given, a line each of an index, a tab and a text, to be asked too (`paraphrase`).

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
from featurestore.search.words.word_forms import STOP_WORDS

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


def read(path: Path, most: int, queries: int) -> LabelSet:
    """At most `most` labels of a file, and at most `queries` of what is held out, chosen by a fixed seed."""
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
    return LabelSet(_name(path), labels, ways)


def read_whole(path: Path, most: int, queries: int, paraphrases: Path | None = None) -> LabelSet:
    """At most `most` whole labels of a file, all that are paraphrased among them, and queries for `queries` of them."""
    lines = paraphrases.read_text(encoding="utf-8").splitlines() if paraphrases and path.suffix == ".json" else []
    pairs = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    by_index = _whole(path)
    labels = [by_index[index] for index in list(dict.fromkeys([index for index, _ in pairs] + list(by_index)))[:most]]
    answers = _answers(labels)
    asked = [Asked("paraphrase", query, answers[by_index[index]]) for index, query in pairs]
    chooser = random.Random(1)
    for label in chooser.sample(labels, min(queries, len(labels))):
        asked += [Asked(kind, query, answers[label]) for kind, query in _take_words(label, chooser)]
    return LabelSet(f"{_name(path)}, whole", labels, asked)


def _name(path: Path) -> str:
    return path.stem if path.suffix == ".jsonl" else path.parent.name


def _whole(path: Path) -> dict[str, str]:
    """The labels of a file by index, or by line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        labels: dict[str, str] = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        labels = {str(number): (row.get("Annotation") or "").strip() for number, row in enumerate(rows)}
    return {index: label for index, label in labels.items() if label.strip()}


def _take_words(label: str, chooser: random.Random) -> Iterator[tuple[str, str]]:
    """Yield the queries that are taken out of a whole label, each with its kind."""
    words = list(dict.fromkeys(word for word in re.findall(r"[a-z]{3,}", label.lower()) if word not in STOP_WORDS))
    for kind, count in (("two words", 2), ("four words", 4)):
        if len(words) > count:
            yield kind, " ".join(chooser.sample(words, count))
    written = label.split()
    if len(written) > 8:
        start = chooser.randrange(len(written) - 6)
        yield "six in a row", " ".join(written[start : start + 6])


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
