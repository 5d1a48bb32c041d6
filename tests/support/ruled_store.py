"""A store of features whose rules are known, labels that are right, wrong, vague and shuffled, and judges that follow
the labels' rules to the letter, or guess.

Features come in pairs whose decoder vectors are near: of numbers, those after a colon and all others, and so on.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

import featurestore
from featurestore.progress import no_progress
from labeler.llm.asker import Asker
from labeler.llm.endpoint import Endpoint
from labeler.llm.journal import Journal
from labeler.runs import row_buffer as rows
from labeler.runs import score_run
from tests.support import tiny

NAME = f"{tiny.MODEL}/ruled"
ANIMALS = ["horse", "dog", "cat", "sheep", "goat", "rabbit", "fox", "wolf"]
PLANTS = ["rose", "tulip", "fern", "oak", "ivy", "daisy", "moss", "clover"]
INSTRUMENTS = ["violin", "piano", "flute", "guitar", "trumpet", "cello", "drum", "harp"]
SPORTS = ["tennis", "football", "hockey", "rugby", "golf", "rowing", "boxing", "cricket"]
NUMBERS = [str(n) for n in (3, 7, 12, 19, 42, 64, 88, 105)]

Rule = Callable[[Sequence[str]], list[bool]]


def after_colon(wanted: bool) -> Rule:
    return lambda tokens: [
        token.strip().isdigit() and (at > 0 and tokens[at - 1].strip() == ":") == wanted
        for at, token in enumerate(tokens)
    ]


def among(words: Sequence[str]) -> Rule:
    return lambda tokens: [token.strip() in words for token in tokens]


FILLERS = [
    "then",
    "later",
    "so",
    "that",
    "we",
    "all",
    "went",
    "home",
    "again",
    "before",
    "dinner",
    "with",
    "some",
    "of",
    "them",
    "near",
    "it",
]
# Each feature's rule, its right label, and sentences it fires in.
FEATURES: list[tuple[str, Rule, Sequence[str], list[str]]] = [
    ("numbers after a colon", after_colon(True), NUMBERS, ["score : {} and level : {}", "items : {} , price : {}"]),
    ("counted numbers of things or people", after_colon(False), NUMBERS, ["we met {} people there", "he ate {} cakes"]),
    ("names of animals", among(ANIMALS), ANIMALS, ["the {} slept in the barn", "a {} chased the {} away"]),
    ("names of plants and flowers", among(PLANTS), PLANTS, ["the {} grew in the garden", "water the {} twice"]),
    ("musical instruments", among(INSTRUMENTS), INSTRUMENTS, ["he played the {} on stage", "her {} was out of tune"]),
    ("sports and games", among(SPORTS), SPORTS, ["they won at {} again", "the {} match was on television"]),
]
SIZE = 11  # tokens of a text
WORDS = {word for _, _, words, sentences in FEATURES for said in (*words, *sentences) for word in said.split()}
IDS = {f" {word}": n for n, word in enumerate(sorted(WORDS - {"{}"} | set(FILLERS)))}
RIGHT = [label for label, *_ in FEATURES]
WRONG, VAGUE = "planets of the solar system", "various words in different contexts"
PLANETS = ["mars", "venus", "saturn"]
RULES: dict[str, Rule] = {label: rule for label, rule, *_ in FEATURES}
RULES |= {WRONG: among(PLANETS), VAGUE: lambda tokens: [True] * len(tokens)}


def shuffled(feature: int) -> str:
    """The label of another feature, of another pair."""
    return RIGHT[(feature + 2) % len(RIGHT)]


EXPLAINERS: dict[str, Callable[[int], str]] = {
    "right": lambda feature: RIGHT[feature],
    "wrong": lambda feature: WRONG,
    "vague": lambda feature: VAGUE,
    "shuffled": shuffled,
}


def documents(seen: int, held: int) -> list[list[str]]:
    """Texts of eleven tokens: for every feature `seen` that explainers may see and `held` that are held out."""
    chance, found = random.Random(0), []
    for _, _, words, sentences in FEATURES:
        wanted = {False: seen, True: held}
        while any(wanted.values()):
            said = re.sub(r"\{\}", lambda _, words=words: chance.choice(words), chance.choice(sentences)).split()
            text = [f" {word}" for word in [*said, *chance.sample(FILLERS, SIZE - len(said))]]
            side = featurestore.held_out([ids_of(text).tobytes(), b""])[0]
            if wanted[side] and text not in found:
                wanted[side] -= 1
                found.append(text)
    return found


def ids_of(text: Sequence[str]) -> numpy.ndarray:
    """A text's token ids."""
    return numpy.array([IDS[token] for token in text], numpy.int32)


def vectors() -> numpy.ndarray:
    """Decoder vectors, (6, 6) float32: those of a pair have cosine 0.8."""
    count = len(FEATURES)
    return numpy.eye(count, dtype=numpy.float32) + 0.5 * numpy.eye(count, dtype=numpy.float32)[numpy.arange(count) ^ 1]


def write(path: Path, seen: int = 14, held: int = 12, contexts: bool = False) -> featurestore.FeatureStore:
    """The store, with so many documents for every feature; `contexts`: also what a harvest draws at random."""
    texts = documents(seen, held)
    pieces = list(IDS)
    streams = [ids_of(text) for text in texts]
    held = featurestore.held_out(memoryview(one).cast("B") for one in streams)
    store = featurestore.create(path)
    with store.writer("tests") as writer:
        bytes_ = [piece.encode() for piece in pieces]
        row = {"tokenizer": tiny.TOKENIZER, "pieces": pieces, "bytes": bytes_}
        writer.add("tokenizers", tiny.table([row]), key=tiny.TOKENIZER)
        listed = [
            {"document": n, "name": f"{n}", "tokenizer": tiny.TOKENIZER, "length": len(text)}
            for n, text in enumerate(texts)
        ]
        writer.add_corpus(tiny.CORPUS, tiny.table(listed), numpy.concatenate(streams))
        width = len(FEATURES)
        changed = {"dictionary": NAME, "source": "ruled", "d_sae": width, "d_in": width, "d_out": width}
        writer.add("dictionaries", tiny.table([tiny.dictionary_row("ruled", 0) | changed]), key=NAME)
        examples = [one for feature in range(len(FEATURES)) for one in example_rows(feature, texts, held)]
        pattern = tiny.feature_rows(NAME)[0]
        features = []
        for feature in range(len(FEATURES)):
            fired = sum(sum(FEATURES[feature][1](text)) for text in texts)
            density = fired / sum(map(len, texts))
            features.append(
                pattern | {"feature": feature, "density": density, "active_tokens": fired, "max_activation": 8.0}
            )
        writer.add("features", tiny.table(features), key=NAME)
        writer.add("examples", tiny.table(examples), key=NAME)
        labels = [
            {"dictionary": NAME, "feature": feature, "label": said(feature), "explainer": explainer}
            | {"tool": "tests", "created_at": tiny.WHEN}
            for explainer, said in EXPLAINERS.items()
            for feature in range(len(FEATURES))
        ]
        writer.add("labels", tiny.table(labels), key=NAME)
        writer.add_vectors(NAME, vectors())
        if contexts:
            writer.add("contexts", tiny.table(context_rows(texts)), key=NAME)
    return store


def activations(feature: int, document: int, text: Sequence[str]) -> list[float]:
    """What the feature does on a document: some strength from 1 to 8 where its rule holds, 0 elsewhere."""
    strength = random.Random(f"{feature} on {document}")
    return [1.0 + 7 * strength.random() if on else 0.0 for on in FEATURES[feature][1](text)]


def example_rows(feature: int, texts: Sequence[Sequence[str]], held: Sequence[bool]) -> list[dict[str, Any]]:
    """The strongest of both kinds of documents, and a band of all others."""
    fired = [(max(values), n, values) for n, text in enumerate(texts) if any(values := activations(feature, n, text))]
    rows = []
    for side in (False, True):
        ranked = sorted((one for one in fired if held[one[1]] == side), reverse=True)
        for rank, (strongest, document, values) in enumerate(ranked):
            top = rank < 5
            band = {"band": "top", "band_low": None, "band_high": None, "weight": None}
            sampled = {"band": "[1, 8)", "band_low": 1.0, "band_high": 8.0, "weight": 2.0}
            offsets = [at for at, value in enumerate(values) if value]
            rows.append(
                {"dictionary": NAME, "feature": feature, "rank": rank if top else rank - 5, "corpus": tiny.CORPUS}
                | {"document": document, "start": 0, "length": len(values), "position": values.index(strongest)}
                | {"activation": strongest, "offsets": offsets, "activations": [values[at] for at in offsets]}
                | (band if top else sampled)
            )
    return rows


def context_rows(texts: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Every second document as a context, with all features that fire in it."""
    rows = []
    for context, document in enumerate(range(0, len(texts), 2)):
        peaks = [max(activations(feature, document, texts[document])) for feature in range(len(FEATURES))]
        active = [feature for feature, peak in enumerate(peaks) if peak]
        rows.append(
            {"dictionary": NAME, "context": context, "corpus": tiny.CORPUS, "document": document, "start": 0}
            | {"length": len(texts[document]), "features": active, "peaks": [peaks[feature] for feature in active]}
        )
    return rows


# --- judges --------------------------------------------------------------------------------------------------------


METHODS = {
    "fuzzing": "check marks",
    "detection": "check a description",
    "intruder": "intruder",
    "simulation": "detector",
}


def _asked(asked: Mapping[str, Any]) -> tuple[str, str, str]:
    """Which method a request is of, the label, and what follows it."""
    system, user = (one["content"] for one in asked["messages"][:2])
    method = next(name for name, words in METHODS.items() if words in system)
    label, rest = re.fullmatch(r"Description: (.*?)\n\n(.*)", user, re.DOTALL).groups()
    return method, label, rest


def _texts(rest: str) -> list[list[tuple[str, bool]]]:
    """The numbered texts as tokens, each with whether it is marked."""
    found = re.findall(r"Text \d+:\n(.*?)\n(?=\n|$)", rest + "\n", re.DOTALL)
    return [
        [(marked or plain, bool(marked)) for marked, plain in re.findall(r"<<( [^<>]+)>>|( [^ <>]+)", text)]
        for text in found
    ]


def oracle(asked: Mapping[str, Any]) -> str:
    """Follows the label's rule; where the rule does not tell, guesses."""
    method, label, rest = _asked(asked)
    rule = RULES[label]
    if method == "simulation":
        tokens = [eval(line.split(": ", 1)[1]) for line in rest.strip().splitlines()]
        return json.dumps({"activations": [10 * on for on in rule(tokens)]})
    texts = _texts(rest)
    fits = [rule([token for token, _ in text]) for text in texts]
    if method == "detection":
        return json.dumps({"answers": [int(any(on)) for on in fits]})
    if method == "fuzzing":
        marks = [
            [on for on, (_, marked) in zip(one, text, strict=True) if marked]
            for one, text in zip(fits, texts, strict=True)
        ]
        return json.dumps({"answers": [int(all(one)) for one in marks]})
    odd = [n for n, on in enumerate(fits, 1) if not any(on)]
    return json.dumps({"intruder": _chance(asked).choice(odd or range(1, len(texts) + 1))})


def guesser(asked: Mapping[str, Any]) -> str:
    """Does not look."""
    method, _, rest = _asked(asked)
    chance = _chance(asked)
    if method == "simulation":
        return json.dumps({"activations": [chance.randrange(11) for _ in rest.strip().splitlines()]})
    count = len(_texts(rest))
    if method == "intruder":
        return json.dumps({"intruder": chance.randrange(count) + 1})
    return json.dumps({"answers": [chance.randrange(2) for _ in range(count)]})


def _chance(asked: Mapping[str, Any]) -> random.Random:
    return random.Random(hashlib.sha256(json.dumps(asked["messages"]).encode()).hexdigest())


def score_right(path: str, url: str, journal: str) -> score_run.ScoreReport:
    """Score the right labels, or what is left of them: the process that may be killed."""
    rows.BATCH = 4
    with featurestore.connect(path) as store, Journal(journal) as kept:
        asker = Asker([Endpoint("judge", url, concurrency=4)], kept)
        methods = ("detection", "intruder")
        return score_run.score_with_judge(store, asker, methods=methods, explainer="right", progress=no_progress)


if __name__ == "__main__":
    score_right(*sys.argv[1:4])
